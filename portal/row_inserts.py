"""Insert many rows at once: by COPY on PostgreSQL, which takes a fifth of the time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import chain, islice
from typing import Any

from django.db import connections, router

_INSERTED_TOGETHER = 500
# Rows of one COPY: the statement takes as long as its rows take to be made, and statements have a time limit.
_COPIED_TOGETHER = 5_000


def insert_rows(model: Any, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows, each the values of the same columns ("account_id" for a foreign key), while they are made.

    A column that is missing in them needs a default of the database. Rows must not be read from the database while
    they are inserted: COPY takes the connection.
    """
    waiting = iter(rows)
    database = connections[router.db_for_write(model)]
    if database.vendor != "postgresql":
        while some := list(islice(waiting, _INSERTED_TOGETHER)):
            model._base_manager.bulk_create([model(**values) for values in some])
        return
    for first in waiting:
        columns = ", ".join(f'"{model._meta.get_field(name).column}"' for name in first)
        with (
            database.cursor() as cursor,
            cursor.copy(f'COPY "{model._meta.db_table}" ({columns}) FROM STDIN') as copy,
        ):
            for values in chain([first], islice(waiting, _COPIED_TOGETHER - 1)):
                copy.write_row(tuple(map(_copied, values.values())))


def _copied(value: Any) -> Any:
    return json.dumps(value, separators=(",", ":")) if isinstance(value, dict | list) else value
