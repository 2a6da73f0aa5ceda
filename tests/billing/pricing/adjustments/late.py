"""Figures with versions, as the ledger keeps them, and the lines that adjust closed months."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from billing.models import FigureVersion, StatementLine, UsagePeriod
from billing.pricing.statements.drafts import draft_of
from billing.usage.ledger import next_batch
from customers.models import Customer
from tests.billing.pricing.statements.agreed import NOW

DECEMBER, JANUARY = date(2026, 12, 1), date(2027, 1, 1)
IN_DECEMBER, IN_JANUARY = datetime(2026, 12, 10, 12, tzinfo=UTC), datetime(2027, 1, 10, 12, tzinfo=UTC)


def store_version(period: UsagePeriod, *, at: datetime = NOW, **facts: Any) -> FigureVersion:
    """Change a figure (`used`, `status`, dates) and store the version that this makes. `final` is exact."""
    batch = next_batch()
    for name, value in facts.items():
        setattr(period, name, value)
    if "used" in facts and "high" not in facts:
        period.high = period.used
    period.month = period.end_on.replace(day=1)
    period.version += 1
    period.batch = batch
    period.save()
    FigureVersion.objects.filter(period=period, to_batch=None).update(to_batch=batch)
    return FigureVersion.objects.create(
        period=period, account=period.account, n=period.version, from_batch=batch, at=at, cause="reading",
        month=period.month, start_on=period.start_on, end_on=period.end_on, status=period.status, used=period.used,
        high=period.high, allowed=period.allowed, package=period.package,
    )  # fmt: skip


def adjustments(customer: Customer, month: date = DECEMBER, *, now: datetime = IN_DECEMBER) -> list[StatementLine]:
    """Return the lines that adjust closed months in a customer's statements of a month."""
    drafts = draft_of(customer, month, now=now)
    return [line for draft in drafts for line in draft.lines.filter(kind="adjustment").order_by("n")]


def in_short(lines: list[StatementLine]) -> list[tuple[str, int, int]]:
    return [(line.because["kind"], line.quantity, line.amount_minor) for line in lines]
