"""Clock of the sandbox, which tests can move and freeze.

Inside the sandbox a time is a number: seconds since the epoch, UTC. Text is used only in requests and answers.
"""

import time
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

DAY = 86_400
EPOCH = date(1970, 1, 1)


class Clock:
    def __init__(self, offset: float = 0.0, frozen_at: float | None = None) -> None:
        # One tuple, so that other threads never see a partial change.
        self.setting: tuple[float, float | None] = (offset, frozen_at)

    def now(self) -> float:
        offset, frozen_at = self.setting
        return time.time() + offset if frozen_at is None else frozen_at

    def set(self, moment: float) -> None:
        frozen = self.setting[1] is not None
        self.setting = (self.setting[0], moment) if frozen else (moment - time.time(), None)

    def advance(self, seconds: float) -> None:
        self.set(self.now() + seconds)

    def freeze(self) -> None:
        self.setting = (self.setting[0], self.now())

    def unfreeze(self) -> None:
        """Run again from the frozen time."""
        self.setting = (self.now() - time.time(), None)


def iso(moment: float) -> str:
    """Return RFC 3339 in whole seconds with Z, the provider's format."""
    return datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_of(text: str) -> float:
    """Parse a time; a bare date is its midnight, a time without a zone is UTC."""
    parsed = datetime.fromisoformat(text)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def day_of(moment: float, zone: str = "UTC") -> date:
    if zone == "UTC":
        return EPOCH + timedelta(days=int(moment // DAY))
    return datetime.fromtimestamp(moment, _zone(zone)).date()


def midnight(day: date, zone: str = "UTC") -> int:
    """Return the first second of a day in a zone. Where the clock skips midnight, that is the moment of the change."""
    if zone == "UTC":
        return (day - EPOCH).days * DAY
    return _local_midnight(day, zone)


def is_zone(name: object) -> bool:
    """Return whether `name` is an IANA time zone."""
    try:
        return isinstance(name, str) and bool(_zone(name))
    except (KeyError, ValueError, OSError):  # unknown; a path out of the folder; a folder such as "Europe"
        return False


@lru_cache(maxsize=50_000)
def _local_midnight(day: date, zone: str) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=_zone(zone)).timestamp())


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
