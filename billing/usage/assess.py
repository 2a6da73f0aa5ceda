"""Status of a figure: final, derived, an interval with its reason, open, stale or disputed. Pure functions.

Both sources of credits tell of the current period only, its end is midnight UTC or midnight Pacific time, and counters
may lag. A figure is final only where nothing can have been sent after what its last reading counts:

    from (last reading - LAG) to the latest possible reset

What a reading shows was counted `LAG` before it at the latest, so mail of this window may be missing from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from billing.models import Status
from billing.usage.series import Series

PACIFIC = ZoneInfo("America/Los_Angeles")
# Counters are assumed to be complete this long after the mail was accepted. No provider publishes a figure.
LAG = timedelta(hours=8)
# An open period without a reading for this long is stale: one nightly sync and a half were missed.
STALE_AFTER = timedelta(hours=36)
# Statistics of a day are assumed not to change anymore this long after it.
STATISTICS_SETTLE = timedelta(hours=48)
DAY = timedelta(days=1)
# Offsets of the first and the last time zone of the world: a moment falls on a day of these zones or between them.
WEST, EAST = timedelta(hours=-12), timedelta(hours=14)


def days_touched(start: datetime, end: datetime) -> list[date]:
    """Return the calendar days that the window from `start` to `end` touches in any time zone."""
    first, last = (start + WEST).date(), (end + EAST).date()
    return [first + DAY * n for n in range((last - first).days + 1)]


def settled_at(day: date) -> datetime:
    """Return from when on statistics of `day` are assumed not to change anymore, whatever its time zone."""
    return datetime.combine(day + DAY, time(), tzinfo=UTC) - WEST + STATISTICS_SETTLE


class Reason:
    """Why a figure has its status; codes that are stored. Their texts are in billing.labels."""

    NOT_SENDING = "not_sending"  # the account could not send until the end
    NOTHING_SENT = "nothing_sent"  # statistics of the last days show no request
    READ_AFTER_END = "read_after_end"  # two equal readings after the end, eight hours apart
    CEILING = "ceiling"  # as many emails as the account can send at all
    BEFORE_DELETION = "before_deletion"
    CALIBRATED = "calibrated"
    NOT_READ_TO_END = "not_read_to_end"
    DELETED = "deleted"  # deleted at the provider: no reading will come
    UNDECIDED = "undecided"  # a reading waits for a person
    AS_KNOWN = "as_known"
    QUANTITY = "quantity"
    BASE_ONLY = "base_only"
    ABOVE_QUANTITY = "above_quantity"  # more was read than a person had entered
    BEYOND_QUANTITY = "quantity_too_high"  # a person had entered more than can have been sent
    NOT_AS_ENTERED = (ABOVE_QUANTITY, BEYOND_QUANTITY)


@dataclass(frozen=True, slots=True)
class Resets:
    """Earliest and latest moment at which a billing period can have ended."""

    earliest: datetime
    latest: datetime

    def window(self, read_at: datetime) -> tuple[datetime, datetime]:
        """Return the window whose mail may be missing from a reading of the period at `read_at`."""
        return min(read_at - LAG, self.latest), self.latest


def resets_of(end_on: date, *, zone: str = "", ends_at: datetime | None = None) -> Resets:
    """Return when the period with the last day `end_on` ends. `zone` is "UTC", "America/Los_Angeles" or "" (unknown);
    `ends_at` is the provider's own statement, which needs no zone."""
    if ends_at is not None:
        return Resets(ends_at, ends_at)
    midnight = datetime.combine(end_on + DAY, time())
    utc, pacific = midnight.replace(tzinfo=UTC), midnight.replace(tzinfo=PACIFIC).astimezone(UTC)
    # An older page of the provider names 12:01 Pacific time.
    return Resets(pacific if zone == PACIFIC.key else utc, utc if zone == "UTC" else pacific + timedelta(minutes=1))


@dataclass(frozen=True, slots=True)
class EndEvidence:
    """Evidence on the time after the last reading of a period.

    `ceiling`: most emails of the whole period, `after_last`: most emails by statistics of the days touched, each None
    if unknown. `derived`: exact figure by statistics of a calibrated account.
    """

    ceiling: int | None = None
    after_last: int | None = None
    derived: int | None = None
    could_send: bool = True


@dataclass(frozen=True, slots=True)
class PeriodFacts:
    """When one period was read. `since` and `read_at`: the first and the last reading of the counted value;
    `read_after_end_at`: the first one after the latest possible reset; `next_seen_at`: the first of a later period."""

    resets: Resets
    since: datetime
    read_at: datetime
    read_after_end_at: datetime | None = None
    next_seen_at: datetime | None = None
    before_deletion: bool = False
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Assessment:
    """The figure: `low` to `high` emails (None: no known most), its status and the reason for it."""

    status: Status
    reason: str
    low: int
    high: int | None


def assess(series: Series, facts: PeriodFacts, evidence: EndEvidence, *, now: datetime) -> Assessment:
    """Return the figure of a period as of `now`."""
    low, most = series.low, series.high
    if not is_over(facts, now=now):
        if not series.is_decided:
            return Assessment(Status.DISPUTED, Reason.UNDECIDED, low, most)
        return Assessment(Status.STALE if now - facts.read_at > STALE_AFTER else Status.OPEN, "", low, None)
    # The provider's ceiling is one of its counter, which may have begun again.
    high = _most(series.last.used if series.last else 0, most, evidence)
    if series.is_decided and most == low and (exact := _exact(low, high, facts, evidence)):
        return exact
    if not series.is_decided:
        return Assessment(Status.DISPUTED, Reason.UNDECIDED, low, high)
    gone = facts.deleted and facts.next_seen_at is None
    return Assessment(Status.INTERVAL, Reason.DELETED if gone else Reason.NOT_READ_TO_END, low, high)


def is_over(facts: PeriodFacts, *, now: datetime) -> bool:
    """Return whether no more usage can be added: the provider showed a later period, every possible end has passed, or
    the account is deleted."""
    return facts.next_seen_at is not None or now >= facts.resets.latest or facts.deleted or facts.before_deletion


def _exact(low: int, high: int | None, facts: PeriodFacts, evidence: EndEvidence) -> Assessment | None:
    if facts.before_deletion:
        return Assessment(Status.FINAL, Reason.BEFORE_DELETION, low, low)
    if not evidence.could_send:
        return Assessment(Status.FINAL, Reason.NOT_SENDING, low, low)
    if _read_twice(facts):
        return Assessment(Status.FINAL, Reason.READ_AFTER_END, low, low)
    if evidence.ceiling is not None and low >= evidence.ceiling:
        return Assessment(Status.FINAL, Reason.CEILING, low, low)
    if evidence.after_last == 0:
        return Assessment(Status.FINAL, Reason.NOTHING_SENT, low, low)
    derived = evidence.derived
    if derived is not None and low <= derived and (high is None or derived <= high):
        return Assessment(Status.DERIVED, Reason.CALIBRATED, derived, derived)
    return None


def _read_twice(facts: PeriodFacts) -> bool:
    """Return whether the same value was read twice after the end, as far apart as counters may lag."""
    if facts.read_after_end_at is None:
        return False
    return facts.read_at - max(facts.since, facts.read_after_end_at) >= LAG


def _most(counter: int, most: int | None, evidence: EndEvidence) -> int | None:
    """Return the most emails: `most` by the readings, and what may have come after the last of them on top."""
    limits = []
    if evidence.after_last is not None:
        limits.append(evidence.after_last)
    if evidence.ceiling is not None:
        limits.append(max(0, evidence.ceiling - counter))
    return None if most is None or not limits else most + min(limits)
