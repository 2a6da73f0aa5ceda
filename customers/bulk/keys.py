"""Bulk changes of API keys: listed at the provider, planned key by key, requested, and counted again at the end.

A bulk change of keys begins with a fresh list of every account, in a worker. What the lists show is the draft. Rotating
and deleting are the operations of a single key; what is still alive at the end is told by lists that are newer than
the last operation.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from customers.bulk.plan import KIND_OF, Moved, hash_of
from customers.connections.scopes import why_no_read
from customers.labels import split_label
from customers.models import Account, AccountKey, ChangeSet, ChangeSetItem, KeySecret, Operation
from customers.models.account import AccountState
from customers.models.breaker import is_out_of_reach
from customers.models.operation_states import OPEN, OperationKind, OperationState
from customers.observed import key_lists
from customers.operations.commands import refuse_if_ending, refuse_key, request_key_create, request_key_delete
from customers.operations.request import why_blocked
from portal import audit
from portal.commands import Command
from portal.encryption import DecryptionError
from portal.formats import moment_text
from portal.leases import AT_ONCE
from portal.providers import NewKey, ProviderError, RateLimited
from portal.refusals import Refusal

State, Kind = ChangeSetItem.State, ChangeSet.Kind
# When a rotation deletes the old key: as soon as the new one exists, or by a bulk change of its own.
THEN, LATER = "then", "later"
LABEL_MAX = 240
LOOK_AGAIN = timedelta(seconds=2)
# When a list of the end that failed is tried again, and for how long.
TRY_AGAIN, TRIES_END = timedelta(minutes=1), timedelta(minutes=10)


# --- The rows before the lists ----------------------------------------------------------------------------------------


def write_unlisted_rows(change_set: ChangeSet, account_ids: Iterable[int], keys: Iterable[tuple[int, str]]) -> None:
    """Make one row for each account whose keys are all meant, and one for each key that is named."""
    rows = [*((pk, "") for pk in sorted(set(account_ids))), *sorted(set(keys))]
    versions = dict(Account.objects.filter(pk__in={pk for pk, _key in rows}).values_list("pk", "version"))
    ChangeSetItem.objects.bulk_create(
        [
            ChangeSetItem(
                change_set=change_set, account_id=pk, key_id=key_id, version=versions[pk], state=State.LISTING
            )
            for pk, key_id in rows
            if pk in versions
        ],
        batch_size=500,
    )


# --- Listing ----------------------------------------------------------------------------------------------------------


def list_step(change_set: ChangeSet, now: datetime, connect: key_lists.Connect) -> timedelta | None:
    """List the keys of one account and write its rows, or end the draft. An account whose list fails has a second turn
    after all others."""
    unlisted = change_set.items.filter(state=State.LISTING).order_by("note", "account_id", "pk")
    first = unlisted.select_related("account__connection__breaker").first()
    if first is None:
        with transaction.atomic():
            change_set.renew(now=now)
            change_set.write(state=ChangeSet.State.PLANNED, plan_hash=hash_of(change_set))
        return None
    try:
        why = _why_not_listed(first.account, now, connect)
    except RateLimited as error:
        return max(LOOK_AGAIN, error.retry_at - now)
    with transaction.atomic():
        change_set.renew(now=now)
        rows = list(unlisted.filter(account=first.account_id))
        if not why:
            unlisted.filter(account=first.account_id).delete()
            ChangeSetItem.objects.bulk_create(_listed_rows(change_set, first.account, rows, now), batch_size=500)
        else:
            second = bool(first.note)
            state = State.FAILED if second else State.LISTING
            unlisted.filter(account=first.account_id).update(note=why[:500], state=state)
    return AT_ONCE


def _why_not_listed(account: Account, now: datetime, connect: key_lists.Connect) -> str:
    """Read the account's list, and return why that was not possible; "" when it was. Raises `RateLimited`."""
    connection = account.connection
    if not key_lists.accounts_with_keys().filter(pk=account.pk).exists():
        return _("The portal can't list the API keys of this account.")
    if not connection.is_readable or is_out_of_reach(connection):
        return _("%(name)s is paused or unreachable, so the keys weren't listed.") % {"name": connection.name}
    if why := why_no_read(connection, "keys"):
        return why
    try:
        key_lists.list_keys(account, now=now, connect=connect)
    except RateLimited:
        raise
    except (ProviderError, DecryptionError) as error:
        return str(error) or _("The keys weren't listed.")
    return ""


def _listed_rows(
    change_set: ChangeSet, account: Account, unlisted: list[ChangeSetItem], now: datetime
) -> list[ChangeSetItem]:
    """Return the rows of an account's living keys that are meant, and of those that are named and no longer exist."""
    living = {key.key_id: key for key in AccountKey.objects.filter(account=account, gone_at=None)}
    named = [each.key_id for each in unlisted if each.key_id]
    everything = len(named) < len(unlisted)
    there = set(change_set.items.filter(account=account).exclude(key_id="").values_list("key_id", flat=True))
    wanted = dict.fromkeys([*named, *(living if everything else ())])
    planned = _Planned(change_set, account)
    rows = [planned.row(key_id, living.get(key_id)) for key_id in wanted if key_id not in there]
    if not wanted:
        rows = [planned.aside("", _("The account has no API keys."))]
    return rows


class _Planned:
    """Rows of one account's keys."""

    def __init__(self, change_set: ChangeSet, account: Account) -> None:
        self.change_set, self.account, self.kind = change_set, account, Kind(change_set.kind)
        self.open = list(Operation.objects.filter(account=account, state__in=OPEN).order_by("pk"))
        stored = KeySecret.objects.filter(account=account, kept=True).exclude(sealed="")
        self.stored = set(stored.values_list("key_id", flat=True))

    def aside(self, key_id: str, note: str, was: str = "") -> ChangeSetItem:
        return ChangeSetItem(
            change_set=self.change_set,
            account=self.account,
            key_id=key_id,
            version=self.account.version,
            state=State.ASIDE,
            was=was[:500],
            note=note[:500],
        )

    def row(self, key_id: str, key: AccountKey | None) -> ChangeSetItem:
        if key is None:
            return self.aside(key_id, _("The key no longer exists."))
        row = self.aside(key_id, "", was=split_label(key.label)[0])
        row.before = key_facts(key)
        try:
            self._refuse(key)
        except Refusal as refusal:
            row.note = str(refusal)[:500]
            return row
        row.state, row.after, row.warnings = State.READY, self._after(key), self._warnings(key)
        row.becomes = self._becomes(row.after)
        return row

    def _refuse(self, key: AccountKey) -> None:
        kind = KIND_OF[self.kind]
        deletes = next((each for each in self.open if each.kind == OperationKind.DELETE), None)
        if why := why_blocked(self.account, kind, deletes):
            raise Refusal(why)
        if self.kind == Kind.KEY_ROTATE:
            refuse_key(self.account.connection, new_key_like(key), keep=False)
            if self.change_set.wanted.get("old") == THEN and (
                why := why_blocked(self.account, OperationKind.KEY_DELETE, None)
            ):
                raise Refusal(why)
        refuse_other_change(self.change_set, self.account, key.key_id, is_plan=True)

    def _after(self, key: AccountKey) -> dict[str, Any]:
        if self.kind == Kind.KEY_DELETE:
            return {"deleted": True}
        connection = self.account.connection
        keep = key.key_id in self.stored and connection.keep_keys and connection.capabilities.sending_setup
        return {"old": self.change_set.wanted["old"], "keep": keep}

    def _becomes(self, after: dict[str, Any]) -> str:
        if self.kind == Kind.KEY_DELETE:
            return _("Deletion")
        if after["old"] == THEN:
            return _("New key, then the old one is deleted")
        return _("New key. The old one works until you delete it.")

    def _warnings(self, key: AccountKey) -> list[str]:
        found = []
        ends = self.kind == Kind.KEY_DELETE or self.change_set.wanted.get("old") == THEN
        if ends and key.last_used_at:
            found.append(_("In use. Last use: %(when)s.") % {"when": moment_text(key.last_used_at)})
        if key.key_id in self.stored and self.kind == Kind.KEY_DELETE:
            found.append(_("The portal sets up sending with this key. Its stored secret is deleted too."))
        if self.open:
            found.append(_("Starts after %(code)s finishes.") % {"code": self.open[0].code})
        if self.account.connection.paused:
            name = {"name": self.account.connection.name}
            found.append(_("%(name)s is paused. The change will wait until it resumes.") % name)
        return found


def key_facts(key: AccountKey) -> dict[str, Any]:
    """Return the part of a key that the change starts from. Where it differs when applied, the plan is out of date."""
    return {
        "key_id": key.key_id,
        "label": key.label,
        "scopes": sorted(key.scopes),
        "ip_allow_list": sorted(key.ip_allow_list),
    }


def new_key_like(key: AccountKey) -> NewKey:
    return NewKey(split_label(key.label)[0][:LABEL_MAX], tuple(key.scopes), tuple(key.ip_allow_list))


# --- Requesting -------------------------------------------------------------------------------------------------------


def refuse_other_change(change_set: ChangeSet, account: Account, key_id: str, *, is_plan: bool = False) -> None:
    """Refuse a key that another bulk change rotates or deletes, or has rotated. `is_plan`: also one that it has not
    begun yet. Where it decides, the account is locked, so that of two at once the second sees the first."""
    others = ChangeSetItem.objects.filter(account=account, key_id=key_id).exclude(change_set=change_set)
    busy = Q(state=State.ASKED, operation__state__in=OPEN)
    if change_set.kind == Kind.KEY_ROTATE:
        busy |= Q(state=State.ASKED, operation__state=OperationState.SUCCEEDED, change_set__kind=Kind.KEY_ROTATE)
    if is_plan:
        submitted = (ChangeSet.State.WAITING, ChangeSet.State.RUNNING, ChangeSet.State.PAUSED)
        busy |= Q(state=State.READY, change_set__state__in=submitted)
    other = others.filter(busy).select_related("change_set__requested_by").order_by("pk").first()
    if other:
        names = {"code": other.change_set.code, "who": other.change_set.requested_by}
        raise Refusal(_("%(code)s, requested by %(who)s, already rotates or deletes this key.") % names)
    refuse_if_ending(account, key_id)


def request_key_change(change_set: ChangeSet, item: ChangeSetItem, now: datetime) -> Operation:
    """Request the operation of one key. Call it in the transaction of its row. Raises `Moved` and `Refusal`."""
    accounts = Account.objects.select_for_update(of=("self",)).select_related("customer", "connection")
    account = accounts.get(pk=item.account_id)
    key = AccountKey.objects.filter(account=account, key_id=item.key_id, gone_at=None).first()
    if key is None:
        raise Refusal(_("The key no longer exists."))
    if key_facts(key) != item.before:
        raise Moved
    refuse_other_change(change_set, account, item.key_id)
    token = f"bulk:{change_set.public_id.hex}:{item.pk}"
    command = Command(change_set.requested_by, now, reason=change_set.reason, token=token, is_bulk=True)
    if change_set.kind == Kind.KEY_DELETE:
        return request_key_delete(command, account=account, key_id=item.key_id)
    replaces = item.key_id if item.after["old"] == THEN else ""
    new, keep = new_key_like(key), item.after["keep"]
    return request_key_create(command, account=account, new=new, keep=keep, replaces=replaces, rotates=item.key_id)


# --- What is left -----------------------------------------------------------------------------------------------------


def recount_step(change_set: ChangeSet, now: datetime, connect: key_lists.Connect) -> timedelta | None:
    """Wait for the operations, then list every account again, one in a step, and end the run. A list that fails is
    tried again every minute for some time; then the page says how many keys were not checked."""
    if operations_at_work(change_set).exists():
        with transaction.atomic():
            change_set.renew(now=now)
        return LOOK_AGAIN
    if change_set.checked_from is None:
        change_set.write(checked_from=now)
        change_set.checked_from = now
        return AT_ONCE
    unchecked = _unchecked(change_set)
    untried = unchecked.filter(
        Q(keys_tried_at=None) | Q(keys_tried_at__lt=max(change_set.checked_from, now - TRY_AGAIN))
    )
    account = untried.select_related("connection__breaker").first()
    if account is None and now < change_set.checked_from + TRIES_END and unchecked.exists():
        with transaction.atomic():
            change_set.renew(now=now)
        return LOOK_AGAIN
    if account is None:
        with transaction.atomic():
            change_set.renew(now=now)
            change_set.write(state=ChangeSet.State.ENDED, finished_at=now)
            audit.record(actor=None, verb="bulk.ended", obj=change_set, reason=change_set.reason)
        return None
    with transaction.atomic():
        change_set.renew(now=now)
    try:
        why = _why_not_listed(account, now, connect)
    except RateLimited as error:
        return max(LOOK_AGAIN, error.retry_at - now)
    if why:
        Account.objects.filter(pk=account.pk).update(keys_tried_at=now)
    return AT_ONCE


def operations_at_work(change_set: ChangeSet) -> QuerySet[Operation]:
    """Return the open operations of a run, without those that wait for a review: their own, or an earlier one of their
    account, which runs its operations one after the other."""
    of_run = Q(change_set_item__change_set=change_set) | Q(follows__change_set_item__change_set=change_set)
    review = Operation.objects.filter(
        account=OuterRef("account"), number__lte=OuterRef("number"), state=OperationState.NEEDS_ATTENTION
    )
    return Operation.objects.open().filter(of_run).exclude(Exists(review))


def _unchecked(change_set: ChangeSet) -> QuerySet[Account]:
    """Return the accounts of a run whose list is older than its end, also those of keys that nothing was done about.
    A deleted account has no keys."""
    rows = counted_rows(change_set).order_by()
    of_run = Account.objects.filter(pk__in=rows.values("account")).exclude(state=AccountState.DELETED)
    return of_run.filter(Q(keys_read_at=None) | Q(keys_read_at__lt=change_set.checked_from)).order_by("pk")


def counted_rows(change_set: ChangeSet) -> QuerySet[ChangeSetItem]:
    """Return the rows whose keys the page counts."""
    return change_set.items.exclude(key_id="").exclude(state__in=(State.ASIDE, State.LISTING))


def is_living() -> Exists:
    """Match rows whose key the last list shows."""
    return Exists(AccountKey.objects.filter(account=OuterRef("account"), key_id=OuterRef("key_id"), gone_at=None))


def rotated_keys(change_set: ChangeSet) -> list[tuple[int, str]]:
    """Return the old keys that a rotation replaced and that are still alive."""
    done = change_set.items.filter(state=State.ASKED, operation__state=OperationState.SUCCEEDED)
    return list(done.filter(is_living()).values_list("account_id", "key_id"))
