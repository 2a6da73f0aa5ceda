"""Looks again at what blocks a month, and keeps owner, due date, and acceptance of what is still there."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date, datetime

from django.db import transaction

from billing.closing.blockers.found import FoundBlocker, connection_blockers, customer_blockers
from billing.models import Blocker, InvoiceComparison, Side, Statement
from billing.pricing.statements.locks import TOGETHER, lock_group, lock_month
from billing.pricing.statements.storage import closed_owners
from portal.row_updates import update_rows

_WRITTEN = (
    "account", "offering", "currency", "money_minor", "weight", "detail", "fingerprint", "resolved_at",
    "accepted_at", "accepted_by", "accepted_reason",
)  # fmt: skip
_INSERTED_TOGETHER = 500
# Of a blocker the page shows some details; all of them would be a statement.
_DETAILS = 20


def refresh_blockers(side: Side, month: date, owners: Collection[int], *, now: datetime) -> None:
    """Look again at what blocks these customers (sell) or connections (cost), beside those whose month is closed: what
    they were closed with stays. Needs their lock (`lock_month`)."""
    owners = set(owners) - closed_owners(side, month, owners)
    find = customer_blockers if side == Side.SELL else connection_blockers
    column = "customer" if side == Side.SELL else "connection"
    found = {each.key: each for each in find(month, owners)}
    known = {row.key: row for row in Blocker.objects.filter(month=month, **{f"{column}__in": list(owners)})}
    changed = [row for key, row in known.items() if _differs(row, found.get(key), now)]
    update_rows(changed, _WRITTEN)
    made = []
    for key, each in found.items():
        if key not in known:
            row = Blocker(month=month, key=key, kind=each.kind, opened_at=now, **{f"{column}_id": each.owner})
            _write(row, each)
            made.append(row)
    Blocker.objects.bulk_create(made, batch_size=_INSERTED_TOGETHER)


def _differs(row: Blocker, found: FoundBlocker | None, now: datetime) -> bool:
    """Write to the row what was found; return whether that changed it."""
    if found is None:
        if row.resolved_at is not None:
            return False
        row.resolved_at = now
        return True
    if row.resolved_at is None and row.fingerprint == found.fingerprint:
        return False
    if row.fingerprint != found.fingerprint:
        row.accepted_at, row.accepted_by, row.accepted_reason = None, None, ""
    row.resolved_at = None
    _write(row, found)
    return True


def _write(row: Blocker, found: FoundBlocker) -> None:
    row.account_id, row.offering, row.currency = found.account, found.offering[:200], found.currency
    row.money_minor, row.weight, row.fingerprint = found.money, found.weight, found.fingerprint
    row.detail = {"rows": found.details[:_DETAILS], "count": len(found.details)}


def refresh_month(month: date, *, now: datetime, since: datetime | None = None) -> None:
    """Look again at all of a month, or at what was rated since a moment or is blocked; group by group, each in its
    transaction."""
    rated = Statement.objects.filter(month=month, state=Statement.State.DRAFT)
    if since:
        rated = rated.filter(rated_at__gte=since)
    sell = rated.filter(side=Side.SELL).order_by("customer").values_list("customer", flat=True).distinct()
    blocked = Blocker.objects.filter(month=month, resolved_at=None, customer__isnull=False)
    customers = {*sell, *blocked.values_list("customer", flat=True)} - {None}
    for group in _groups(customers):
        with transaction.atomic():
            lock_month(Side.SELL, month, lock_group(group[0]))
            refresh_blockers(Side.SELL, month, group, now=now)
    for connection in connections_of(month):
        with transaction.atomic():
            lock_month(Side.COST, month, connection)
            refresh_blockers(Side.COST, month, [connection], now=now)


def connections_of(month: date) -> list[int]:
    """Return connections with a cost statement, an invoice, or a blocker of the month."""
    costs = Statement.objects.filter(month=month, side=Side.COST).values_list("connection", flat=True)
    blocked = Blocker.objects.filter(month=month, connection__isnull=False).values_list("connection", flat=True)
    compared = InvoiceComparison.objects.filter(month=month).values_list("connection", flat=True)
    return sorted({*costs, *blocked, *compared} - {None})


def _groups(customers: Iterable[int]) -> Iterable[list[int]]:
    group: list[int] = []
    for pk in sorted(customers):
        if group and (lock_group(pk) != lock_group(group[0]) or len(group) >= TOGETHER):
            yield group
            group = []
        group.append(pk)
    if group:
        yield group
