"""Reading of spreadsheets: amounts in both ways of writing, workbooks, and every error at its line and column."""

from __future__ import annotations

import io
import zipfile
from decimal import Decimal

import pytest

from billing.pricing.parallel.spreadsheet import COMMA, MOST_ROWS, POINT, read_amount, read_sheet
from billing.pricing.parallel.xlsx_reader import MOST_UNPACKED, UnreadableWorkbook, read_workbook
from tests.billing.pricing.parallel.sheets import HEADER, workbook


@pytest.mark.parametrize(
    ("text", "decimal", "minor"),
    [
        ("1,234.50", POINT, 123450), ("1.234,50", COMMA, 123450), ("1234.5", POINT, 123450), ("1 234,5", COMMA, 123450),
        ("1'234.50", POINT, 123450), ("-12.05", POINT, -1205), ("\u221212,05", COMMA, -1205), ("0", POINT, 0),
        ("1.234", COMMA, 123400), ("1,234", POINT, 123400), ("89,95", COMMA, 8995),
    ],
)  # fmt: skip
def test_an_amount_is_read_as_said(text: str, decimal: str, minor: int) -> None:
    assert read_amount(text, 2, decimal=decimal) == minor


@pytest.mark.parametrize(
    ("text", "decimal"),
    [
        ("89,95", POINT), ("89.95", COMMA), ("1.234", POINT), ("1,234", COMMA), ("\u20ac12", POINT), ("12 EUR", POINT),
        ("1,23,456.00", POINT), ("1e3", POINT), ("", POINT), ("NaN", POINT), ("(12)", POINT), ("12-", POINT),
        ("\u0663", POINT), ("9" * 17, POINT), ("1.2.3", POINT),
    ],
)  # fmt: skip
def test_an_amount_that_may_be_another_is_refused(text: str, decimal: str) -> None:
    with pytest.raises(ValueError, match=r"amount|decimal places|large|isn't"):
        read_amount(text, 2, decimal=decimal)


def test_a_currency_without_minor_units() -> None:
    assert read_amount("1,234", 0, decimal=POINT) == 1234
    with pytest.raises(ValueError, match="0 decimal places"):
        read_amount("12.5", 0, decimal=POINT)


def test_columns_in_any_order_and_other_ones() -> None:
    text = "Note;AMOUNT;Region;Customer\nlate;89,95;EMEA;Northwind\n;12;;Larkfield\n"
    sheet = read_sheet("a.csv", text.encode(), decimal=COMMA, currency="EUR")
    assert sheet.ignored == ["Region"]
    assert [(row.line, row.customer, row.amount_minor, row.note) for row in sheet.rows] == [
        (2, "Northwind", 8995, "late"),
        (3, "Larkfield", 1200, ""),
    ]


def test_errors_name_line_and_column() -> None:
    text = 'customer,amount,currency\n"North\nwind",1,EUR\n,2,EUR\nLarkfield,x,EUR\nOsier,3,XXQ\n\nMarlow,4.005,EUR\n'
    sheet = read_sheet("a.csv", text.encode(), decimal=POINT, currency="EUR")
    assert sheet.rows == []
    assert [(each.line, each.column) for each in sheet.errors] == [
        (4, "customer"), (5, "amount"), (6, "currency"), (8, "amount")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"customer,amount\n", "no rows"),
        (b"", "no rows"),
        (b"customer,total\nA,1\n", "Missing columns: amount"),
        (b"customer,amount,amount\nA,1,2\n", "occur twice"),
        ("customer,amount\nÄ,1\n".encode("latin-1"), "UTF-8"),
        (b'customer,amount\n"A,1\n', "valid CSV"),
        (b"customer,amount\n" + b"A,1\n" * (MOST_ROWS + 1), "more than 10,000 rows"),
    ],
)
def test_a_file_that_is_no_table_is_refused(data: bytes, says: str) -> None:
    (error,) = read_sheet("a.csv", data, decimal=POINT, currency="EUR").errors
    assert says in error.text


def test_a_workbook_gives_the_same_rows() -> None:
    data = workbook(
        HEADER,
        ("Northwind", 89.95, "EUR", "", "as a number"),
        ("Larkfield", "1.234,50", "", "", "as text"),
        (4711, 0.1 + 0.2, "eur", "ops@larkfield.example", ""),
    )
    sheet = read_sheet("a.XLSX", data, decimal=COMMA, currency="USD")
    assert [(row.line, row.customer, row.currency, row.amount_minor) for row in sheet.rows] == [
        (2, "Northwind", "EUR", 8995), (3, "Larkfield", "USD", 123450), (4, "4711", "EUR", 30)
    ]  # fmt: skip
    assert sheet.rows[2].account == "ops@larkfield.example"


def test_a_number_is_what_excel_shows() -> None:
    ((_number, cells),) = read_workbook(workbook((1.1 + 2.2, 1e15 / 3)))
    assert cells == [Decimal("3.3"), Decimal(333333333333333)]


def test_a_damaged_workbook_is_refused() -> None:
    data = workbook(HEADER, ("Northwind", 1))
    for damaged in (b"", b"PK", data[: len(data) // 2], b"no zip at all"):
        (error,) = read_sheet("a.xlsx", damaged, decimal=POINT, currency="EUR").errors
        assert "Excel workbook" in error.text


def test_a_workbook_that_unpacks_to_too_much_is_refused() -> None:
    file = io.BytesIO(workbook(HEADER, ("Northwind", 1)))
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/image1.png", b" " * (MOST_UNPACKED + 1))
    with pytest.raises(UnreadableWorkbook):
        read_workbook(file.getvalue())


def test_what_a_workbook_says_of_its_size_costs_nothing() -> None:
    """Its size as stated has a hundred million times the cells; the row below a large gap keeps its number."""
    file, stated = io.BytesIO(), io.BytesIO(workbook(HEADER, ("Northwind", 1)))
    with zipfile.ZipFile(stated) as source, zipfile.ZipFile(file, "w") as archive:
        for each in source.infolist():
            content = source.read(each)
            if each.filename == "xl/worksheets/sheet1.xml":
                content = content.replace(b'ref="A1:E2"', b'ref="A1:XFD1048576"').replace(b'r="2"', b'r="9000"')
                assert b"XFD1048576" in content
            archive.writestr(each, content)
    rows = read_workbook(file.getvalue())
    assert [number for number, _cells in rows] == [1, 9000]
    assert len(rows[0][1]) == len(HEADER)


def test_entities_in_a_workbook_are_refused() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><x>&b;</x>'
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/workbook.xml", bomb)
    with pytest.raises(UnreadableWorkbook):
        read_workbook(file.getvalue())
