"""Learning the time zone in which a connection's billing periods end: UTC or Pacific time.

A roll-over is the last reading of the old period and the first of the new one. Answers may linger: for some hours after
the end a provider may still return the ended period. So an old period read after midnight UTC is no evidence against
UTC, and only two kinds of roll-over prove a zone:

- UTC: the new period was read before midnight Pacific time. Nothing but an end at midnight UTC explains it.
- Pacific time: the old period was read shortly before midnight Pacific time and the new one shortly after it. Answers
  that linger for just these 7 or 8 hours explain it as well, but the difference changes with daylight saving time. If
  that happens, the period is taken to end later than it does: intervals become wider, never wrong.

A zone is known from `VOTES` roll-overs on, and only while none of the last period proves the other one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from billing.models import ResetZone, UsagePeriod
from billing.usage.assess import DAY, PACIFIC

UTC_ZONE = "UTC"
VOTES = 3
# How close to midnight Pacific time both readings of a roll-over must be.
CLOSE = timedelta(minutes=30)
# A vote for the other zone counts this long: one billing period and a little.
REMEMBERED = timedelta(days=35)


@dataclass(frozen=True, slots=True)
class RollOver:
    """The last day of a period, its last reading, and the first one of the next period."""

    connection_id: int
    end_on: date
    old_at: datetime
    new_at: datetime

    @property
    def zone(self) -> str:
        """The zone this proves, "" if none."""
        utc = datetime.combine(self.end_on + DAY, time(), tzinfo=UTC)
        pacific = pacific_midnight(self.end_on + DAY)
        if utc <= self.new_at < pacific:
            return UTC_ZONE
        if pacific - CLOSE <= self.old_at < self.new_at and pacific <= self.new_at <= pacific + CLOSE:
            return PACIFIC.key
        return ""


def pacific_midnight(day: date) -> datetime:
    """Return when `day` begins in Pacific time."""
    return datetime.combine(day, time(), tzinfo=PACIFIC).astimezone(UTC)


def learn(rolled: Sequence[RollOver]) -> None:
    """Count the roll-overs that prove a zone. Needs a transaction that holds the ledger's lock."""
    rows: dict[int, ResetZone] = {}
    for each in rolled:
        if not each.zone:
            continue
        row = rows.get(each.connection_id)
        if row is None:
            row, _ = ResetZone.objects.get_or_create(connection_id=each.connection_id)
            rows[each.connection_id] = row
        _count(row, each)
    for row in rows.values():
        row.save(update_fields=["utc", "utc_on", "pacific", "pacific_on"])


def _count(row: ResetZone, each: RollOver) -> None:
    if each.zone == UTC_ZONE:
        row.utc, row.utc_on = row.utc + 1, max(row.utc_on or each.end_on, each.end_on)
        if row.pacific_on and row.pacific_on < each.end_on - REMEMBERED:
            row.pacific, row.pacific_on = 0, None
    else:
        row.pacific, row.pacific_on = row.pacific + 1, max(row.pacific_on or each.end_on, each.end_on)
        if row.utc_on and row.utc_on < each.end_on - REMEMBERED:
            row.utc, row.utc_on = 0, None


def known_zone(row: ResetZone) -> str:
    """Return the learned zone, "" if there is none or the evidence contradicts itself."""
    if row.utc >= VOTES and not row.pacific:
        return UTC_ZONE
    return PACIFIC.key if row.pacific >= VOTES and not row.utc else ""


def zones_of(connection_ids: Collection[int]) -> dict[int, str]:
    """Return the learned zone of each connection; those without one are left out."""
    rows = ResetZone.objects.filter(connection__in=connection_ids)
    return {row.connection_id: zone for row in rows if (zone := known_zone(row))}


# --- Figures after a zone was learned, or was contradicted --------------------------------------------------------


def outdated() -> list[ResetZone]:
    """Return the zones with which figures have to be derived again."""
    rows = ResetZone.objects.all()
    for row in rows:
        if (zone := known_zone(row)) != row.applied:
            row.applied, row.position = zone, 0
            row.save(update_fields=["applied", "position"])
    return [row for row in rows if row.position is not None]


def next_periods(row: ResetZone, *, now: datetime, limit: int) -> list[tuple[int, int]]:
    """Return period and account of the next figures to derive again with the zone of `row`."""
    periods = UsagePeriod.objects.filter(
        account__connection=row.connection_id, ends_at__gte=now - REMEMBERED, pk__gt=row.position or 0
    ).exclude(current=None)
    return list(periods.order_by("pk").values_list("pk", "account_id")[:limit])


def mark_done(row: ResetZone, done: Sequence[tuple[int, int]], *, limit: int) -> None:
    """Move on behind `done`; fewer than `limit` were the last ones."""
    position = done[-1][0] if len(done) == limit else None
    ResetZone.objects.filter(pk=row.pk, applied=row.applied, position__isnull=False).update(position=position)
    row.position = position
