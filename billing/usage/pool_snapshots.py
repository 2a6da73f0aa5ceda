"""Pool snapshots: usage of all accounts of a connection that share one invoice, from one answer of the provider."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from billing.models import PooledSnapshot, SyncRun
from billing.usage.ledger import next_batch
from billing.usage.periods import Period
from billing.usage.pool_reports import ROUNDING, follow_reports
from portal.money_field import rounded
from portal.providers import PooledUsage, Share, Unreadable

MOST_E_MAILS = 2**63
MOST_MONEY = 10**9


@dataclass(frozen=True, slots=True)
class PoolReading:
    """One answer. `known` holds the provider IDs of the accounts stored in the portal, including deleted ones."""

    usage: PooledUsage
    as_of: datetime
    known: frozenset[str]


def sound(usage: PooledUsage) -> PooledUsage:
    """Return `usage` if it can be stored unchanged. Raises `Unreadable`. Sums that do not add up are accepted."""
    buckets = [usage.parent, usage.removed, usage.total, *usage.accounts, _sum(usage.accounts)]
    if usage.end_at <= usage.start_at or len(usage.currency) != 3:
        raise Unreadable("The usage report is missing its billing period or currency.")
    if not all(0 <= each.count < MOST_E_MAILS and abs(each.cost) < MOST_MONEY for each in buckets):
        raise Unreadable("The usage report contains an invalid figure.")
    return usage


def pool_cap_of(settings: dict[str, Any] | None) -> int | None:
    """Return the monthly cap of stored account settings (emails), or None for no cap (0) or an unknown one."""
    return (settings or {}).get("monthly_cap") or None


def adds_up(usage: PooledUsage) -> bool:
    """Return whether parent + accounts + removed = total: counts exactly, costs within a rounding of each bucket."""
    parts = [usage.parent, usage.removed, *usage.accounts]
    off = abs(usage.total.cost - sum(each.cost for each in parts))
    return usage.total.count == sum(each.count for each in parts) and off <= ROUNDING * len(parts)


def store_pool_reading(reading: PoolReading, *, run: SyncRun) -> PooledSnapshot:
    """Store the report unless the last one of the period is identical, and record it on the run. What contradicts an
    earlier one is stored all the same, with an anomaly. Needs a transaction that holds the locks of the accounts."""
    snapshot = _snapshot(reading, run)
    said = PooledSnapshot.objects.filter(connection=run.connection_id, period_start_on=snapshot.period_start_on).defer(
        "shares", "raw"
    )
    last = said.order_by("-as_of", "-seq").first()
    if last and last.raw_sha256 == snapshot.raw_sha256:
        snapshot = last
    else:
        snapshot.seq = last.seq + 1 if last and last.as_of == reading.as_of else 0
        snapshot.batch = next_batch()
        snapshot.save(force_insert=True)
        follow_reports(run.connection_id, snapshot.period_start_on, now=reading.as_of)
    SyncRun.objects.filter(pk=run.pk).update(pooled=snapshot, pooled_at=reading.as_of)
    return snapshot


def _snapshot(reading: PoolReading, run: SyncRun) -> PooledSnapshot:
    usage, period = reading.usage, Period(*reading.usage.days)
    known = _sum(each for each in usage.accounts if each.account_id in reading.known)
    unmapped = _sum(each for each in usage.accounts if each.account_id not in reading.known)
    facts: dict[str, Any] = {
        "period_start_on": period.start_on,
        "period_end_on": period.end_on,
        "starts_at": usage.start_at,
        "ends_at": usage.end_at,
        "currency": usage.currency,
        "method": usage.method[:60],
        "note": usage.note,
        "parent_count": usage.parent.count,
        "parent_cost": usage.parent.cost,
        "accounts_count": known.count,
        "accounts_cost": known.cost,
        "unmapped_count": unmapped.count,
        "unmapped_cost": unmapped.cost,
        "removed_count": usage.removed.count,
        "removed_cost": usage.removed.cost,
        "total_count": usage.total.count,
        "total_cost": usage.total.cost,
        "adds_up": adds_up(usage),
        "shares": [_row(share, known=share.account_id in reading.known) for share in usage.accounts],
    }
    digest = _digest(facts)  # of the costs as they were reported
    facts |= {name: rounded(value) for name, value in facts.items() if name.endswith("_cost")}
    return PooledSnapshot(
        connection_id=run.connection_id, run=run, as_of=reading.as_of, raw=usage.raw, raw_sha256=digest, **facts
    )


def _row(share: Share, *, known: bool) -> dict[str, Any]:
    return {"id": share.account_id, "name": share.name, "count": share.count, "cost": str(share.cost), "known": known}


def _sum(shares: Iterable[Share]) -> Share:
    found = list(shares)
    return Share(sum(each.count for each in found), sum((each.cost for each in found), Decimal()))


def _digest(facts: dict[str, Any]) -> str:
    text = json.dumps(facts, cls=DjangoJSONEncoder, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
