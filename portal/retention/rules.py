"""Retention rules: the rows that each removes, what stays and why, and the period. Apps register theirs when loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, Model, OuterRef, QuerySet
from django.utils.functional import Promise

# More rows than this are not counted.
COUNTED = 100_000
# Rows that one transaction removes, unless the rule says otherwise.
BATCH = 1000

Rows = Callable[[datetime], QuerySet[Any]]


@dataclass(frozen=True)
class RetentionRule:
    """A kind of rows that are removed some days after they ended.

    `days` is the default, None to keep them. An admin may choose no fewer than `least` days, and may keep the rows if
    `may_keep`. A rule that `is_fixed` has no period to choose: its rows end by themselves, and are removed after that.

    `rows` returns the rows that ended before a moment. They are deleted in batches, and before them their `parts`: rows
    of another table that name them by a foreign key (model, field). A rule that doesn't delete rows has its own
    `remove`, which removes at most so many in the present transaction and returns how many, 0 once nothing is left.
    """

    code: str
    label: str | Promise
    removes: str | Promise
    keeps: str | Promise
    rows: Rows
    days: int | None = None
    least: int = 1
    may_keep: bool = False
    is_fixed: bool = False
    batch: int = BATCH
    parts: tuple[tuple[type[Model], str], ...] = ()
    remove: Callable[[datetime, int], int] | None = None

    def count(self, before: datetime) -> int:
        """Return how many rows ended before that moment, at most `COUNTED` + 1."""
        return self.rows(before).order_by()[: COUNTED + 1].count()

    def remove_batch(self, before: datetime, *, limit: int = 0) -> int:
        """Remove at most `limit` rows (by default `batch`), parts included, in one transaction. Return how many: 0 once
        nothing is left."""
        limit = limit or self.batch
        with transaction.atomic():
            if self.remove:
                return self.remove(before, limit)
            for model, field in self.parts:
                if removed := _delete(model._base_manager.filter(**{f"{field}__in": self.rows(before)}), limit):
                    return removed
            rows = self.rows(before)
            for model, field in self.parts:  # parts that were added since belong to a row that is in use again
                rows = rows.filter(~Exists(model._base_manager.filter(**{field: OuterRef("pk")})))
            return _delete(rows, limit)


def _delete(rows: QuerySet[Any], limit: int) -> int:
    """Delete the first of these rows. They are locked first, so that none is deleted that was changed meanwhile."""
    rows = rows.order_by("pk")
    if connection.features.has_select_for_update:
        rows = rows.select_for_update(of=("self",), skip_locked=True)
    keys = [row.pk for row in rows.only("pk")[:limit]]
    if not keys:
        return 0
    rows.model._base_manager.filter(pk__in=keys).delete()
    return len(keys)


_REGISTERED: dict[str, RetentionRule] = {}


def register_rules(*more: RetentionRule) -> None:
    for each in more:
        if _REGISTERED.setdefault(each.code, each) is not each:
            raise ValueError(f"Two retention rules have the code {each.code}.")


def retention_rules() -> list[RetentionRule]:
    return list(_REGISTERED.values())


def find_rule(code: str) -> RetentionRule | None:
    return _REGISTERED.get(code)
