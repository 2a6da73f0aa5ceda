"""Calibration of an account for its page: since when, or why not, and the windows that tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

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

# Why an account isn't calibrated; codes of billing.usage.midnights, and "denied".
LACKS: dict[str, str | Promise] = {
    "none": gettext_lazy(
        "Nothing can be compared yet. Usage is read at the account's midnight in the last 9 days of a billing period "
        "and the first days of the next. Statistics of a day settle two days later."
    ),
    "few": gettext_lazy("Too few windows can be compared so far. The ones compared are equal."),
    "different": gettext_lazy(
        "The provider's count and its statistics differ in these windows, for example because of Marketing Campaigns, "
        "or because statistics leave out subusers."
    ),
    "one_rate": gettext_lazy(
        "The account sent the same number of emails every day, so a delayed count would look the same."
    ),
    "denied": gettext_lazy(
        "The connection's key can't read statistics. Ask an admin to add the scope for statistics to the key."
    ),
}


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
        lack=str(LACKS.get(lack, "")),
        windows=found.windows[::-1],
        zone=zone_of(account),
    )
