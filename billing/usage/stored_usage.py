"""Usage that customers stored around changes, as the provider's answer again."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from customers.models import UsageReading
from portal.providers import Usage, UsageSource


def usage_of(final: UsageReading) -> Usage:
    """Return the stored form of a reading as the provider's answer."""
    facts = dict(final.usage)
    days = ("period_start_on", "period_end_on", "period_process_on")
    kept: dict[str, Any] = {name: facts.get(name) for name in ("used", "allowed", "remaining", "overage", "requests")}
    kept |= {name: _day(facts.get(name)) for name in days}
    kept |= {name: _exact(facts.get(name)) for name in ("reputation", "allocated_cost")}
    return Usage(
        source=UsageSource(final.source),
        package=facts.get("package") or "",
        currency=facts.get("currency") or "",
        period_inferred=bool(facts.get("period_inferred")),
        raw=facts.get("raw") or {},
        **kept,
    )


def _exact(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def _day(value: Any) -> date | None:
    return date.fromisoformat(value) if value else None
