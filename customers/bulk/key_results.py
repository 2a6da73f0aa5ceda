"""Results of a bulk change of keys: for each key what became of it, and for all how many are still alive.

Alive is what the last list of the account shows, never what an operation concluded. The number of queries does not
depend on the number of keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from django.db.models import Count, Exists, F, Min, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from customers.bulk.keys import counted_rows, is_living
from customers.labels import split_label
from customers.models import AccountKey, ChangeSet, ChangeSetItem, KeySecret, Operation
from customers.models.account import AccountState
from customers.models.operation_states import OPEN, OperationKind, OperationState
from portal.access.models import User

State, Kind = ChangeSetItem.State, ChangeSet.Kind
STRANGERS_SHOWN = 20
# How far the provider's clock may be behind. What the draft listed has a row, so it is not taken for new.
CLOCKS = timedelta(minutes=2)
CODE_IN_LABEL = " · op_"
BEGUN = (ChangeSet.State.RUNNING, ChangeSet.State.PAUSED, ChangeSet.State.ENDED, ChangeSet.State.CANCELLED)


@dataclass(frozen=True)
class KeyResult:
    """`code`: rotated, deleted, kept (a new key, and the old one works as planned), going, review, failed, or "" where
    nothing was requested. `is_living`: the last list shows the old key."""

    item: ChangeSetItem
    code: str
    text: str
    is_living: bool
    new_key_id: str = ""
    # Its new secret waits for the viewer.
    waits: bool = False


@dataclass(frozen=True)
class KeySummary:
    """Counts over a whole bulk change of keys. `unchecked`: keys whose account was not listed since the end.
    `strangers`: living keys that appeared since and that the portal did not make, the first of `strangers_total`.
    `without_secret`: new keys whose secret never came, of operations that ended or need a review."""

    total: int
    living: int
    unchecked: int
    as_of: datetime | None
    old_keys: int
    secrets: int
    secrets_until: datetime | None
    listed: int
    to_list: int
    strangers: list[AccountKey] = field(default_factory=list)
    strangers_total: int = 0
    without_secret: list[AccountKey] = field(default_factory=list)

    @property
    def more_strangers(self) -> int:
        return self.strangers_total - len(self.strangers)


def key_summary(change_set: ChangeSet, viewer: User, *, now: datetime) -> KeySummary:
    rows = counted_rows(change_set)
    rotated = Q(is_living=True, state=State.ASKED, operation__state=OperationState.SUCCEEDED)
    since = change_set.checked_from or now
    old = Q(account__keys_read_at=None) | Q(account__keys_read_at__lt=since)
    old &= ~Q(account__state=AccountState.DELETED)
    found = rows.annotate(is_living=is_living()).aggregate(
        total=Count("pk"),
        living=Count("pk", filter=Q(is_living=True)),
        unchecked=Count("pk", filter=old),
        as_of=Min("account__keys_read_at"),
        old_keys=Count("pk", filter=rotated) if change_set.kind == Kind.KEY_ROTATE else Count("pk", filter=Q(pk=None)),
    )
    waiting = secrets_waiting(change_set, viewer, now=now).aggregate(
        secrets=Count("pk"), secrets_until=Min("expires_at")
    )
    listing = change_set.items.order_by().aggregate(
        to_list=Count("account", filter=Q(state=State.LISTING), distinct=True), all=Count("account", distinct=True)
    )
    made, strangers = _appeared(change_set) if change_set.state in BEGUN else ([], AccountKey.objects.none())
    at_work = set(OPEN) - {OperationState.NEEDS_ATTENTION}
    return KeySummary(
        **found,
        **waiting,
        listed=listing["all"] - listing["to_list"],
        to_list=listing["all"],
        strangers=list(strangers[:STRANGERS_SHOWN]),
        strangers_total=strangers.count(),
        without_secret=[key for key, made_by in made if made_by.state not in at_work],
    )


def secrets_waiting(change_set: ChangeSet, viewer: User, *, now: datetime) -> QuerySet[KeySecret]:
    """Return the secrets of new keys that the viewer requested and may reveal now, the ones that expire first first."""
    waiting = KeySecret.objects.filter(operation__change_set_item__change_set=change_set, holder=viewer, shown_at=None)
    living = AccountKey.objects.filter(account=OuterRef("account"), key_id=OuterRef("key_id"), gone_at=None)
    waiting = waiting.exclude(sealed="").filter(Exists(living), expires_at__gt=now)
    return waiting.order_by("expires_at", "pk")


def _appeared(change_set: ChangeSet) -> tuple[list[tuple[AccountKey, Operation]], QuerySet[AccountKey]]:
    """Return the living keys that its operations created and whose secret is missing, and those of its accounts that
    were created since the draft, outside the portal."""
    made = _keys_without_secret(Operation.objects.filter(change_set_item__change_set=change_set))
    mine = change_set.items.filter(account=OuterRef("account"), key_id=OuterRef("key_id"))
    made_here = KeySecret.objects.filter(account=OuterRef("account"), key_id=OuterRef("key_id"))
    accounts = change_set.items.order_by().values("account")
    found = AccountKey.objects.filter(account__in=accounts, gone_at=None, made_at__gte=change_set.created_at - CLOCKS)
    found = found.exclude(Exists(mine)).exclude(Exists(made_here))
    found = found.exclude(pk__in=[key.pk for key, _made_by in made])
    return made, found.select_related("account__customer", "account__connection").order_by("pk")


def key_results(items: Sequence[ChangeSetItem], viewer: User, *, now: datetime) -> list[KeyResult]:
    """Return the results of rows, read with their account and operation."""
    accounts = {each.account_id for each in items}
    wanted = {each.key_id for each in items} | {_new_key_id(each) for each in items}
    keys = AccountKey.objects.filter(account__in=accounts, key_id__in=wanted, gone_at=None)
    living = set(keys.values_list("account_id", "key_id"))
    secrets = KeySecret.objects.filter(account__in=accounts, key_id__in=wanted, shown_at=None)
    waits = secrets.filter(expires_at__gt=now, holder=viewer).exclude(sealed="")
    waiting = set(waits.values_list("account_id", "key_id"))
    expired = set(secrets.filter(expires_at__lte=now, kept=False).values_list("account_id", "key_id")) & living
    operations = [each.operation_id for each in items if each.operation_id]
    deletes = {each.follows_id: each for each in Operation.objects.filter(follows__in=operations).order_by("pk")}
    without_secret = {made_by.pk for _key, made_by in _keys_without_secret(Operation.objects.filter(pk__in=operations))}
    reviews = _first_reviews(accounts)
    results = []
    for each in items:
        left_key = each.operation_id in without_secret
        beside = _Beside(deletes.get(each.operation_id), reviews.get(each.account_id), left_key)
        result = _result(each, living, waiting, beside)
        if (each.account_id, result.new_key_id) in expired:
            text = _("Nobody revealed its new secret in time. Rotate the new key.")
            result = replace(result, text=" ".join(filter(None, [result.text, text])))
        results.append(result)
    return results


@dataclass(frozen=True)
class _Beside:
    """The facts beside its operation that a row's result depends on: the delete of its old key, the first operation of
    its account that needs a review, and whether it left a key without its secret."""

    delete: Operation | None
    review: Operation | None
    left_key: bool

    def blocks(self, operation: Operation) -> bool:
        return self.review is not None and self.review.number < operation.number


def _first_reviews(account_ids: Iterable[int]) -> dict[int, Operation]:
    """Return the first operation that needs a review, by account: later ones of the account wait for it."""
    reviews = Operation.objects.filter(account__in=account_ids, state=OperationState.NEEDS_ATTENTION)
    return {each.account_id: each for each in reviews.order_by("-number")}


def _keys_without_secret(operations: QuerySet[Operation]) -> list[tuple[AccountKey, Operation]]:
    """Return living keys that one of `operations` created, by the code in their label, and whose secret never came."""
    stored = KeySecret.objects.filter(account=OuterRef("account"), key_id=OuterRef("key_id"))
    creates = operations.filter(kind=OperationKind.KEY_CREATE)
    keys = AccountKey.objects.filter(account__in=creates.order_by().values("account"), gone_at=None)
    keys = keys.filter(~Exists(stored), label__contains=CODE_IN_LABEL)
    found = list(keys.select_related("account__customer", "account__connection").order_by("pk"))
    by_code = {
        (each.account_id, each.code): each for each in creates.filter(account__in={key.account_id for key in found})
    }
    made_by = ((key, by_code.get((key.account_id, split_label(key.label)[1]))) for key in found)
    return [(key, operation) for key, operation in made_by if operation]


def _new_key_id(item: ChangeSetItem) -> str:
    is_made = item.operation and item.change_set_kind == Kind.KEY_ROTATE  # type: ignore[attr-defined]  # annotated
    return str(item.operation.result.get("key_id", "")) if is_made and item.operation else ""


def with_kind(items: QuerySet[ChangeSetItem]) -> QuerySet[ChangeSetItem]:
    return items.annotate(change_set_kind=F("change_set__kind"))


def _result(
    item: ChangeSetItem, living: set[tuple[int, str]], waiting: set[tuple[int, str]], beside: _Beside
) -> KeyResult:
    is_living = (item.account_id, item.key_id) in living
    new_key_id = _new_key_id(item)
    code, text = _outcome(item, beside, is_living=is_living)
    waits = bool(new_key_id) and (item.account_id, new_key_id) in waiting
    return KeyResult(item, code, text, is_living, new_key_id, waits)


def _outcome(item: ChangeSetItem, beside: _Beside, *, is_living: bool) -> tuple[str, str]:
    operation = item.operation
    if operation is None:
        return "", item.note
    if operation.state == OperationState.NEEDS_ATTENTION:
        if beside.left_key:
            return "review", _("Its new key has no secret. Retry the operation to delete that key and create another.")
        return "review", _("The operation needs a review. Open it to see what to do.")
    if operation.state in OPEN:
        return _waits(beside.review) if beside.blocks(operation) else ("going", "")
    if operation.state != OperationState.SUCCEEDED:
        if beside.left_key:
            return "failed", _("Its new key has no secret. Delete that key on the account's page.")
        if not is_living:
            return "deleted", _("The key no longer exists.")
        return "failed", _(
            "Nothing changed. Open the operation to see why, then create another bulk change for this key."
        )
    return _outcome_of_success(item, beside, is_living=is_living)


def _waits(review: Operation | None) -> tuple[str, str]:
    code = {"code": review.code if review else ""}
    return "review", _("Starts after %(code)s of the same account, which needs a review.") % code


def _outcome_of_success(item: ChangeSetItem, beside: _Beside, *, is_living: bool) -> tuple[str, str]:
    delete = beside.delete
    is_rotation = item.change_set_kind == Kind.KEY_ROTATE  # type: ignore[attr-defined]  # annotated by `with_kind`
    if not is_living:
        return ("rotated", "") if is_rotation else ("deleted", "")
    if not is_rotation:
        return "failed", _("The provider still lists the key. Create another bulk change for it.")
    if delete is None:
        return "kept", _("The new key works. The old one works until you delete it.")
    if delete.state == OperationState.NEEDS_ATTENTION:
        return "review", _("The new key works. Deleting the old one needs a review.")
    if delete.state in OPEN and beside.blocks(delete):
        return _waits(beside.review)
    if delete.state in OPEN:
        return "going", _("The new key works. The old one is being deleted.")
    return "failed", _("The new key works, but the old one wasn't deleted. Delete the old keys.")
