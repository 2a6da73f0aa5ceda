"""Closed months, as a closing run leaves them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import date, datetime

from django.db.models import Max
from django.utils import timezone

from billing.models import MonthClosing, Side, Statement, StatementCase
from billing.pricing.statements.drafts import Rater
from billing.pricing.statements.frozen import frozen_case
from customers.models import Customer
from portal.access.models import User
from tests.support.factories import UserFactory


def close_statements(
    month: date, *, customers: Iterable[Customer] | None = None, by: User | None = None, at: datetime | None = None
) -> MonthClosing:
    """Close the drafts of a month's customers, or of some of them, with numbers and cases."""
    at = at or timezone.now()
    drafts = Statement.objects.filter(side=Side.SELL, month=month, state=Statement.State.DRAFT).exclude(currency="")
    if customers is not None:
        drafts = drafts.filter(customer__in=[each.pk for each in customers])
    runs = MonthClosing.objects.filter(month=month)
    closing = MonthClosing.objects.create(
        month=month, n=runs.count() + 1, requested_by=by or UserFactory(role="finance"), requested_at=at, not_before=at
    )
    number = Statement.objects.aggregate(last=Max("number"))["last"] or 0
    rater = Rater(month, now=at)
    for statement in drafts.order_by("customer", "currency"):
        (inputs,) = rater.inputs_of([statement.customer_id])
        case = next(
            each.case for each in inputs.cases(rater.catalog, month) if each.case.currency == statement.currency
        )
        StatementCase.objects.create(statement=statement, case=frozen_case(case))
        number += 1 if statement.lines_count else 0
        statement.state, statement.closing, statement.closed_at = Statement.State.CLOSED, closing, at
        statement.number = number if statement.lines_count else None
        statement.digest = hashlib.sha256(str(statement.pk).encode()).hexdigest()
        statement.save(update_fields=["state", "closing", "closed_at", "number", "digest"])
    closing.state, closing.closed_at = MonthClosing.State.CLOSED, at
    closing.seq = (MonthClosing.objects.aggregate(last=Max("seq"))["last"] or 0) + 1
    closing.row_hash = hashlib.sha256(str(closing.seq).encode()).hexdigest()
    closing.save(update_fields=["state", "closed_at", "seq", "row_hash"])
    return closing
