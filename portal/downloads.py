"""Downloads: each one is recorded in the audit log before its first byte, then sent.

    recorded_download(
        request, "customers.csv", table(HEADER, rows), verb="customers.exported", filters=filters
    )

Every file that the portal sends goes through `recorded_download`; a test finds one that bypasses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from portal import exports
from portal.filters import ListFilters
from portal.htmx import command_of

# Makes the response of a file with this name.
Content = Callable[[str], HttpResponseBase]


def recorded_download(
    request: HttpRequest,
    filename: str,
    content: Content,
    *,
    verb: str,
    obj: Model | None = None,
    customer: Model | None = None,
    filters: ListFilters | None = None,
    facts: Mapping[str, Any] | None = None,
    reason: str = "",
) -> HttpResponseBase:
    """Record who downloads what, and send the file.

    `obj` is what the file is about. A file about one customer names it, by `customer` or through `obj`, and is then
    listed under "Account access" of that customer; a file without one counts as holding rows of many. `filters` are
    recorded in words.
    """
    after = {**(facts or {}), "file": filename}
    if filters is not None:
        after["filters"] = filters.in_words() or [_("No filters")]
    with transaction.atomic():
        command_of(request).record(verb=verb, obj=obj, customer=customer, after=after, reason=reason)
    return content(filename)


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Content:
    """Return rows as a file: a workbook if its name ends in ".xlsx", else CSV, read while it is sent."""

    def send(filename: str) -> HttpResponseBase:
        if filename.endswith(".xlsx"):
            return exports.xlsx_response(filename, header, rows)
        return exports.csv_response(filename, header, rows)

    return send


def ready_lines(header: Sequence[Any], lines: Iterable[str]) -> Content:
    """Return lines that the database made (portal.csv_cells) as a CSV file."""
    return lambda filename: exports.csv_lines_response(filename, header, lines)


def archive(at: datetime, members: Iterable[tuple[str, Callable[[exports.ByteSink], None]]]) -> Content:
    """Return a ZIP of files, each written by its function."""
    return lambda filename: exports.zip_response(filename, at, members)


def stored_file(pieces: Iterable[bytes], *, size: int) -> Content:
    """Return a file that was written earlier, piece by piece."""

    def send(filename: str) -> HttpResponseBase:
        response = exports.stored_file_response(filename, pieces)
        response["Content-Length"] = str(size)
        return response

    return send


def plain_text(text: str) -> Content:
    """Return a short text as a file."""

    def send(filename: str) -> HttpResponse:
        response = HttpResponse(text, content_type="text/plain; charset=utf-8")
        return exports.as_download(response, filename)

    return send
