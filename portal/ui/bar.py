"""Geometry of a usage bar: a track to 125 %, marks at 80 and 100, and the level of the fill."""

from dataclasses import dataclass

NEAR, FULL, TRACK = 80, 100, 125


@dataclass(frozen=True, slots=True)
class UseBar:
    """Usage bar. ``percent`` is rounded, but never up to a mark: 99.9 % does not show as full."""

    percent: int
    level: str
    inside: float
    over: float


def use_bar_of(used: int, allowed: int) -> UseBar:
    """Return the bar for known usage. ``allowed`` must be above zero."""
    exact = used * 100 / allowed
    percent = round(exact)
    if percent in (NEAR, FULL) and exact < percent:
        percent -= 1
    level = "over" if used > allowed else "near" if exact >= NEAR else "quiet"
    return UseBar(
        percent=percent,
        level=level,
        inside=round(min(exact, FULL), 1),
        over=round(min(max(exact - FULL, 0), TRACK - FULL), 1),
    )
