"""Whether an account is calibrated, for its page: since when, or why not, and the windows that tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from billing import labels
from billing.usage import statistics_runs
from billing.usage.midnights import (
    OLDEST,
    WINDOWS,
    CalibrationWindow,
    calibrate,
    calibrated_since,
    midnights_of,
    zone_of,
)
from billing.usage.statistics import Statistics, statistics_of
from customers.models import Account


@dataclass(frozen=True)
class AccountCalibration:
    """`lack`: why the account isn't calibrated, a sentence, "" if it is; `windows`: newest first; `zone`: the time
    zone whose days are compared."""

    since: date | None
    lack: str
    windows: Sequence[CalibrationWindow]
    zone: str
    needed: int = WINDOWS


def calibration_on(account: Account, *, on: date) -> AccountCalibration | None:
    """Return the account's calibration as of the day `on`; None if the provider has no statistics of accounts."""
    if not statistics_runs.may_read(account.connection):
        return None
    # From twice as long ago, because the first day of `since` has its own windows before it.
    first = on - 2 * OLDEST
    readings = midnights_of([account], first=first).get(account.pk, [])
    statistics = statistics_of([account.pk], first=first).get(account.pk, Statistics())
    found = calibrate(readings, statistics, until=on)
    lack = "denied" if found.lack == "none" and statistics_runs.are_denied(account.connection) else found.lack
    return AccountCalibration(
        since=calibrated_since(readings, statistics, until=on),
        lack=labels.calibration_lack(lack),
        windows=found.windows[::-1],
        zone=zone_of(account),
    )
