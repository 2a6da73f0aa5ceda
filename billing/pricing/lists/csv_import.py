"""The dry run of a price list's CSV file, and the file of a version.

Nothing of a file is imported when any row of it is wrong. Each error names its line and column.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import StringIO

import tablib
from django.utils.translation import gettext as _

from billing.pricing.lists.csv_resource import PriceResource
from billing.pricing.lists.csv_rows import COLUMNS, CellError, PriceRow, prices_of_rows, rows_of_prices
from billing.pricing.lists.kinds import has_offerings, item_of, items_of
from billing.pricing.lists.prices import MOST_PRICES, Price, checked_prices
from portal.refusals import Refusal

NEEDED = ("offering", "component")
MOST_ERRORS = 100
NEW, CHANGED, SAME = "new", "update", "skip"


@dataclass(frozen=True)
class LineError:
    """Why a cell, a row or the whole file (line 0) is refused."""

    line: int
    column: str
    text: str


@dataclass(frozen=True)
class DryRun:
    """Result of reading a file. `rows` counts the rows of the file by new, update and skip; `prices` are those that a
    command stores, [] where there are errors."""

    errors: list[LineError] = field(default_factory=list)
    prices: list[Price] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    more_errors: int = 0


def price_file(prices: Iterable[Price]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the file of these prices, for `portal.exports`."""
    table = PriceResource().export(list(rows_of_prices(prices)))
    return list(table.headers), [list(row) for row in table]


def dry_run(text: str, *, stored: Sequence[Price], provider_kind: str, offerings: Iterable[str]) -> DryRun:
    """Read a file and compare it with the stored prices, which it would replace as a whole.

    `offerings`: names in the catalogs of the provider.
    """
    text = text.removeprefix("\ufeff")
    try:
        delimiter, lines = _lines(text)
    except _Unreadable as error:
        return DryRun([LineError(error.line, "", str(error))])
    resource = PriceResource(list(rows_of_prices(stored)), offerings)
    table = tablib.Dataset().load(text, format="csv", delimiter=delimiter)
    table.headers = [_header(each) for each in table.headers]
    if "up_to" not in table.headers:  # the library wants all columns that tell rows apart
        table.append_col([""] * table.height, header="up_to")
    result = resource.import_data(table, dry_run=True)
    if result.has_errors():  # not what somebody entered: a mistake of ours
        raise result.base_errors[0].error if result.base_errors else result.row_errors()[0][1][0].error
    errors = [
        CellError(wrong.number, _column(column), sentence)
        for wrong in result.invalid_rows
        for column, sentences in wrong.error_dict.items()
        for sentence in sentences
    ]
    rows: list[PriceRow] = [each.instance for each in result.rows if each.instance is not None]
    errors += _of_provider(rows, provider_kind)
    prices: list[Price] = []
    if not errors:
        prices, errors = prices_of_rows(rows)
    if errors:
        found = [LineError(lines[each.number], each.column, each.text) for each in errors]
        found.sort(key=lambda each: each.line)
        return DryRun(found[:MOST_ERRORS], more_errors=max(0, len(found) - MOST_ERRORS))
    try:
        checked = checked_prices(prices)
    except Refusal as refusal:
        return DryRun([LineError(0, "", str(refusal))])
    return DryRun(prices=checked, rows={kind: result.totals[kind] for kind in (NEW, CHANGED, SAME)})


class _Unreadable(Exception):
    """The file is not a table with the columns of prices."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


def _header(text: str) -> str:
    return text.strip().lower().replace(" ", "_")


def _column(name: str) -> str:
    return name if name in COLUMNS else ""


def _lines(text: str) -> tuple[str, list[int]]:
    """Return what separates the cells, and the line on which each row begins; the header's is the first.

    Raises `_Unreadable`.
    """
    first = text.partition("\n")[0]
    delimiter = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    starts: list[int] = []
    width, begin = 0, 1
    try:
        for row in reader:
            if row or not starts:
                _check_row(row, width, begin)
                if not starts:
                    _check_header([_header(each) for each in row])
                    width = len(row)
                starts.append(begin)
            begin = reader.line_num + 1
    except csv.Error as error:
        raise _Unreadable(_("The file isn't valid CSV: %(why)s.") % {"why": error}, reader.line_num) from None
    if len(starts) < 2:
        raise _Unreadable(_("The file has no prices below its header."))
    if len(starts) - 1 > MOST_PRICES:
        raise _Unreadable(_("The file has more than %(n)d rows.") % {"n": MOST_PRICES})
    return delimiter, starts


def _check_row(row: Sequence[str], width: int, line: int) -> None:
    if width and len(row) > width:
        raise _Unreadable(
            _("The row has %(n)d cells, and the header has %(width)d. Put values with a comma into quotation marks.")
            % {"n": len(row), "width": width},
            line,
        )


def _check_header(header: Sequence[str]) -> None:
    columns = ", ".join(COLUMNS)
    if unknown := [each for each in header if each not in COLUMNS]:
        words = {"names": ", ".join(unknown)[:200], "columns": columns}
        raise _Unreadable(_("Unknown columns: %(names)s. A price list has the columns %(columns)s.") % words, 1)
    if twice := sorted({each for each in header if header.count(each) > 1}):
        raise _Unreadable(
            _("Columns that occur twice: %(names)s. Remove one of each.") % {"names": ", ".join(twice)}, 1
        )
    if missing := [each for each in NEEDED if each not in header]:
        raise _Unreadable(_("Missing columns: %(names)s. Add them.") % {"names": ", ".join(missing)}, 1)


def _of_provider(rows: Iterable[PriceRow], provider_kind: str) -> list[CellError]:
    """Return what a list of this provider can't have: other items, or rows without an offering where it has some."""
    items, named = items_of(provider_kind), has_offerings(provider_kind)
    errors = []
    for row in rows:
        if named and not row.offering:
            errors.append(CellError(row.number, "offering", _("Enter the offering.")))
        if not named and row.offering:
            text = _("Accounts of this provider have no offerings: the price is that of every account. Clear the cell.")
            errors.append(CellError(row.number, "offering", text))
        if row.component and item_of(row.component) not in items:
            text = _("Accounts of this provider have a base fee and overage only. Remove the row.")
            errors.append(CellError(row.number, "component", text))
    return errors
