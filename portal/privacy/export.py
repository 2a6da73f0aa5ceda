"""The file of an export: a ZIP of JSON with all rows of a person, and a table of contents that says what each part is.

A row that describes the person is complete, without secrets. Of any other row the columns that name the person are in
the file, with its key and times: the rest is about others.
"""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import DateField, DateTimeField, Q

from portal.personal_data import Declaration, personal_tables
from portal.privacy.models import SubjectRequest
from portal.privacy.rows import Search, found_rows, next_window, rows_of_user

CONTENTS = "contents.txt"
# Rows of one part; an audit log of years is cut there, and the table of contents says so.
MOST_ROWS = 50_000
_HEAD = """Personal data, request {code}

This file has everything that the portal stores about one person, by part. Each part is a JSON file with a list of rows.
Times are in UTC. Passwords, keys and other secrets are left out.
"""
_PART = """
{file}
  {name}: {rows} rows{cut}
  Why it is held: {why}
  How long: {until}
"""


def write_export(request: SubjectRequest, search: Search, *, alive: Callable[[], None]) -> tuple[str, int]:
    """Return the file in Base64, and its size in bytes. `alive` is called between windows of rows."""
    buffer, contents = io.BytesIO(), [_HEAD.format(code=request.code)]
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in personal_tables():
            rows = []
            for row in _rows_of(each, search, alive):
                rows.append(row)
                if len(rows) >= MOST_ROWS:
                    break
            if rows:
                contents.append(_part(each, len(rows)))
                archive.writestr(_file_of(each), json.dumps(rows, indent=1, ensure_ascii=False, cls=DjangoJSONEncoder))
        archive.writestr(CONTENTS, "".join(contents))
    return base64.b64encode(buffer.getvalue()).decode(), buffer.tell()


def _file_of(each: Declaration) -> str:
    return f"data/{each.model.replace('.', '_').lower()}.json"


def _part(each: Declaration, rows: int) -> str:
    cut = f" (the first {MOST_ROWS})" if rows >= MOST_ROWS else ""
    return _PART.format(file=_file_of(each), name=each.name, rows=rows, cut=cut, why=each.why, until=each.until)


def _rows_of(each: Declaration, search: Search, alive: Callable[[], None]) -> Iterator[dict[str, Any]]:
    """Yield the rows that describe the person, then others that name them."""
    alive()
    described = set()
    for row in _complete(each, search):
        described.add(row["id"])
        yield row
    after, more = None, True
    while more:
        until, more = next_window(each.table, after)
        if until is None:
            return
        for found in found_rows(each, search, after=after, until=until):
            if found.pk not in described:
                yield {"id": found.pk} | _times(each, found.pk) | found.values
        alive()
        after = until


def _complete(each: Declaration, search: Search) -> Iterator[dict[str, Any]]:
    """Yield the rows of the team member, or the customers whose contact the person is, without secrets."""
    rows = rows_of_user(each, search.subject)
    if each.of_customer == "pk":
        named = Q()
        for address in search.subject.addresses:
            named |= Q(email__iexact=address)
        rows = each.table._base_manager.filter(named) if search.subject.addresses else rows
    names = [column.attname for column in _columns(each) if column.name not in each.secret]
    key = each.table._meta.pk
    for row in rows.order_by("pk").values(*names).iterator(chunk_size=500):
        yield {"id": row.pop(key.attname)} | row


def _columns(each: Declaration) -> Iterable[Any]:
    return [column for column in each.table._meta.concrete_fields if column.get_internal_type() != "BinaryField"]


def _times(each: Declaration, pk: Any) -> dict[str, Any]:
    names = [column.name for column in _columns(each) if isinstance(column, DateTimeField | DateField)]
    found = each.table._base_manager.filter(pk=pk).values(*names).first() if names else None
    return {name: value for name, value in (found or {}).items() if value is not None}
