"""Runs of days: values over time, cut to the days of a period."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date, timedelta
from typing import NamedTuple, TypeVar

T = TypeVar("T")
DAY = timedelta(days=1)


class Held(NamedTuple):
    """A quantity from the first through the last day."""

    first: date
    last: date
    quantity: int


def days_of(first: date, last: date) -> int:
    return (last - first).days + 1


def value_runs(changes: Iterable[tuple[date, T]], first: date, last: date, before: T) -> list[tuple[date, date, T]]:
    """Return the runs of the values between two days. Changes ascend, and the last change of a day decides that day.

    `before` is the value ahead of the first change.
    """
    found = []
    begins, value = first, before
    for on, changed in changes:
        if on > last:
            break
        if on > begins:
            found.append((begins, on - DAY, value))
            begins = on
        value = changed
    found.append((begins, last, value))
    return found


def held_runs(runs: Iterable[tuple[date, date, dict[str, int]]], name: str) -> list[Held]:
    """Return how much of one offering was held, one run per quantity above zero."""
    found: list[Held] = []
    for first, last, items in runs:
        quantity = items.get(name, 0)
        if found and found[-1].quantity == quantity:
            found[-1] = Held(found[-1].first, last, quantity)
        else:
            found.append(Held(first, last, quantity))
    return [run for run in found if run.quantity]


def without_states(
    runs: Sequence[Held], states: Sequence[tuple[date, date, str]], left_out: Collection[str]
) -> list[Held]:
    """Return the runs without the days in the states left out. Days before and after such days are separate runs."""
    excluded = [(first, last) for first, last, state in states if state in left_out]
    if not excluded:
        return list(runs)
    found = []
    for run in runs:
        begins = run.first
        for first, last in excluded:
            if last < begins or first > run.last:
                continue
            if first > begins:
                found.append(Held(begins, first - DAY, run.quantity))
            begins = last + DAY
        if begins <= run.last:
            found.append(Held(begins, run.last, run.quantity))
    return found


def above_included(runs: Iterable[Held], included: int) -> list[Held]:
    """Return the runs of the quantity above the included one. Runs in which it is the same are one."""
    found: list[Held] = []
    for run in runs:
        above = run.quantity - included
        if above <= 0:
            continue
        if found and found[-1].quantity == above and found[-1].last + DAY == run.first:
            found[-1] = Held(found[-1].first, run.last, above)
        else:
            found.append(Held(run.first, run.last, above))
    return found
