"""The rows of an uploaded spreadsheet, CSV or XLSX: customer and amount, and optionally currency, account and note.

Nothing is guessed: the person says what separates decimals, and every cell that can't be read is an error at its line
and column.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from io import StringIO

from django.utils.translation import gettext as _

from billing.pricing.parallel.xlsx_reader import Cell, UnreadableWorkbook, read_workbook
from billing.pricing.rating.currency import UnknownCurrency, minor_unit_places
from portal.formats import number_text
from portal.input_bounds import MOST_COLUMNS
from portal.query_params import is_storable

COLUMNS = ("customer", "amount", "currency", "account", "note")
NEEDED = ("customer", "amount")
LENGTHS = {"customer": 300, "account": 300, "note": 500}
COMMA, POINT = ",", "."
MOST_ROWS = 10_000
MOST_ERRORS = 100
# What may stand between thousands, beside the mark that does not separate decimals.
_BLANKS = " \u00a0\u2009\u202f'\u2019"
_SIGNS = "-\u2212"
MOST_MINOR = 10**15


@dataclass(frozen=True)
class SheetError:
    """The reason why a cell, a row or the whole file (line 0) can't be read, and what to do."""

    line: int
    column: str
    text: str


@dataclass(frozen=True)
class SheetRow:
    line: int
    customer: str
    account: str
    currency: str
    amount_minor: int
    note: str


@dataclass(frozen=True)
class Sheet:
    """A file as it was read: rows, or errors. `ignored` are columns with another name."""

    rows: list[SheetRow] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    errors: list[SheetError] = field(default_factory=list)
    more_errors: int = 0


class UnreadableSheet(Exception):
    """The file is no table with the columns that are needed. The message says what to do."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


def read_sheet(filename: str, data: bytes, *, decimal: str, currency: str) -> Sheet:
    """Read a file by its name's ending. `decimal` separates decimals in texts, `currency` is that of rows without."""
    try:
        table = _workbook(data) if filename.lower().endswith(".xlsx") else _csv_table(data)
        return _read(table, decimal=decimal, currency=currency)
    except UnreadableSheet as error:
        return Sheet(errors=[SheetError(error.line, "", str(error))])


Table = list[tuple[int, list[Cell]]]


def _workbook(data: bytes) -> Table:
    try:
        return read_workbook(data)
    except UnreadableWorkbook:
        raise UnreadableSheet(
            _("The file isn't an Excel workbook that can be read. Save it as XLSX without a password, or as CSV.")
        ) from None


def _csv_table(data: bytes) -> Table:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableSheet(_("The file isn't UTF-8. Save it as “CSV UTF-8”, then select it again.")) from None
    first = text.partition("\n")[0]
    delimiter = max((";", ",", "\t"), key=first.count)
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    table: Table = []
    line = 1
    try:
        for cells in reader:
            if any(each.strip() for each in cells):
                table.append((line, list(cells)))
            line = reader.line_num + 1
    except csv.Error as error:
        raise UnreadableSheet(_("The file isn't valid CSV: %(why)s.") % {"why": error}, reader.line_num) from None
    return table


def _read(table: Table, *, decimal: str, currency: str) -> Sheet:
    if len(table) < 2:
        raise UnreadableSheet(_("The file has no rows below its header."))
    if len(table) > MOST_ROWS + 1:
        raise UnreadableSheet(_("The file has more than %(n)s rows.") % {"n": number_text(MOST_ROWS)})
    header = [str(each).strip() for each in table[0][1]]
    places = _places_of(header, table[0][0])
    errors: list[SheetError] = []
    rows = []
    for line, cells in table[1:]:
        row = _row(line, cells, places, errors, decimal=decimal, currency=currency)
        if row:
            rows.append(row)
    ignored = [each[:60] for each in header if each and each.lower() not in COLUMNS]
    if errors:
        return Sheet([], ignored, errors[:MOST_ERRORS], max(0, len(errors) - MOST_ERRORS))
    return Sheet(rows, ignored)


def _places_of(header: Sequence[str], line: int) -> dict[str, int]:
    if len(header) > MOST_COLUMNS:
        raise UnreadableSheet(_("The file has more than %(n)d columns. Remove some.") % {"n": MOST_COLUMNS}, line)
    names = [each.lower() for each in header]
    if twice := [name for name in COLUMNS if names.count(name) > 1]:
        raise UnreadableSheet(
            _("Columns that occur twice: %(names)s. Remove one of each.") % {"names": ", ".join(twice)}, line
        )
    if missing := [name for name in NEEDED if name not in names]:
        words = {"names": ", ".join(missing)}
        raise UnreadableSheet(_("Missing columns: %(names)s. Name them so in the first row.") % words, line)
    return {name: names.index(name) for name in COLUMNS if name in names}


def _row(
    line: int,
    cells: Sequence[Cell],
    places: Mapping[str, int],
    errors: list[SheetError],
    *,
    decimal: str,
    currency: str,
) -> SheetRow | None:
    values = {name: cells[place] if place < len(cells) else "" for name, place in places.items()}
    found: list[SheetError] = []
    texts = {}
    for name, most in LENGTHS.items():
        texts[name] = _plain(values.get(name, ""))
        if len(texts[name]) > most or not is_storable(texts[name]):
            found.append(SheetError(line, name, _("This cell has more than %(n)d characters.") % {"n": most}))
    if not texts["customer"]:
        found.append(SheetError(line, "customer", _("This cell is empty. Enter the customer.")))
    code = _plain(values.get("currency", "")).upper() or currency
    minor = 0
    try:
        minor = read_amount(values.get("amount", ""), minor_unit_places(code), decimal=decimal)
    except UnknownCurrency:
        text = _("Unknown currency. Enter a three-letter code of ISO 4217, such as EUR.")
        found.append(SheetError(line, "currency", text))
    except ValueError as error:
        found.append(SheetError(line, "amount", str(error)))
    errors += found
    return None if found else SheetRow(line, texts["customer"], texts["account"], code, minor, texts["note"])


def _plain(value: Cell) -> str:
    """Return the text of a cell; a number without zeros at its end, as an ID is shown."""
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return " ".join(value.split())


def read_amount(value: Cell, places: int, *, decimal: str) -> int:
    """Return an amount in minor units. Raise ValueError with what to do."""
    amount = value if isinstance(value, Decimal) else _decimal(" ".join(value.split()), decimal)
    minor = amount.scaleb(places)
    if minor != int(minor):
        raise ValueError(
            _("“%(text)s” has more than %(n)d decimal places. Round it.") % {"text": f"{amount:f}"[:40], "n": places}
        )
    if abs(minor) > MOST_MINOR:
        raise ValueError(_("“%(text)s” is too large.") % {"text": f"{amount:f}"[:40]})
    return int(minor)


def _decimal(text: str, decimal: str) -> Decimal:
    if not text:
        raise ValueError(_("This cell is empty. Enter an amount, 0 if there is none."))
    other = POINT if decimal == COMMA else COMMA
    between = f"[{re.escape(other)}{_BLANKS}]"
    number = rf"([{_SIGNS}]?)(\d{{1,3}}(?:{between}\d{{3}})+|\d{{1,16}})(?:{re.escape(decimal)}(\d{{1,12}}))?"
    found = re.fullmatch(number, text, re.ASCII)
    if not found:
        words = {"text": text[:40], "example": "1.234,50" if decimal == COMMA else "1,234.50"}
        raise ValueError(
            _("“%(text)s” isn't an amount such as %(example)s. Remove currency and words, or select the other decimal.")
            % words
        )
    sign, whole, fraction = found.groups()
    digits = re.sub(r"\D", "", whole)
    return Decimal(f"{'-' if sign else ''}{digits}.{fraction or 0}")


def currencies_of(rows: Iterable[SheetRow]) -> set[str]:
    return {row.currency for row in rows}
