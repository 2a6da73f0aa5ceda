"""INSERT ... SELECT of a whole table, with the defaults that Django would give the other columns."""

from __future__ import annotations

import json
from typing import Any

from django.db import models


def insert(model: Any, values: dict[str, str], source: str, *, leave_out: tuple[str, ...] = ()) -> str:
    """Return INSERT ... SELECT with these SQL values by column; all others have the default of their field."""
    columns = dict(values)
    for field in model._meta.concrete_fields:
        if field.column in columns or field.column in leave_out or field.primary_key or field.null or field.generated:
            continue
        columns[field.column] = _default(field)
    unknown = set(columns) - {field.column for field in model._meta.concrete_fields}
    if unknown:
        raise ValueError(f"{model.__name__} has no columns {sorted(unknown)}")
    names = ", ".join(f'"{name}"' for name in columns)
    return f"INSERT INTO {model._meta.db_table} ({names}) SELECT {', '.join(columns.values())} FROM {source}"


def _default(field: Any) -> str:
    """Return the default of a field as SQL; of a time the time now."""

    if isinstance(field, models.DateTimeField):
        return "now()"
    value = field.get_default()
    if isinstance(field, models.JSONField):
        value = json.dumps(value)
    return f"'{'' if value is None else value}'"
