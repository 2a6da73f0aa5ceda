"""Two accounts of ours for one account at a provider: mark the second one, make it read-only, merge it.

Such rows exist only where one credential was connected twice (docs/decisions/duplicate-accounts.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from itertools import groupby
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils.translation import gettext as _

from customers.models import Account, Customer, Operation
from customers.models.account import AccountState
from customers.models.operation_states import OPEN, OperationKind, OperationState
from portal import audit
from portal.access.permissions import Permission, require
from portal.commands import Command
from portal.refusals import Refusal

# What lists, totals and exports show of an account's usage; the billing periods that were read stay stored.
WITHOUT_USAGE: dict[str, Any] = dict.fromkeys(
    (
        "usage_used",
        "usage_allowed",
        "usage_overage",
        "usage_start_on",
        "usage_end_on",
        "usage_read_at",
        "usage_missing_since",
    )
)

# Of apps above this one: told the customers whose usage counts for another customer now, or for none.
_RECOUNTS: list[Callable[[Collection[int]], None]] = []


def also_recount(recount: Callable[[Collection[int]], None]) -> None:
    """Register what adds up the usage of customers (pk) again, in the transaction that moves it."""
    if recount not in _RECOUNTS:
        _RECOUNTS.append(recount)


def _recount(customers: Collection[int]) -> None:
    for recount in _RECOUNTS:
        recount(customers)


def refusal(account: Account) -> str:
    """Return why nothing can be requested for a duplicate."""
    kept = account.duplicate_of
    if kept is None:
        return ""
    words = {"customer": kept.customer, "connection": kept.connection}
    if account.merged_at:
        return (
            _("This account was merged into the account of %(customer)s at %(connection)s. Use that account.") % words
        )
    return (
        _(
            "%(customer)s has the same account at %(connection)s. This one is read-only until it is merged "
            "under Drift > Duplicates."
        )
        % words
    )


def unmerged() -> QuerySet[Account]:
    """Return the duplicates that wait to be merged, oldest first."""
    return (
        Account.objects.filter(duplicate_of__isnull=False, merged_at=None)
        .select_related("customer", "connection", "duplicate_of__customer", "duplicate_of__connection")
        .order_by("pk")
    )


def unmarked() -> Iterator[tuple[Account, list[Account]]]:
    """Yield accounts that share a provider ID without a mark: the one to keep, and the others."""
    rows = Account.objects.filter(provider_id__isnull=False, duplicate_of=None)
    keys = rows.order_by("connection__kind", "provider_id").values_list("connection__kind", "provider_id", "pk")
    for _key, group in groupby(keys.iterator(chunk_size=2000), key=lambda row: row[:2]):
        found = [pk for *_, pk in group]
        if len(found) > 1:
            yield _ranked(found)


def _ranked(pks: list[int]) -> tuple[Account, list[Account]]:
    """Order the accounts: first one that is not deleted, then one that a create of ours made, then the older one."""
    made = set(
        Operation.objects.filter(
            account__in=pks, kind=OperationKind.CREATE, state=OperationState.SUCCEEDED
        ).values_list("account_id", flat=True)
    )
    accounts = sorted(
        Account.objects.filter(pk__in=pks).select_related("customer", "connection"),
        key=lambda each: (each.state == AccountState.DELETED, each.pk not in made, each.created_at, each.pk),
    )
    return accounts[0], accounts[1:]


def mark(*, account: Account, kept: Account, now: datetime) -> bool:
    """Mark `account` as a duplicate of `kept`. False when it was marked meanwhile."""
    with transaction.atomic():
        changed = Account.objects.filter(pk=account.pk, duplicate_of=None, provider_id=kept.provider_id).update(
            duplicate_of=kept,
            version=F("version") + 1,
            changed_at=now,
            changed_what=_("Marked as a duplicate"),
            **WITHOUT_USAGE,
        )
        if changed:
            audit.record(
                actor=None,
                verb="account.marked_duplicate",
                obj=account,
                after={"provider_id": account.provider_id, "duplicate_of": str(kept)},
            )
            _recount({account.customer_id})
    return bool(changed)


def merge(command: Command, *, duplicate: Account, customer: Customer) -> Account:
    """Close `duplicate`: `customer`, its own or that of the account it duplicates, owns the account from now on.

    The duplicate's row stays as it is, with its history, and appears in no list anymore. Returns the account that
    remains. Raises `Refusal`.
    """
    require(command.person, Permission.MERGE_DUPLICATE)
    if not command.reason.strip():
        raise Refusal(_("Enter a reason. It's recorded in the audit log."), field="reason")
    kept = duplicate.duplicate_of
    if kept is None or duplicate.merged_at is not None:
        raise Refusal(_("This account is not a duplicate waiting to be merged."))
    if customer.pk not in (duplicate.customer_id, kept.customer_id):
        raise Refusal(_("Select one of the two customers."), field="customer")
    # Nothing new can be requested for a duplicate, so what is closed now stays closed.
    if operation := Operation.objects.filter(account=duplicate, state__in=OPEN).first():
        raise Refusal(_("%(code)s is not finished. Wait for it to finish, or cancel it.") % {"code": operation.code})
    with transaction.atomic():
        owners = Customer.objects.select_for_update(no_key=True).order_by("pk")
        archived = dict(
            owners.filter(pk__in=(kept.customer_id, duplicate.customer_id)).values_list("pk", "archived_at")
        )
        both = Account.objects.select_for_update(no_key=True).filter(pk__in=(kept.pk, duplicate.pk)).order_by("pk")
        if dict(both.values_list("pk", "customer"))[kept.pk] != kept.customer_id:
            raise Refusal(_("The account changed in the meantime. Nothing was merged. Reload the page."))
        _close(duplicate, kept, now=command.now)
        if customer.pk != kept.customer_id:
            if archived[customer.pk]:
                raise Refusal(
                    _("%(customer)s is archived. Restore the customer first.") % {"customer": customer},
                    field="customer",
                )
            _move(command, kept, customer)
        _recount({kept.customer_id, customer.pk})
        command.record(
            verb="account.merged",
            obj=duplicate,
            after={"merged_into": str(kept), "customer": str(customer)},
        )
    return kept


def _close(duplicate: Account, kept: Account, *, now: datetime) -> None:
    open_ones = Account.objects.filter(pk=duplicate.pk, duplicate_of=kept, merged_at=None, version=duplicate.version)
    closed = open_ones.update(merged_at=now, version=F("version") + 1, changed_at=now, changed_what=_("Merged"))
    if closed != 1:
        raise Refusal(_("The duplicate changed in the meantime. Nothing was merged. Reload the page."))
    Customer.objects.filter(pk=duplicate.customer_id).update(may_be_bare=True)


def _move(command: Command, kept: Account, customer: Customer) -> None:
    before = kept.customer
    moved = Account.objects.filter(pk=kept.pk, customer=before, version=kept.version).update(
        customer=customer, version=F("version") + 1, changed_at=command.now, changed_what=_("Moved by merge")
    )
    if moved != 1:
        raise Refusal(_("The account changed in the meantime. Nothing was merged. Reload the page."))
    Customer.objects.filter(pk=before.pk).update(may_be_bare=True)
    command.record(
        verb="account.moved",
        obj=kept,
        customer=customer,
        before={"customer": str(before)},
        after={"customer": str(customer)},
    )
