"""What keeps statements of a month from being closed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime

from billing.models import Blocker, Side


def refresh_blockers(side: Side, month: date, owners: Collection[int], *, now: datetime) -> None:
    """Look again at what blocks these customers (sell) or connections (cost). Needs their lock (lock_month)."""


def held_back(side: Side, month: date, owners: Collection[int]) -> set[int]:
    """Return those customers (sell) or connections (cost) that an open blocker keeps from being closed."""
    column = "customer" if side == Side.SELL else "connection"
    found = Blocker.objects.filter(month=month, resolved_at=None, accepted_at=None, **{f"{column}__in": owners})
    return set(found.values_list(column, flat=True))
