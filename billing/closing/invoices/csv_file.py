"""The CSV file of a provider's invoice: one row for each line, with the invoice's number, date and currency on each.

A file is read twice: once to find every cell that can't be read, and once to store its lines as they come, so that
100,000 lines take little memory.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, BinaryIO

from django.utils.translation import gettext as _

from billing.closing.invoices.texts import MOST_MINOR, AccountNames
from billing.models import InvoiceLineKind
from billing.pricing.parallel.spreadsheet import COMMA, POINT, SheetError, read_amount
from billing.pricing.rating.currency import UnknownCurrency, minor_unit_places
from portal.formats import number_text
from portal.input_bounds import MOST_COLUMNS
from portal.query_params import day_or_none
from portal.typed_text import why_refused

COLUMNS = (
    "number", "date", "currency", "kind", "account", "offering", "service start", "service end", "quantity", "amount",
    "description",
)  # fmt: skip
NEEDED = ("number", "date", "currency", "kind", "service start", "service end", "amount")
LENGTHS = {"number": 60, "account": 300, "offering": 200, "description": 300}
MOST_LINES = 200_000
MOST_ERRORS = 100
KINDS = {value: value for value in InvoiceLineKind.values} | {
    "base fee": "base", "add-on": "addon", "dedicated ip": "dedicated_ip", "ip": "dedicated_ip",
}  # fmt: skip
_COUNT = re.compile(r"\d{1,15}", re.ASCII)
_SANE = (date(2000, 1, 1), date(2200, 1, 1))


@dataclass
class InvoiceFile:
    """The contents of a file: the invoice's header and the sum of its lines, or errors."""

    number: str = ""
    issued_on: date | None = None
    currency: str = ""
    lines: int = 0
    sum_minor: int = 0
    ignored: list[str] = field(default_factory=list)
    errors: list[SheetError] = field(default_factory=list)
    more_errors: int = 0

    @property
    def is_right(self) -> bool:
        return not self.errors

    def refuse(self, line: int, column: str, text: str) -> None:
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(SheetError(line, column, text))
        else:
            self.more_errors += 1


class _Unreadable(Exception):
    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


def check_file(data: BinaryIO, *, decimal: str) -> InvoiceFile:
    """Read a file without storing anything. `decimal`: the mark that separates decimals."""
    found = InvoiceFile()
    try:
        for line, cells in _rows(data, found):
            values = _Row(found, line, cells, decimal).read()
            if values:
                found.lines += 1
                found.sum_minor += values["amount_minor"]
        if not found.lines and not found.errors:
            found.refuse(0, "", _("The file has no rows below its header."))
    except _Unreadable as error:
        found.refuse(error.line, "", str(error))
    if abs(found.sum_minor) > MOST_MINOR:
        found.refuse(0, "amount", _("The amounts add up to more than an invoice can have. Check the decimal mark."))
    return found


def lines_of(data: BinaryIO, *, decimal: str, names: AccountNames) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file that was found right, as they are stored, with the accounts that they name."""
    found = InvoiceFile()
    for n, (line, cells) in enumerate(_rows(data, found), 1):
        values = _Row(found, line, cells, decimal).read()
        if values is None:
            raise ValueError("the file has errors")
        text = values["account_text"]
        yield {"n": n, "account_id": names.find(text) if text else None, **values}


def _rows(data: BinaryIO, found: InvoiceFile) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row with the number of its line, its cells by column."""
    data.seek(0)
    text = io.TextIOWrapper(data, encoding="utf-8-sig", newline="")
    line = 1
    try:
        head = text.readline()
        delimiter = max((";", ",", "\t"), key=head.count)
        header = [each.strip().lower() for each in next(csv.reader([head], delimiter=delimiter), [])]
        places = _places_of(header)
        found.ignored = [each[:60] for each in header if each and each not in COLUMNS]
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        line, n = 2, 0
        for cells in reader:
            if any(map(str.strip, cells)):
                n += 1
                if n > MOST_LINES:
                    words = {"n": number_text(MOST_LINES)}
                    raise _Unreadable(_("The file has more than %(n)s rows. Split the invoice into files.") % words)
                if any(map(str.strip, cells[len(header) :])):
                    found.refuse(
                        line, "", _("There are more cells than in the header. Put quotes around those with commas.")
                    )
                yield line, {name: cells[at] if at < len(cells) else "" for name, at in places.items()}
            line = reader.line_num + 2
    except UnicodeDecodeError:
        raise _Unreadable(_("The file isn't UTF-8. Save it as “CSV UTF-8”, then select it again.")) from None
    except csv.Error as error:
        raise _Unreadable(_("The file isn't valid CSV: %(why)s.") % {"why": error}, line) from None
    finally:
        text.detach()  # the upload stays open, to be read again


def _places_of(header: Sequence[str]) -> Mapping[str, int]:
    if len(header) > MOST_COLUMNS:
        raise _Unreadable(_("The file has more than %(n)d columns. Remove some.") % {"n": MOST_COLUMNS}, 1)
    if twice := [name for name in COLUMNS if header.count(name) > 1]:
        words = {"names": ", ".join(twice)}
        raise _Unreadable(_("Columns that occur twice: %(names)s. Remove one of each.") % words, 1)
    if missing := [name for name in NEEDED if name not in header]:
        words = {"names": ", ".join(missing)}
        raise _Unreadable(_("Missing columns: %(names)s. Name them so in the first row.") % words, 1)
    return {name: header.index(name) for name in COLUMNS if name in header}


class _Row:
    """The cells of one row, and the errors in them. The first row sets the invoice's header."""

    def __init__(self, found: InvoiceFile, line: int, cells: Mapping[str, str], decimal: str) -> None:
        self.found, self.line, self.cells, self.decimal = found, line, cells, decimal
        self.is_right = True

    def refuse(self, column: str, text: str) -> None:
        self.is_right = False
        self.found.refuse(self.line, column, text)

    def read(self) -> dict[str, Any] | None:
        """Return the columns of a stored line, None if a cell can't be read."""
        texts = {name: self._text(name, most) for name, most in LENGTHS.items()}
        currency = self._header(texts["number"])
        start, end = self._day("service start"), self._day("service end")
        if start and end and end < start:
            self.refuse("service end", _("The service ends before it starts. Correct one of both days."))
        values = {
            "kind": self._kind(),
            "account_text": texts["account"],
            "offering": texts["offering"],
            "description": texts["description"],
            "start_on": start,
            "end_on": end,
            "quantity": self._quantity(),
            "amount_minor": self._amount(currency),
        }
        return values if self.is_right else None

    def _text(self, name: str, most: int) -> str:
        text = " ".join(self.cells.get(name, "").split())
        if len(text) > most:
            self.refuse(name, _("This cell has more than %(n)d characters.") % {"n": most})
            return text[:most]
        if why := why_refused(text):
            self.refuse(name, why)
        return text

    def _header(self, number: str) -> str:
        """Check number, date and currency against the first row, and return the currency."""
        currency = self.cells["currency"].strip().upper()
        try:
            minor_unit_places(currency)
        except UnknownCurrency:
            self.refuse("currency", _("Unknown currency. Enter a three-letter code of ISO 4217, such as EUR."))
            currency = ""
        issued_on = self._day("date")
        if not number:
            self.refuse("number", _("This cell is empty. Enter the number of the invoice."))
        found = self.found
        if not found.number and number and issued_on and currency:
            found.number, found.issued_on, found.currency = number, issued_on, currency
        other = _("This differs from the first row. Put each invoice into a file of its own.")
        for name, value, first in (
            ("number", number, found.number), ("date", issued_on, found.issued_on),
            ("currency", currency, found.currency),
        ):  # fmt: skip
            if self.is_right and value and first and value != first:
                self.refuse(name, other)
        return currency

    def _day(self, name: str) -> date | None:
        text = self.cells[name].strip()
        day = day_or_none(text) if len(text) == len("2026-11-01") else None
        if day is None or not _SANE[0] <= day <= _SANE[1]:
            self.refuse(name, _("“%(text)s” isn't a day such as 2026-11-01.") % {"text": text[:40]})
            return None
        return day

    def _kind(self) -> str:
        text = self.cells["kind"].strip().lower()
        if text not in KINDS:
            words = {"text": text[:40], "kinds": ", ".join(InvoiceLineKind.values)}
            self.refuse("kind", _("“%(text)s” is no kind of line. Enter one of: %(kinds)s.") % words)
        return KINDS.get(text, "")

    def _quantity(self) -> int | None:
        text = self.cells.get("quantity", "").strip()
        plain = re.sub(r"[\s'\u2019.,](?=\d{3}(\D|$))", "", text)
        if text and not _COUNT.fullmatch(plain):
            self.refuse("quantity", _("“%(text)s” isn't a whole number.") % {"text": text[:40]})
            return None
        return int(plain) if plain else None

    def _amount(self, currency: str) -> int:
        if not currency:
            return 0
        try:
            return read_amount(self.cells["amount"], minor_unit_places(currency), decimal=self.decimal)
        except ValueError as error:
            self.refuse("amount", str(error))
            return 0


__all__ = ["COLUMNS", "COMMA", "POINT", "InvoiceFile", "check_file", "lines_of"]
