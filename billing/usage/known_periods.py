"""Accounts and their latest billing periods, as new readings are compared with them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from django.db.models import F, OuterRef, Q, Subquery

from billing.models import UsagePeriod
from customers.models import Account, Connection

# Periods of an account that a new reading is compared with, newest first.
RECENT = 3


def locked_accounts(account_ids: Collection[int]) -> dict[int, Account]:
    """Lock the accounts until the end of the transaction; return them with what figures are derived from, and one
    object for each connection."""
    columns = ("customer_id", "connection_id", "state", "state_read_at", "usage_read_at", "usage_due_at")
    rows = Account.objects.select_for_update(no_key=True).filter(pk__in=account_ids).order_by("pk")
    found = {row.pk: row for row in rows.only(*columns)}
    connections = Connection.objects.in_bulk({each.connection_id for each in found.values()})
    for each in found.values():
        each.connection = connections[each.connection_id]
    return found


# What is stored of a reading and not compared with the next one.
_UNUSED_OF_LATEST = tuple(
    f"latest__{name}"
    for name in (
        "raw", "period_end_on", "period_inferred", "allowed", "remaining", "overage", "requests", "reputation",
        "package", "process_on", "allocated_cost", "currency",
    )
)  # fmt: skip


def known_periods(accounts: Mapping[int, Account]) -> dict[int, list[UsagePeriod]]:
    """Return the latest periods of each account, newest first. A reading of an older one is rare: then all are read."""
    of_account = UsagePeriod.objects.filter(account=OuterRef("account")).order_by("-start_on")
    rows = (
        UsagePeriod.objects.filter(account_id__in=accounts)
        .annotate(oldest=Subquery(of_account.values("start_on")[RECENT - 1 : RECENT]))
        .filter(Q(oldest=None) | Q(start_on__gte=F("oldest")))
        .select_related("latest")
        .defer(*_UNUSED_OF_LATEST)
        .order_by("account_id", "-start_on")
    )
    found: dict[int, list[UsagePeriod]] = {}
    for row in rows:
        row.account = accounts[row.account_id]
        found.setdefault(row.account_id, []).append(row)
    return found
