"""Figures that were exported have versions from then on, also while their billing period is open."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import connection, models, transaction
from django.db.models import F, Value

from billing.models import FigureVersion, UsagePeriod
from billing.usage.figures import FIGURE, FigureCause
from billing.usage.ledger import next_batch

TOGETHER = 2000


def mark_exported(period_ids: Sequence[int], *, now: datetime) -> None:
    """Mark figures as exported, and add the first version of those that have none.

    Each part holds the ledger's lock, without which no figure and no version is written, for a moment. The rows'
    accounts are not locked: writers read a figure again once they hold the ledger, and store `exported` and `version`
    nowhere else.
    """
    ids = sorted(period_ids)
    for start in range(0, len(ids), TOGETHER):
        some = ids[start : start + TOGETHER]
        with transaction.atomic():
            unversioned = UsagePeriod.objects.filter(pk__in=some, version=0)
            _add_first_versions(unversioned, batch=next_batch(), now=now)
            unversioned.update(exported=True, version=1)
            UsagePeriod.objects.filter(pk__in=some, exported=False).update(exported=True)


def _add_first_versions(periods: models.QuerySet[UsagePeriod], *, batch: int, now: datetime) -> None:
    """Copy these figures in the database: an open month has as many as there are accounts."""
    facts = {
        "period": F("pk"),
        "account": F("account"),
        "n": Value(1),
        "from_batch": Value(batch, output_field=models.BigIntegerField()),
        "at": Value(now, output_field=models.DateTimeField()),
        "cause": Value(FigureCause.EXPORT),
        **{name: F(name) for name in (*FIGURE, "read_at")},
    }
    copied = {f"new_{name}": value for name, value in facts.items()}
    select, params = periods.order_by().annotate(**copied).values_list(*copied).query.sql_with_params()
    by_name = {field.name: str(field.column) for field in FigureVersion._meta.concrete_fields}
    columns = ", ".join(connection.ops.quote_name(by_name[name]) for name in facts)
    table = connection.ops.quote_name(FigureVersion._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({columns}) {select}", params)
