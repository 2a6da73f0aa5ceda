"""What is known about the time between a period's last reading and its end: ceilings, states, statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Min

from billing.models import ResetZone, UsagePeriod, UsageSnapshot
from billing.usage.assess import PACIFIC, Evidence, Resets, resets_of
from portal.providers import CAPABILITIES, UsageSource

# Accounts that must agree on a time zone, none against, before it is taken as known.
ZONE_VOTES = 3


@dataclass(frozen=True, slots=True)
class Known:
    """A period and its readings in order of time."""

    period: UsagePeriod
    snapshots: list[UsageSnapshot]


@dataclass(frozen=True, slots=True)
class PeriodEvidence:
    resets: Resets
    evidence: Evidence


def evidence_of(known: Sequence[Known], *, now: datetime) -> dict[int, PeriodEvidence]:
    """Return by period what is known about its end. The number of queries doesn't depend on the periods."""
    zones = zones_of({each.period.account.connection_id for each in known})
    later = _quotas_after([each.period for each in known])
    found = {}
    for each in known:
        zone = "UTC" if _is_pooled(each) else zones.get(each.period.account.connection_id, "")
        evidence = Evidence(ceiling=_ceiling(each, later.get(each.period.pk)))
        found[each.period.pk] = PeriodEvidence(resets_of(each.period.end_on, zone=zone), evidence)
    return found


def zones_of(connection_ids: set[int]) -> dict[int, str]:
    """Return the learned time zone of each connection's billing periods; connections without one are left out."""
    found = {}
    for row in ResetZone.objects.filter(connection__in=connection_ids):
        if row.utc >= ZONE_VOTES and not row.pacific:
            found[row.connection_id] = "UTC"
        elif row.pacific >= ZONE_VOTES and not row.utc:
            found[row.connection_id] = PACIFIC.key
    return found


def _is_pooled(each: Known) -> bool:
    return bool(each.snapshots) and each.snapshots[-1].source == UsageSource.POOLED


def _ceiling(each: Known, quota_after: int | None) -> int | None:
    """Return the most emails the account can have sent in the period: the provider's multiple of the greatest quota
    that a reading of it, or the first one after it, showed."""
    multiple = CAPABILITIES[each.period.account.connection.kind].credit_ceiling
    quotas = [row.allowed for row in each.snapshots if row.allowed is not None]
    if multiple is None or not quotas or len(quotas) < len(each.snapshots):
        return None
    return max([*quotas, quota_after or 0]) * multiple[0] // multiple[1]


def _quotas_after(periods: Sequence[UsagePeriod]) -> dict[int, int]:
    """Return the greatest quota of the readings right after each period: a package that was changed unnoticed."""
    first = {
        (row["account"], row["period_start_on"]): row["first"]
        for row in UsageSnapshot.objects.filter(account__in={each.account_id for each in periods})
        .order_by()
        .values("account", "period_start_on")
        .annotate(first=Min("pk"))
    }
    after = {}
    for period in periods:
        later = [start for account, start in first if account == period.account_id and start > period.start_on]
        if later:
            after[period.pk] = first[(period.account_id, min(later))]
    allowed = dict(UsageSnapshot.objects.filter(pk__in=after.values()).values_list("pk", "allowed"))
    return {pk: quota for pk, row in after.items() if (quota := allowed.get(row)) is not None}
