"""CSV exports that a spreadsheet opens without executing their content."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import chain, islice
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.utils.http import content_disposition_header

from portal.filters import ListFilters

_ROWS_PER_PIECE = 500
# What a spreadsheet takes for a formula, at the start of a cell, after any blanks, including full-width signs. A cell
# that starts with a tab or a line end is treated the same.
_FORMULA = re.compile(r"^[\s\u00a0\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20|%]|^[\t\r\n]")
# The same within a cell, after a line end or what separates cells where a computer's settings or an import dialog say
# so. Quotes do not help there: they end with the first of these cells.
_FORMULA_WITHIN = re.compile(r"(?<=[;\t|\r\n])(?=[\s\u00a0\u200b\ufeff\"]*[=+\-@\uff1d\uff0b\uff0d\uff20%])")
_BOM = "\ufeff"  # without it Excel does not read the file as UTF-8


def cell(value: Any) -> str | int | float | Decimal:
    """Return one value for the file: numbers stay numbers, text is escaped, times are UTC."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float, Decimal)):
        return value
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, date):
        return value.isoformat()
    text = _FORMULA_WITHIN.sub("'", str(value).replace("\x00", ""))
    return f"'{text}" if _FORMULA.search(text) else text


def csv_response(filename: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """Send `rows` as an attachment while they are read; pass a lazy iterable (`queryset.iterator()`).

    The rows are read after the view has returned, so they must not depend on the user's time zone or language.
    """
    response = StreamingHttpResponse(_pieces(header, rows), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = content_disposition_header(True, filename) or "attachment"
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "no-store"
    return response


def refused_export(filters: ListFilters) -> HttpResponse:
    """Answer the export of a list whose filters are not known: with the sentences as text, never with a file."""
    text = "".join(f"{sentence}\n" for sentence in filters.refused.values())
    return HttpResponse(text, status=400, content_type="text/plain; charset=utf-8")


def _pieces(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    waiting = iter(chain([header], rows))
    start = _BOM
    while batch := list(islice(waiting, _ROWS_PER_PIECE)):
        buffer = io.StringIO()
        buffer.write(start)
        writer = csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerows([cell(value) for value in row] for row in batch)
        start = ""
        yield buffer.getvalue()
