"""When an open account reaches the most emails its provider accepts in a billing period, at the rate of the last days.

The database excludes accounts that can't reach it; the rest is calculated here, in the way the page shows it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, timedelta
from math import ceil
from typing import NamedTuple

from django.db.models import BigIntegerField, Case, F, OuterRef, QuerySet, Subquery, Value, When

from billing.models import Status, UsagePeriod, UsageSnapshot
from billing.usage.assess import STALE_AFTER
from billing.usage.periods import midnight
from portal.providers import CAPABILITIES

# The rate is that of the last three days, or of the period so far if it is younger, at least one day.
RATE_OF = timedelta(days=3)
LEAST = timedelta(days=1)
LONGEST = 10**9  # seconds
HOUR = timedelta(hours=1)
_CEILING = Case(
    *(
        When(account__connection__kind=kind, then=F("allowed") * each.credit_ceiling[0] / each.credit_ceiling[1])
        for kind, each in CAPABILITIES.items()
        if each.credit_ceiling
    ),
    output_field=BigIntegerField(),
)


class Facts(NamedTuple):
    """`before`: usage three days before the last reading; None if the period wasn't read by then."""

    pk: int
    start_on: date
    read_at: datetime
    used: int
    ceiling: int
    before: int | None


def hours_to_ceiling(periods: QuerySet[UsagePeriod], *, now: datetime) -> dict[int, int]:
    """Return by figure (pk) in how many hours it reaches the ceiling; figures that don't are left out."""
    earlier = UsageSnapshot.objects.filter(
        account=OuterRef("account"),
        period_start_on=OuterRef("reported_start_on"),
        as_of__lte=OuterRef("read_at") - Value(RATE_OF),
    )
    open_ = periods.filter(status=Status.OPEN, used__gt=0, allowed__gt=0, read_at__gte=now - STALE_AFTER)
    rows = (
        open_.annotate(ceiling=_CEILING, before=Subquery(earlier.order_by("-as_of", "-seq").values("used")[:1]))
        .filter(used__lt=F("ceiling"))
        .order_by()
        .values_list(*Facts._fields)
    )
    found = {row.pk: hours_of(row, now=now) for row in map(Facts._make, rows)}
    return {pk: hours for pk, hours in found.items() if hours is not None}


def reaching_ceiling(periods: QuerySet[UsagePeriod], *, hours: int, now: datetime) -> Collection[int]:
    """Return the figures (pk) that reach the ceiling within `hours`."""
    # All of the usage in one day is the fastest rate there can be.
    most = F("used") * Value((hours * HOUR + STALE_AFTER) // LEAST + 1)
    possible = periods.annotate(most=F("used") + most, limit=_CEILING).filter(limit__lte=F("most"))
    return [pk for pk, left in hours_to_ceiling(possible, now=now).items() if left <= hours]


def hours_of(facts: Facts, *, now: datetime) -> int | None:
    """Return the hours from `now` until the ceiling is reached, or None if there is too little data, or no increase."""
    elapsed = RATE_OF if facts.before is not None else facts.read_at - midnight(facts.start_on)
    added = facts.used - (facts.before or 0)
    if elapsed < LEAST or added <= 0:
        return None
    seconds = int(elapsed.total_seconds()) * (facts.ceiling - facts.used) // added
    left = facts.read_at - now + timedelta(seconds=min(seconds, LONGEST))
    return max(0, ceil(left / HOUR))
