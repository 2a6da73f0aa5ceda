"""Blockers of a month for pages and runs: counted, and whose statements they keep from being closed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum

from billing.closing.blockers.kinds import OF_FIGURES, BlockerText, blocker_text
from billing.models import Blocker, Side

OPEN = Q(resolved_at=None, accepted_at=None)


def open_blockers(month: date) -> QuerySet[Blocker]:
    return Blocker.objects.filter(OPEN, month=month)


def held_back(side: Side, month: date, owners: Collection[int]) -> set[int]:
    """Return those customers (sell) or connections (cost) that an open blocker keeps from being closed.

    An undecided figure of a customer's account also keeps the cost statement of its connection open.
    """
    found = open_blockers(month)
    if side == Side.SELL:
        return set(found.filter(customer__in=owners).values_list("customer", flat=True))
    own = found.filter(connection__in=owners).values_list("connection", flat=True)
    figures = found.filter(kind__in=OF_FIGURES, account__connection__in=owners)
    return {*own, *figures.values_list("account__connection", flat=True)} - {None}


@dataclass(frozen=True, slots=True)
class KindCount:
    """The blockers of one kind in a month. `money` by currency; `unknown`: how many have no known amount."""

    kind: str
    text: BlockerText
    open: int
    accepted: int
    money: list[tuple[str, int]]
    unknown: int


@dataclass(frozen=True, slots=True)
class MonthBlockers:
    """How far a month is: blockers by kind, those with the most money first, and how many are done."""

    kinds: list[KindCount]
    open: int
    accepted: int
    resolved: int
    held_back: int

    @property
    def all(self) -> int:
        return self.open + self.accepted + self.resolved

    @property
    def done(self) -> int:
        return self.accepted + self.resolved


def month_blockers(month: date) -> MonthBlockers:
    """Count a month's blockers. Three queries, whatever their number."""
    rows = Blocker.objects.filter(month=month)
    totals = rows.aggregate(
        open=Count("pk", filter=OPEN),
        accepted=Count("pk", filter=Q(resolved_at=None, accepted_at__isnull=False)),
        resolved=Count("pk", filter=Q(resolved_at__isnull=False)),
        customers=Count("customer", filter=OPEN, distinct=True),
        connections=Count("connection", filter=OPEN, distinct=True),
    )
    found = (
        rows.filter(resolved_at=None)
        .order_by()
        .values("kind", "currency")
        .annotate(
            open=Count("pk", filter=OPEN),
            accepted=Count("pk", filter=Q(accepted_at__isnull=False)),
            money=Sum("money_minor", filter=OPEN),
            unknown=Count("pk", filter=OPEN & Q(money_minor=None)),
        )
    )
    held = totals.pop("customers") + totals.pop("connections")
    return MonthBlockers(kinds=_by_kind(found), held_back=held, **totals)


def _by_kind(rows: Iterable[Any]) -> list[KindCount]:
    by_kind: dict[str, list[Any]] = {}
    for row in rows:
        by_kind.setdefault(row["kind"], []).append(row)
    counts = [
        KindCount(
            kind,
            blocker_text(kind),
            sum(row["open"] for row in of),
            sum(row["accepted"] for row in of),
            sorted((row["currency"], row["money"]) for row in of if row["money"] and row["currency"]),
            sum(row["unknown"] for row in of),
        )
        for kind, of in by_kind.items()
    ]
    weight = {each.kind: max((abs(money) for _code, money in each.money), default=0) for each in counts}
    return sorted(counts, key=lambda each: (not each.open, not each.unknown, -weight[each.kind], each.kind))
