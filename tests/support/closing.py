"""Months closed for tests of what comes after: every draft as it is, with the case it was rated from."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime

from django.db.models import Max

from billing.models import MonthClosing, Side, Statement, StatementCase
from billing.pricing.statements.drafts import Rater, rate_month
from billing.pricing.statements.frozen import frozen_case
from customers.models import Customer
from tests.support.factories import UserFactory


def close_by_hand(
    month: date, *, now: datetime, held_back: Collection[Customer] = (), fails: bool = False
) -> MonthClosing:
    """Close the customers' statements of a month, all but those of some customers. `fails`: the run then fails."""
    rate_month(month, now=now)
    runs = MonthClosing.objects.filter(month=month)
    closing = MonthClosing.objects.create(
        month=month, n=runs.count() + 1, requested_by=UserFactory(role="admin"), requested_at=now, not_before=now
    )
    drafts = Statement.objects.filter(side=Side.SELL, month=month, state="draft").exclude(customer__in=held_back)
    rater = Rater(month, now=now)
    rater.additions.renew()
    cases = {
        (inputs.customer, prepared.case.currency): frozen_case(prepared.case)
        for inputs in rater.inputs_of([row.customer_id for row in drafts if row.customer_id])
        for prepared in inputs.cases(rater.catalog, month)
    }
    number = Statement.objects.aggregate(last=Max("number"))["last"] or 0
    for row in drafts.order_by("pk"):
        if (row.customer_id, row.currency) in cases:
            StatementCase.objects.create(statement=row, case=cases[row.customer_id, row.currency])
        number += 1
        row.state, row.closing, row.closed_at, row.digest = Statement.State.CLOSED, closing, now, "-"
        row.number = number if row.lines_count else None
        row.save(update_fields=["state", "closing", "closed_at", "digest", "number"])
    if fails:
        closing.state = MonthClosing.State.FAILED
        closing.save(update_fields=["state"])
        return closing
    finish_run(closing, now=now)
    return closing


def finish_run(closing: MonthClosing, *, now: datetime) -> None:
    closing.state, closing.closed_at, closing.row_hash = MonthClosing.State.CLOSED, now, "-"
    closing.seq = MonthClosing.objects.filter(seq__isnull=False).count() + 1
    closing.save(update_fields=["state", "closed_at", "row_hash", "seq"])
