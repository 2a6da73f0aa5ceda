"""Forms of one answer about usage: stored by customers around a change, as a digest, and its overage."""

from __future__ import annotations

import hashlib
import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from billing.usage.assess import EAST
from billing.usage.periods import Period
from customers.models import UsageReading
from portal.providers import PooledUsage, Unreadable, Usage, UsageSource


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


def begun(usage: Usage, *, at: datetime) -> Usage:
    """Return `usage` if its billing period can have begun at `at` in any time zone. Raises `Unreadable`: both sources
    tell of the current period, and one that is still to come would end it."""
    _refuse_future(usage.period_start_on, at)
    return usage


def begun_pool(usage: PooledUsage, *, at: datetime) -> PooledUsage:
    _refuse_future(usage.days[0], at)
    return usage


def _refuse_future(start_on: date | None, at: datetime) -> None:
    if start_on is not None and start_on > (at + EAST).date():
        raise Unreadable(f"The reported billing period begins on {start_on}, which is in the future.")


def _exact(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def _day(value: Any) -> date | None:
    return date.fromisoformat(value) if value else None


def digest_of(usage: Usage, period: Period, *, package: str) -> str:
    """Return the digest of everything the answer reported. Answers with the same digest are the same reading."""
    said = [usage.source, usage.raw, period.start_on, period.end_on, usage.used, usage.package or package]
    if usage.allocated_cost is not None:
        said += [usage.allocated_cost, usage.currency, usage.allowed]
    text = json.dumps(said, cls=DjangoJSONEncoder, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def overage_of(usage: Usage) -> int | None:
    """Return the reported overage, else the difference of the two reported figures. A cap has no overage."""
    if usage.overage is not None or usage.used is None or usage.allowed is None or usage.source == UsageSource.POOLED:
        return usage.overage
    return max(0, usage.used - usage.allowed)
