"""Update many rows with values of their own in one statement."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from django.db import connections, models, router


def update_rows(rows: Sequence[models.Model], fields: Collection[str]) -> None:
    """Store these fields of the rows, which exist. A row that is gone is left out.

    Nothing is decided here: the rows must be locked, or not be written by anyone else. On PostgreSQL the values travel
    as one array for each column; `bulk_update` writes a CASE for each value and takes ten times as long.
    """
    if not rows:
        return
    model = type(rows[0])
    database = connections[router.db_for_write(model)]
    if database.vendor != "postgresql":
        model._base_manager.bulk_update(rows, fields, batch_size=50)
        return
    meta = model._meta
    columns: list[models.Field[Any, Any]] = [meta.pk, *(meta.get_field(name) for name in fields)]  # type: ignore[list-item]  # columns, no relations
    values = [
        [field.get_db_prep_save(getattr(row, field.attname), connection=database) for row in rows] for field in columns
    ]
    quote = database.ops.quote_name
    names = [quote(str(field.column)) for field in columns]
    types = [_type_of(field, database) for field in columns]
    arrays = ", ".join(f"%s::{each}[]" for each in types)
    changes = ", ".join(f"{name} = new.{name}" for name in names[1:])
    table = quote(meta.db_table)
    with database.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET {changes} FROM unnest({arrays}) AS new({', '.join(names)})"  # noqa: S608 names of the model
            f" WHERE {table}.{names[0]} = new.{names[0]}",
            values,
        )


def _type_of(field: models.Field[Any, Any], database: Any) -> str | None:
    """Return the type of a column's values. A cast to `varchar(n)` would cut a long text; the column refuses it."""
    if isinstance(field, models.CharField):
        return "text"
    return field.rel_db_type(database) if field.primary_key else field.db_type(database)
