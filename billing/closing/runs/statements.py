"""Closing of draft statements: the case they were rated from, number, digest. Needs their lock (lock_month)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime

from django.db.models import F, QuerySet

from billing.closing.blockers.queries import held_back
from billing.closing.runs.content import statement_digests
from billing.models import Blocker, MonthClosing, Side, Statement, StatementCase, StatementCounter
from billing.pricing.statements.storage import Owner, stored_drafts
from portal.row_updates import update_rows

_INSERTED_TOGETHER = 500
# Customer (pk) and currency: the case as text.
Cases = Mapping[tuple[int | None, str], str]


def open_drafts(month: date) -> QuerySet[Statement]:
    """Return the month's drafts that wait to be closed. A connection without a cost source has none."""
    drafts = Statement.objects.filter(month=month, state=Statement.State.DRAFT)
    return drafts.exclude(side=Side.COST, currency="")


def close_statements(
    run: MonthClosing, side: Side, owners: Collection[int], *, cases: Cases | None = None, batch: int, now: datetime
) -> int:
    """Close the drafts of those customers (sell) or connections (cost) that nothing blocks; return how many. Needs a
    transaction: of numbers none is missing. `batch`: the last ledger batch before their figures were read."""
    column = Owner(side, 0).column
    blocked = held_back(side, run.month, owners)
    drafts = stored_drafts(side, run.month, set(owners) - blocked).filter(state=Statement.State.DRAFT)
    rows = list(drafts.order_by(column, "currency"))
    if side == Side.COST:
        rows = [each for each in rows if each.currency]  # a cost that isn't known can be learned later
    else:
        unpriced = _unpriced(run, rows)
        rows = [each for each in rows if each.customer_id not in unpriced]
    if not rows:
        return 0
    if cases:
        _keep_cases(rows, cases)
    _number([each for each in rows if side == Side.SELL and each.currency and each.lines_count])
    for each in rows:
        each.state, each.closing, each.closed_at, each.batch = Statement.State.CLOSED, run, now, batch
    digests = statement_digests(rows)
    for each in rows:
        each.digest = digests[each.pk]
    update_rows(rows, ("state", "closing", "closed_at", "number", "batch", "digest"))
    return len(rows)


def _unpriced(run: MonthClosing, rows: Collection[Statement]) -> set[int | None]:
    """Return customers with findings that belong to no currency, unless a person accepted that."""
    found = {each.customer_id for each in rows if not each.currency and each.findings_count}
    if found:
        accepted = Blocker.objects.filter(month=run.month, accepted_at__isnull=False, customer__in=found)
        found -= set(accepted.values_list("customer", flat=True))
    return found


def _keep_cases(rows: Collection[Statement], cases: Cases) -> None:
    kept = [
        StatementCase(statement=each, case=cases[each.customer_id, each.currency])
        for each in rows
        if each.currency and (each.customer_id, each.currency) in cases
    ]
    StatementCase.objects.bulk_create(kept, batch_size=_INSERTED_TOGETHER)


def _number(rows: Collection[Statement]) -> None:
    """Give statements the next numbers. The counter's row stays locked until the transaction ends."""
    if not rows:
        return
    StatementCounter.objects.filter(pk=1).update(last=F("last") + len(rows))
    first = StatementCounter.objects.get(pk=1).last - len(rows) + 1
    for number, each in enumerate(rows, first):
        each.number = number
