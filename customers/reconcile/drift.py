"""Drift: differences between the desired state of an account and the provider's, and how to resolve them.

The board shows the desired value, and the provider's with the time it was read. Nothing here acts automatically: staff
reapply the expected value, accept the provider's, or snooze. They decide about the values they saw (`seal_seen`); where
one of them changed meanwhile, nothing is done and both are shown.

Here alone an account leaves "deleted": where a provider's list still names it, staff may decide that it exists.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from django.core import signing
from django.db import models, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.models import Account, AccountSpan, Customer, DriftIgnore, Operation, RemoteAccount
from customers.models.account import AccountState, as_offerings
from customers.models.operation_states import OPEN
from customers.observed import spans
from customers.observed.account_list import LIST_LAG
from customers.operations import commands as operation_commands
from customers.operations.commands import StaleVersion
from customers.operations.conclusions import observed
from portal.access.models import User
from portal.access.permissions import Permission, require
from portal.commands import Command
from portal.formats import day_text
from portal.refusals import Refusal

SEEN = "customers.drift.seen"
# All other states are set and lifted by the provider itself: they are shown, never reapplied or accepted.
OURS_TO_SET = (AccountState.ACTIVE, AccountState.STOPPED_BY_US)


class Field(models.TextChoices):
    EXISTENCE = "existence", gettext_lazy("Existence")
    STATE = "state", gettext_lazy("State")
    OFFERINGS = "offerings", gettext_lazy("Offerings")
    CAP = "monthly_cap", gettext_lazy("Monthly cap")
    NAME = "name", gettext_lazy("Name")
    WEBSITE = "website", gettext_lazy("Website")


OF_SETTINGS = (Field.CAP, Field.NAME, Field.WEBSITE)


@dataclass(frozen=True)
class Drift:
    """One field of one account that differs. `found` and `wanted` are as stored; `read_at` is when it was found."""

    account: Account
    field: Field
    wanted: Any
    found: Any
    read_at: datetime | None
    ignored: DriftIgnore | None = None

    @property
    def can_push(self) -> bool:
        """True if an ordinary operation would apply the desired value. A delete is requested on the account's page
        alone."""
        if self.field == Field.EXISTENCE or self.wants_delete:
            return False
        return self.field != Field.STATE or self.found in OURS_TO_SET

    @property
    def can_accept(self) -> bool:
        if self.field == Field.EXISTENCE:
            return self.found in ("gone", "there")
        return self.field != Field.STATE or self.found in OURS_TO_SET

    @property
    def can_resolve(self) -> bool:
        """True if one of the values can be applied to the other side; the difference can only be snoozed otherwise."""
        return self.can_push or self.can_accept

    @property
    def wants_delete(self) -> bool:
        return bool(self.field == Field.STATE and self.wanted == Account.Desired.DELETED)


class ValuesChanged(Refusal):
    """The values differ from those the user saw. `seen` is the difference as they saw it."""

    def __init__(self, current: Drift, wanted: Any, found: Any) -> None:
        super().__init__(
            _("The values changed after you opened this form. Nothing was changed. Select an action again.")
        )
        self.seen = replace(current, wanted=wanted, found=found)


def seal_seen(drift: Drift) -> str:
    """Return the values shown to a user, and when they were snoozed, for their form. Signed, because they are shown
    again where they changed."""
    return signing.dumps([drift.wanted, drift.found, _snoozed_at(drift)], salt=_salt(drift), compress=True)


def _snoozed_at(drift: Drift) -> str:
    return drift.ignored.at.isoformat() if drift.ignored else ""


def check_seen(drift: Drift, sealed: str) -> None:
    """Raise `ValuesChanged` unless the difference is the one the user saw, `Refusal` where that is not known, or where
    somebody snoozed it since."""
    try:
        wanted, found, snoozed_at = signing.loads(sealed, salt=_salt(drift))
    except (signing.BadSignature, ValueError):  # or of an older version
        text = _("The form was incomplete. Nothing was changed. Review the values, then select an action again.")
        raise Refusal(text) from None
    if [wanted, found] != [drift.wanted, drift.found]:
        raise ValuesChanged(drift, wanted, found)
    if drift.ignored and snoozed_at != _snoozed_at(drift):
        facts = {"name": drift.ignored.by, "day": day_text(drift.ignored.until_on), "why": drift.ignored.reason}
        raise Refusal(_("%(name)s snoozed this until %(day)s after you opened this form: %(why)s") % facts)


def _salt(drift: Drift) -> str:
    return f"{SEEN}:{drift.account.public_id}:{drift.field}"


def drifting(accounts: QuerySet[Account]) -> QuerySet[Account]:
    """Return those of `accounts` that differ in anything, ignored or not; but not while an operation is open: it may
    bring the desired value."""
    missing = RemoteAccount.objects.filter(
        connection=OuterRef("connection"), provider_id=OuterRef("provider_id"), missing_since__isnull=False
    )
    # A list that was requested a while after the delete names the account: it exists, whatever the delete returned.
    back = RemoteAccount.objects.filter(
        connection=OuterRef("connection"),
        provider_id=OuterRef("provider_id"),
        missing_since=None,
        last_seen_at__gt=OuterRef("state_read_at") + LIST_LAG,
    )
    deleted = Q(state=AccountState.DELETED)
    working = Operation.objects.filter(account=OuterRef("pk"), state__in=OPEN)
    states = (
        Q(desired_state=Account.Desired.ACTIVE) & ~Q(state__in=(AccountState.ACTIVE, AccountState.UNKNOWN))
        | Q(desired_state=Account.Desired.STOPPED) & ~Q(state__in=(AccountState.STOPPED_BY_US, AccountState.UNKNOWN))
        | Q(desired_state=Account.Desired.DELETED)
    )
    lists = Q(offerings__isnull=False) & ~Q(desired_offerings=[]) & ~Q(offerings=F("desired_offerings"))
    settings = Q(settings__isnull=False) & ~Q(desired_settings={}) & ~Q(settings=F("desired_settings"))
    return (
        accounts.filter(provider_id__isnull=False, duplicate_of=None)
        .exclude(state=AccountState.PENDING)
        .filter(deleted & Exists(back) | ~deleted & (states | lists | settings | Exists(missing)))
        .exclude(Exists(working))
    )


def drifts_of(accounts: Iterable[Account], *, today: date) -> list[Drift]:
    """Return every difference of these accounts, field by field. A constant number of queries."""
    rows = list(accounts)
    keys = [each.provider_id for each in rows if each.provider_id]
    deleted = [each.provider_id for each in rows if each.state == AccountState.DELETED]
    listed = RemoteAccount.objects.filter(
        Q(missing_since__isnull=False) | Q(provider_id__in=deleted), provider_id__in=keys
    )
    remote_accounts = {(each.connection_id, each.provider_id): each for each in listed}
    ignores = {(each.account_id, each.field): each for each in DriftIgnore.objects.filter(account__in=rows)}
    found: list[Drift] = []
    for account in rows:
        remote_account = remote_accounts.get((account.connection_id, account.provider_id or ""))
        for field, wanted, value, read_at in _differences(account, remote_account):
            ignore = ignores.get((account.pk, field))
            still = ignore if ignore and ignore.until_on >= today and ignore.found == value else None
            found.append(Drift(account, field, wanted, value, read_at, still))
    return found


def _differences(
    account: Account, remote_account: RemoteAccount | None
) -> Iterable[tuple[Field, Any, Any, datetime | None]]:
    if account.state == AccountState.DELETED:
        if remote_account is not None and _names_again(account, remote_account):
            yield Field.EXISTENCE, "deleted", "there", remote_account.last_seen_at
        return
    if remote_account is not None:
        yield Field.EXISTENCE, "there", "gone" if remote_account.gone_at else "missing", remote_account.missing_since
    if account.state not in (AccountState.UNKNOWN, account.desired_state):
        yield Field.STATE, account.desired_state, account.state, account.state_read_at
    if account.offerings is not None and account.desired_offerings and account.offerings != account.desired_offerings:
        yield Field.OFFERINGS, account.desired_offerings, account.offerings, account.offerings_read_at
    if account.settings is not None and account.desired_settings:
        for field in OF_SETTINGS:
            wanted, value = account.desired_settings.get(field), account.settings.get(field)
            if wanted != value:
                yield field, wanted, value, account.settings_read_at


def _names_again(account: Account, remote_account: RemoteAccount) -> bool:
    """Return whether, as in `drifting`, a list requested a while after the delete names the account."""
    if remote_account.missing_since or remote_account.last_seen_at is None or account.state_read_at is None:
        return False
    return remote_account.last_seen_at > account.state_read_at + LIST_LAG


def looked_away(accounts: QuerySet[Account], *, today: date) -> set[int]:
    """Return the keys of accounts whose every difference is ignored today. Checks those with a live ignore alone."""
    live = DriftIgnore.objects.filter(until_on__gte=today).values("account")
    seen: dict[int, bool] = {}
    for each in drifts_of(drifting(accounts.filter(pk__in=live)), today=today):
        seen[each.account.pk] = seen.get(each.account.pk, True) and each.ignored is not None
    return {key for key, all_ignored in seen.items() if all_ignored}


def drift_of(account: Account, field: str, *, today: date) -> Drift | None:
    """Return this very difference, as it is now; None when there is none anymore."""
    fresh = drifting(Account.objects.filter(pk=account.pk)).select_related("connection", "customer").first()
    if fresh is None:
        return None
    return next((each for each in drifts_of([fresh], today=today) if each.field == field), None)


def push(command: Command, *, drift: Drift) -> Operation:
    """Request the operation that reapplies the desired value, if that is still as `drift` has it. Raises `Refusal`,
    `StaleVersion`."""
    account = drift.account
    if drift.wants_delete:  # its page asks for the password, and for approval where required
        raise Refusal(_("Accounts can only be deleted from their own page. Request the deletion there."))
    if not drift.can_push:
        raise Refusal(_("Only the provider can change this."))
    if drift.field == Field.STATE:
        ask = {
            Account.Desired.ACTIVE: operation_commands.request_unsuspend,
            Account.Desired.STOPPED: operation_commands.request_suspend,
        }[Account.Desired(drift.wanted)]
        return ask(command, account=account, version=account.version)
    if drift.field == Field.OFFERINGS:
        return operation_commands.request_offerings(
            command,
            account=account,
            base=as_offerings(drift.found),
            version=account.version,
            offerings=account.wanted_offerings,
        )
    changes = {str(drift.field): drift.wanted}
    return operation_commands.request_settings(
        command, account=account, base=account.settings or {}, version=account.version, changes=changes
    )


def accept(command: Command, *, drift: Drift) -> None:
    """Make the provider's value that the user saw (`drift`) the desired one. Nothing is sent. Raises `Refusal`,
    `StaleVersion`, `ValuesChanged`."""
    _may(command.person, command.reason)
    if not drift.can_accept:
        raise Refusal(_("This value can't be accepted. Only the provider can change it."))
    with transaction.atomic():
        account = _hold_unchanged(drift, today=command.now.date())
        before, after = _desire(drift, account)
        existence = _existence(drift, now=command.now)
        if held := spans.hold(Account.objects.filter(pk=account.pk)):
            spans.record_concluded(held, existence, now=command.now, source=AccountSpan.Source.DECIDED, operation=None)
        Account.objects.filter(pk=account.pk).update(
            **after,
            **existence,
            version=F("version") + 1,
            changed_at=command.now,
            changed_what=_("Provider value accepted"),
        )
        DriftIgnore.objects.filter(account=account, field=drift.field).delete()
        command.record(verb="drift.accepted", obj=account, before=before, after=after)


def _hold_unchanged(drift: Drift, *, today: date) -> Account:
    """Lock the customer, the account and its row of the list until the transaction ends, and return the account if all
    is as `drift` has it: no reading, scan or colleague can change it anymore before it is written."""
    customer = Customer.objects.select_for_update(no_key=True).get(pk=drift.account.customer_id)
    held = Account.objects.select_for_update(no_key=True).get(pk=drift.account.pk)
    list(
        RemoteAccount.objects.select_for_update().filter(
            connection=held.connection_id, provider_id=held.provider_id or ""
        )
    )
    current = drift_of(held, drift.field, today=today)
    if current is None:
        raise Refusal(_("The values now match. Nothing was changed."))
    if (current.wanted, current.found) != (drift.wanted, drift.found):
        raise ValuesChanged(current, drift.wanted, drift.found)
    if current.account.version != drift.account.version:
        raise StaleVersion(current.account)
    if current.found == "there" and customer.archived_at:
        raise Refusal(_("The customer is archived. Restore the customer first, then resolve the difference."))
    return current.account


def _existence(drift: Drift, *, now: datetime) -> dict[str, Any]:
    """Return the observed columns that an accepted existence changes. An account that exists again is read at once."""
    if drift.field != Field.EXISTENCE:
        return {}
    if drift.found == "there":
        return {"state": AccountState.UNKNOWN, "state_raw": "", "state_read_at": None, "read_tried_at": None}
    gone = {"state": AccountState.DELETED, "state_raw": "gone"}
    return gone | observed(gone, now=now)


def _desire(drift: Drift, account: Account) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the desire before and after accepting the provider's value."""
    match drift.field:
        case Field.EXISTENCE:
            wanted = Account.Desired.ACTIVE if drift.found == "there" else Account.Desired.DELETED
            return {"desired_state": account.desired_state}, {"desired_state": str(wanted)}
        case Field.STATE:
            return {"desired_state": account.desired_state}, {"desired_state": drift.found}
        case Field.OFFERINGS:
            return {"desired_offerings": account.desired_offerings}, {"desired_offerings": drift.found}
        case _:
            settings = account.desired_settings | {str(drift.field): drift.found}
            return {"desired_settings": account.desired_settings}, {"desired_settings": settings}


def ignore(command: Command, *, drift: Drift, until_on: date) -> None:
    """Snooze until a day, or until the provider's value changes. Raises `Refusal`."""
    _may(command.person, command.reason)
    if until_on <= command.now.date():
        raise Refusal(_("Select a future date."), field="until_on")
    with transaction.atomic():
        DriftIgnore.objects.update_or_create(
            account=drift.account,
            field=drift.field,
            defaults={
                "found": drift.found,
                "until_on": until_on,
                "by": command.person,
                "reason": command.reason[:500],
                "at": command.now,
            },
        )
        command.record(
            verb="drift.ignored",
            obj=drift.account,
            after={"field": str(drift.field), "until": until_on.isoformat()},
        )


def _may(actor: User, reason: str) -> None:
    require(actor, Permission.RESOLVE_DRIFT)
    if not reason.strip():
        raise Refusal(_("Enter a reason. It's recorded in the audit log."), field="reason")
