"""Usage of one account: the current billing period as a chart with its projection, and the earlier periods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from billing.models import NOT_OVER, Anomaly, UsagePeriod
from billing.reports.month_chart import nice_top
from billing.usage.figures import counted_readings
from billing.usage.periods import DAY, midnight
from customers.models import Account
from portal.ui.bar import use_bar_of

# A projection needs a day of usage, and a snapshot not older than this.
PACE_AFTER = timedelta(days=1)
PACE_FRESH = timedelta(hours=36)
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 236, 46, 78, 10, 26
LABEL = 13
CYCLES_SHOWN = 24


@dataclass(frozen=True, slots=True)
class Point:
    at: datetime
    used: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Days without a snapshot, both inclusive."""

    first: date
    last: date
    x: float = 0
    width: float = 0

    @property
    def one_day(self) -> bool:
        return self.first == self.last


@dataclass(frozen=True, slots=True)
class UsagePace:
    """Projected usage at the end of the billing period, and the day the quota is exceeded (None: not in this
    period)."""

    at_end: int
    passes_on: date | None


@dataclass(frozen=True)
class Cycle:
    """Billing period with its readings; `anomalies` include decided ones."""

    period: UsagePeriod
    points: list[Point]
    gaps: list[Gap]
    pace: UsagePace | None
    is_open: bool
    chart: dict[str, Any]
    anomalies: list[Anomaly]

    @property
    def percent(self) -> int | None:
        """Usage in percent of the quota, rounded as in the bars of other pages; None for an interval."""
        if self.period.used is None or not self.period.allowed or (self.period.is_over and self.period.width != 0):
            return None
        return use_bar_of(self.period.used, self.period.allowed).percent

    @property
    def level(self) -> str:
        percent = self.percent
        if percent is None or percent < 80:
            return ""
        return "over" if (self.period.used or 0) > (self.period.allowed or 0) else "near"


@dataclass(frozen=True)
class AccountUsage:
    account: Account
    cycle: Cycle | None
    periods: list[UsagePeriod] = field(default_factory=list)


def usage_of_account(account: Account, *, now: datetime, start_on: date | None = None) -> AccountUsage:
    """Return the usage of the latest billing period, or of the one that starts on `start_on`, and the list of
    periods. An unknown `start_on` has no usage."""
    known = UsagePeriod.objects.filter(account=account).select_related("current").order_by("-start_on")
    periods = list(known[:CYCLES_SHOWN])
    chosen = known.filter(start_on=start_on).first() if start_on else next(iter(periods), None)
    return AccountUsage(account, _cycle(account, chosen, now) if chosen else None, periods)


def _cycle(account: Account, period: UsagePeriod, now: datetime) -> Cycle:
    points = _points(period)
    is_open = period.status in NOT_OVER
    gaps = gaps_of(period, born_on=account.created_at.date(), now=now, ended=account.state == "deleted")
    pace = pace_of(period, now=now) if is_open else None
    anomalies = period.anomalies.select_related("owner", "snapshot").prefetch_related("decisions__by")
    return Cycle(period, points, gaps, pace, is_open, _draw(period, points, gaps, pace), list(anomalies))


def _points(period: UsagePeriod) -> list[Point]:
    """Return every counted reading of the period, and the last time its value was confirmed."""
    rows = counted_readings(period)
    points = [Point(row.as_of, row.used) for row in rows]
    if rows and rows[-1].pk == period.latest_id and period.read_at and period.read_at > rows[-1].as_of:
        points.append(Point(period.read_at, rows[-1].used))
    return points


def gaps_of(period: UsagePeriod, *, born_on: date, now: datetime, ended: bool = False) -> list[Gap]:
    """Return the days of the period, up to yesterday, on which usage was not read. Days before the account existed
    don't count."""
    today = now.astimezone(UTC).date()
    last = min(period.end_on, today - DAY)
    if ended and period.read_at:
        last = min(last, period.read_at.date())
    gaps: list[Gap] = []
    day = max(period.start_on, born_on)
    while day <= last:
        if not period.days_read >> (day - period.start_on).days & 1:
            if gaps and gaps[-1].last == day - DAY:
                gaps[-1] = Gap(gaps[-1].first, day)
            else:
                gaps.append(Gap(day, day))
        day += DAY
    return gaps


def pace_of(period: UsagePeriod, *, now: datetime) -> UsagePace | None:
    """Return the usage projected to the end of the period, or None if there is too little data."""
    start, read_at = midnight(period.start_on), period.read_at
    if read_at is None:
        return None
    elapsed = (read_at - start).total_seconds()
    if elapsed < PACE_AFTER.total_seconds() or now - read_at > PACE_FRESH or not period.used:
        return None
    per_second = period.used / elapsed
    at_end = int(period.used + per_second * max(0.0, (period.ends_at - read_at).total_seconds()))
    passes_on = None
    if period.allowed and period.used <= period.allowed < at_end:
        passes_on = (start + timedelta(seconds=period.allowed / per_second)).date()
    return UsagePace(at_end, passes_on)


class _Scale:
    """Conversion of time and usage to chart coordinates."""

    def __init__(self, period: UsagePeriod, top: int) -> None:
        self.start, self.end, self.top = midnight(period.start_on), period.ends_at, max(top, 1)

    def x(self, moment: datetime) -> float:
        share = (moment - self.start) / (self.end - self.start)
        return round(LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, used: float) -> float:
        return round(HEIGHT - BOTTOM - used / self.top * (HEIGHT - TOP - BOTTOM), 1)


def _draw(period: UsagePeriod, points: list[Point], gaps: list[Gap], pace: UsagePace | None) -> dict[str, Any]:
    """Return the lines, places and texts of the chart, for its template."""
    highest = max([period.used or 0, int((period.allowed or 0) * 1.1), pace.at_end if pace else 0])
    top, values = nice_top(highest, 4)
    scale = _Scale(period, top)
    lines = _lines(period, points, gaps)
    drawn = [[(scale.x(point.at), scale.y(point.used)) for point in line] for line in lines]
    last = (scale.x(points[-1].at), scale.y(points[-1].used)) if points else None
    pace_end = (scale.x(period.ends_at), scale.y(pace.at_end)) if pace else None
    limits = [scale.y(period.allowed * share) for share in (0.8, 1)] if period.allowed else [None, None]
    floor = HEIGHT - BOTTOM
    return {
        "lines": [_path(line) for line in drawn],
        "areas": [_path([(line[0][0], floor), *line, (line[-1][0], floor)]) for line in drawn if len(line) > 1],
        "gaps": [_placed(gap, points, scale) for gap in gaps],
        "ticks": [(value, scale.y(value)) for value in values],
        "marks": _marks(period, scale),
        "near_y": limits[0],
        "limit_y": limits[1],
        "dot": last,
        "pace_line": _path([last, pace_end]) if last and pace_end else "",
        "pace_end": pace_end,
        "pace_dy": _clear_of(limits, pace_end),
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "floor": floor,
        "top": TOP,
    }


def _clear_of(limits: Sequence[float | None], end: tuple[float, float] | None) -> int:
    """Return the vertical offset that keeps the projection's label clear of those of the limits."""
    others = [y + 4 for y in limits if y is not None]
    free = [
        dy
        for dy in sorted(range(-28, 37, 4), key=lambda dy: abs(dy - 4))
        if end is None or all(abs(end[1] + dy - other) >= LABEL for other in others)
    ]
    return free[0] if free else 4


def _lines(period: UsagePeriod, points: list[Point], gaps: list[Gap]) -> list[list[Point]]:
    """Return the points as lines, interrupted where days are missing. A period begins at zero by definition."""
    start = Point(midnight(period.start_on), 0)
    line = [] if gaps and gaps[0].first == period.start_on else [start]
    lines: list[list[Point]] = []
    for point in points:
        if line and any(line[-1].at < midnight(gap.first + DAY) and midnight(gap.last) <= point.at for gap in gaps):
            lines.append(line)
            line = []
        line.append(point)
    return [each for each in [*lines, line] if each]


def _placed(gap: Gap, points: list[Point], scale: _Scale) -> Gap:
    """Return the gap with its position, from the snapshot before it to the one after it."""
    before = [point.at for point in points if point.at < midnight(gap.first)]
    after = [point.at for point in points if point.at >= midnight(gap.last + DAY)]
    x = scale.x(before[-1] if before else midnight(gap.first))
    return Gap(gap.first, gap.last, x, round(scale.x(after[0] if after else midnight(gap.last + DAY)) - x, 1))


def _marks(period: UsagePeriod, scale: _Scale) -> list[tuple[float, date, str]]:
    """Return place, day and anchor of a mark for every fifth day, and for the last one at the end of the axis."""
    days = (period.end_on - period.start_on).days
    fifths = [period.start_on + DAY * step for step in range(0, max(1, days - 3), 5)]
    middle = [(scale.x(midnight(day)), day, "start" if day == period.start_on else "middle") for day in fifths]
    return [*middle, (scale.x(period.ends_at), period.end_on, "end")]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)
