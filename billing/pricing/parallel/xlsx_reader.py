"""The first sheet of an Excel file (XLSX) as rows of cells, read by openpyxl.

A number is read as what Excel shows of it with all digits: 15 significant ones of the stored binary number. Formulas
are read as the values that were stored with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Context, Decimal
from io import BytesIO
from numbers import Real
from typing import Any
from zipfile import ZipFile

from openpyxl import load_workbook

from portal.input_bounds import MOST_COLUMNS
from portal.providers.xml_bounds import count_elements

Cell = str | Decimal
_EXCEL = Context(prec=15)
# A small file can unpack to one of any size.
MOST_UNPACKED = 60_000_000
MOST_ELEMENTS = 500_000
LAST_ROW = 50_000


class UnreadableWorkbook(Exception):
    """The file is not a workbook, is damaged or protected, or unpacks to too much."""


def read_workbook(data: bytes) -> list[tuple[int, list[Cell]]]:
    """Return the rows of the first sheet that have cells, each with its number. Raise `UnreadableWorkbook`."""
    try:
        _refuse_large(data)
        sheet = load_workbook(BytesIO(data), read_only=True, data_only=True, keep_links=False).worksheets[0]
        sheet.reset_dimensions()  # what the file says of its size may be anything
        return list(_filled_rows(sheet.iter_rows(max_col=MOST_COLUMNS, values_only=True)))
    except Exception as error:
        # openpyxl lets errors of zipfile, XML and its own types through. Whatever it is: this file can't be read.
        raise UnreadableWorkbook from error


def _refuse_large(data: bytes) -> None:
    """Refuse what openpyxl would take minutes for: it fills the gaps between rows by their numbers."""
    with ZipFile(BytesIO(data)) as archive:
        if sum(each.file_size for each in archive.infolist()) > MOST_UNPACKED:
            raise UnreadableWorkbook
        left = MOST_ELEMENTS
        for each in archive.infolist():
            if each.filename.lower().endswith((".xml", ".rels")):
                left -= count_elements(archive.read(each), most=left, watch=_Rows())


class _Rows:
    """Follows the numbers of rows as openpyxl does."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, name: str, attributes: Mapping[str, str]) -> None:
        if name.rpartition(":")[2] != "row":
            return
        self.number = int(attributes.get("r", self.number + 1))
        if self.number > LAST_ROW:
            raise UnreadableWorkbook


def _filled_rows(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[int, list[Cell]]]:
    for number, row in enumerate(rows, start=1):
        cells = [_cell(each) for each in row]
        while cells and not str(cells[-1]).strip():
            cells.pop()
        if cells:
            yield number, cells


def _cell(value: Any) -> Cell:
    if value is None or isinstance(value, str | bool):
        return "" if value is None else str(value)
    return _EXCEL.create_decimal(repr(value)) if isinstance(value, Real) else str(value)
