"""The readings of one billing period as one figure: the least and the most emails that explain all of them.

A counter only rises. Where a reading is below the one before it, one of four things happened at the provider, and only
a person can tell which: the later values are a correction, the counter began again at zero, the billing period began
again, or the response was wrong. Until then the figure is everything that these explanations allow.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.models import Decision

Verdict = Decision.Verdict


@dataclass(frozen=True, slots=True)
class SeriesReading:
    """One reading, in emails. `verdict` is the decision about it, "" if there is none.

    `set_aside`: it doesn't count unless a person says so. `waits`: it is set aside and nobody decided yet.
    """

    pk: int
    at: datetime
    used: int
    allowed: int | None = None
    verdict: str = ""
    set_aside: bool = False
    waits: bool = False

    @property
    def counts(self) -> bool:
        if self.verdict == Verdict.WRONG:
            return False
        return not self.set_aside or self.verdict == Verdict.COUNTED


@dataclass(frozen=True, slots=True)
class Series:
    """`high` is None where nothing limits the emails between two readings. `falls` lists undecided decreases (pk of the
    lower reading), `waiting` other readings that wait for a person; `last` is the last counted reading."""

    low: int
    high: int | None
    last: SeriesReading | None
    falls: tuple[int, ...] = ()
    waiting: tuple[int, ...] = ()

    @property
    def is_decided(self) -> bool:
        return not self.falls and not self.waiting


def series_of(readings: Sequence[SeriesReading], *, ceiling: int | None) -> Series:
    """Return the figure of readings in order of time. `ceiling`: most emails the account can send in one period."""
    counted = [each for each in readings if each.counts]
    waiting = [each for each in readings if each.waits]
    falls = _falls(counted)
    low, _ = _fold(counted, undecided=Verdict.CORRECTION, ceiling=ceiling)
    _, high = _fold(counted, undecided=Verdict.RESET, ceiling=ceiling)
    if high is not None:
        # A wrong response would leave the highest of the others.
        others = [each.used for each in counted] if falls else []
        high = max([high, low, *others, *(each.used for each in waiting)])
    return Series(low, high, counted[-1] if counted else None, falls, tuple(each.pk for each in waiting))


def _falls(counted: Sequence[SeriesReading]) -> tuple[int, ...]:
    """Return readings below the one before them that nobody decided on."""
    pairs = itertools.pairwise(counted)
    return tuple(after.pk for before, after in pairs if after.used < before.used and not after.verdict)


def _fold(counted: Sequence[SeriesReading], *, undecided: Verdict, ceiling: int | None) -> tuple[int, int | None]:
    """Return the least and the most emails, taking every undecided decrease as `undecided`."""
    done, most_done, top = 0, 0, 0
    endless = False
    for each in counted:
        if each.used < top:
            if (each.verdict or undecided) == Verdict.RESET:
                # Between the last reading and the reset more may have been sent, up to the ceiling.
                done += top
                most_done += top if ceiling is None else max(top, ceiling)
                endless = endless or ceiling is None
            else:
                done = most_done = 0
                endless = False
        top = each.used
    return done + top, None if endless else most_done + top
