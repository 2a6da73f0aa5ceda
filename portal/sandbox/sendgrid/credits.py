"""Credits counter of the provider, which credits and the v2 overview show: per billing period, late, and sometimes
adjusted."""

from dataclasses import dataclass

from portal.sandbox.sendgrid.resets import Period, period_at
from portal.sandbox.sendgrid.usage import History, credits_until

HOUR = 3_600


@dataclass(frozen=True, slots=True)
class Credits:
    period: Period
    allowed: int
    used: int

    @property
    def remain(self) -> int:
        return max(0, self.allowed - self.used)

    @property
    def overage(self) -> int:
        return max(0, self.used - self.allowed)


def credits_at(history: History, now: float, *, lag_seconds: float = 0, ended_hours: float = 0) -> Credits:
    """Return what the provider answers now.

    Mail of the last `lag_seconds` is not counted yet; it stays in the period in which it was sent. For `ended_hours`
    after a reset the answer is still about the period that ended.
    """
    first = history.moments[0].at if history.moments else now
    period = period_at(history.billing, max(now - ended_hours * HOUR, min(first, now)))
    allowed = history.allotment_at(min(now, period.resets_at - 1))
    return Credits(period, allowed, counted(history, period, now, lag_seconds=lag_seconds))


def counted(history: History, period: Period, now: float, *, lag_seconds: float = 0) -> int:
    """Return the counter of a period: the mail, or from an adjustment on its value and the mail since."""
    used = credits_until(history, period, now - lag_seconds)
    for at, value in reversed(history.adjustments):
        if at <= now and period.starts_at <= at < period.resets_at:
            return value + max(0, used - credits_until(history, period, at))
    return used
