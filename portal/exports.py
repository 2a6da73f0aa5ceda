"""CSV and XLSX exports that a spreadsheet opens without executing their content."""

from __future__ import annotations

import csv
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import chain, islice
from typing import Any, Protocol, TypeVar

import xlsxwriter
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header

from portal.filters import ListFilters

_ROWS_PER_PIECE = 500
Response = TypeVar("Response", bound=HttpResponseBase)
# What a spreadsheet takes for a formula, at the start of a cell, after any blanks, including full-width signs. A cell
# that starts with a tab or a line end is treated the same. Parts of character sets, which portal.csv_cells shares.
BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u200b\ufeff"
SIGNS_WITHIN = "=+@\uff1d\uff0b\uff0d\uff20%-"
SIGNS = f"|{SIGNS_WITHIN}"
_FORMULA = re.compile(f"^[{BLANKS}]*[{SIGNS}]|^[\t\r\n]")
# The same within a cell, after a line end or what separates cells where a computer's settings or an import dialog say
# so. Quotes do not help there: they end with the first of these cells.
SEPARATORS = ";\t|\r\n"
_FORMULA_WITHIN = re.compile(f'(?<=[{SEPARATORS}])(?=["{BLANKS}]*[{SIGNS_WITHIN}])')
_BOM = "\ufeff"  # without it Excel does not read the file as UTF-8
CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "zip": "application/zip",
}
# Spreadsheets calculate with 15 digits. A longer number is written as text, so that none of them is lost.
_EXACT_DIGITS = 15
# Excel's first date.
_FIRST_DAY = date(1900, 3, 1)
_XLSX_OPTIONS = {
    "constant_memory": True,
    "strings_to_formulas": False,
    "strings_to_numbers": False,
    "strings_to_urls": False,
}


class ByteSink(Protocol):
    """Anything that bytes are written to."""

    def write(self, data: bytes, /) -> Any: ...


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


def csv_cell(value: Any) -> str:
    """Return one value as it stands in the file."""
    written = cell(value)
    return '"{}"'.format(written.replace('"', '""')) if isinstance(written, str) else str(written)


class _Returned:
    """A file for `csv.writer` that gives each written line back."""

    def write(self, line: str) -> str:
        return line


def csv_lines(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Return one line per row, as text."""
    writer: Any = csv.writer(_Returned(), quoting=csv.QUOTE_NONNUMERIC)
    return (writer.writerow([cell(value) for value in row]) for row in rows)


def csv_response(filename: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """Send `rows` as an attachment while they are read; pass a lazy iterable (`queryset.iterator()`).

    The rows are read after the view has returned, so they must not depend on the user's time zone or language.
    """
    return csv_lines_response(filename, header, csv_lines(rows))


def csv_lines_response(filename: str, header: Sequence[str], lines: Iterable[str]) -> StreamingHttpResponse:
    """Send lines that are ready, of `csv_lines` or from the database (portal.csv_cells), while they are read."""
    return stored_file_response(filename, csv_pieces(header, lines))


def xlsx_response(filename: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> FileResponse:
    """Send `rows` as an attachment after they were written to a temporary file."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  the response closes it
    write_xlsx(file, header, rows)
    file.seek(0)
    response = FileResponse(file, as_attachment=True, filename=filename, content_type=CONTENT_TYPES["xlsx"])
    return as_download(response, filename)


def stored_file_response(filename: str, pieces: Iterable[bytes]) -> StreamingHttpResponse:
    """Send the pieces of a file as an attachment; its name tells its type."""
    content_type = CONTENT_TYPES[filename.rpartition(".")[2]]
    return as_download(StreamingHttpResponse(pieces, content_type=content_type), filename)


def as_download(response: Response, filename: str) -> Response:
    response["Content-Disposition"] = content_disposition_header(True, filename) or "attachment"
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "no-store"
    return response


def write_csv(file: ByteSink, header: Sequence[str], lines: Iterable[str]) -> None:
    for piece in csv_pieces(header, lines):
        file.write(piece)


def write_xlsx(file: ByteSink, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write one sheet, row by row. Text stays text: an ID keeps its leading zeros, and nothing is a formula."""
    with tempfile.TemporaryFile() as written:  # the library needs a file it can move in
        book = xlsxwriter.Workbook(written, _XLSX_OPTIONS)
        formats: dict[type, Any] = {date: book.add_format({"num_format": "yyyy-mm-dd"})}
        formats[datetime] = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        sheet = book.add_worksheet()
        sheet.freeze_panes(1, 0)
        for number, row in enumerate(chain([header], rows)):
            for place, value in enumerate(row):
                _write_cell(sheet, number, place, value, formats)
        book.close()
        written.seek(0)
        shutil.copyfileobj(written, file)


def _write_cell(sheet: Any, row: int, column: int, value: Any, formats: dict[type, Any]) -> None:
    if value is None or value == "":
        return
    if isinstance(value, str):  # most cells are
        sheet.write_string(row, column, value.replace("\x00", ""))
    elif isinstance(value, bool):
        sheet.write_string(row, column, str(cell(value)))
    elif isinstance(value, int | Decimal) and _has_few_digits(value):
        sheet.write_number(row, column, value)
    elif isinstance(value, datetime):
        sheet.write_datetime(row, column, value.astimezone(UTC).replace(tzinfo=None, microsecond=0), formats[datetime])
    elif isinstance(value, date) and value >= _FIRST_DAY:
        sheet.write_datetime(row, column, value, formats[date])
    else:
        sheet.write_string(row, column, str(value).replace("\x00", ""))


def _has_few_digits(value: int | Decimal) -> bool:
    if isinstance(value, int) and -(10**_EXACT_DIGITS) < value < 10**_EXACT_DIGITS:
        return True
    return len(Decimal(value).normalize().as_tuple().digits) <= _EXACT_DIGITS


def zip_response(
    filename: str, at: datetime, members: Iterable[tuple[str, Callable[[ByteSink], None]]]
) -> FileResponse:
    """Send a ZIP of files, each written by its function, after it was written to a temporary file. `at` is the date of
    all of them, so that the same files give the same bytes."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  the response closes it
    with zipfile.ZipFile(file, "w") as archive:
        for name, write in members:
            info = zipfile.ZipInfo(name, at.astimezone(UTC).timetuple()[:6])
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w") as member:
                write(member)
    file.seek(0)
    response = FileResponse(file, as_attachment=True, filename=filename, content_type=CONTENT_TYPES["zip"])
    return as_download(response, filename)


def refused_export(filters: ListFilters) -> HttpResponse:
    """Answer the export of a list whose filters are not known: with the sentences as text, never with a file."""
    text = "".join(f"{sentence}\n" for sentence in filters.refused.values())
    return HttpResponse(text, status=400, content_type="text/plain; charset=utf-8")


def csv_pieces(header: Sequence[str], lines: Iterable[str]) -> Iterator[bytes]:
    """Yield the file, some hundred lines at once."""
    waiting = chain([_BOM], csv_lines([header]), lines)
    while batch := list(islice(waiting, _ROWS_PER_PIECE)):
        yield "".join(batch).encode()
