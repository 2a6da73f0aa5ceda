"""A cell that PostgreSQL makes is the one that Python writes, byte for byte."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from django.db import connection
from django.db.models import BigIntegerField, BooleanField, DateField, DateTimeField, TextField, Value
from django.db.models.functions import Cast

from billing.money import trimmed_or_none
from portal.access.models import User
from portal.csv_cells import AmountCell, Cells, DateCell, LabelCell, Line, NumberCell, TextCell, TimeCell, YesNoCell
from portal.exports import BLANKS, csv_cell, csv_lines
from portal.money_field import ScaledDecimalField
from tests.support.factories import UserFactory

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="other databases leave the cells to Python"),
]
# What escaping and quoting depend on, and some plain characters.
LETTERS = f"=+-@%|;,\t\r\n\"'\\\uff1d\uff0b\uff0d\uff20a1.\u00e9{BLANKS}"


@pytest.fixture(autouse=True)
def one_row(db: None) -> None:
    UserFactory()


def made(*cells: Any) -> list[str]:
    """Return the cells as the database makes them."""
    return list(User.objects.values_list(*cells).get())


def texts(values: list[str]) -> list[str]:
    return made(*(TextCell(Value(text, output_field=TextField())) for text in values))


@pytest.mark.parametrize(
    "text",
    [
        "", "plain", 'a "b"', "two\r\nlines", "=1+1", "  @x", "\ufeff=1", "\u200b-1", "\u3000|x", "\x1c=1", "\x85+1",
        "\tplain", "\nplain", "\n=1", " \n=1", "a;=1", "a;;=1", 'a; "" =1', "a\n\n=1", "=1;=2", "a|b|=c", "%s",
        "a\\1'&",
        "\uff20x", "a;\uff1d1", "A" * 300 + ";=1",
    ],
)  # fmt: skip
def test_a_text_is_escaped_as_in_python(text: str) -> None:
    assert texts([text]) == [csv_cell(text)]


def test_any_text_is_escaped_as_in_python() -> None:
    random = Random(17)
    for _round in range(20):
        some = ["".join(random.choices(LETTERS, k=random.randint(0, 7))) for _ in range(100)]
        assert texts(some) == [csv_cell(text) for text in some]


@pytest.mark.parametrize("number", [0, -3, 2**62, None])
def test_a_number_is_written_as_in_python(number: int | None) -> None:
    assert made(NumberCell(Value(number, output_field=BigIntegerField()))) == [csv_cell(number)]


@pytest.mark.parametrize(
    "amount",
    [
        "0",
        "0.000001",
        "0.01",
        "9.9",
        "17.23",
        "-1.5",
        "-0.000010",
        "100",
        "123456789012.123456",
        "999999999999.99",
        None,
    ],
)
def test_an_amount_is_written_as_in_python(amount: str | None) -> None:
    exact = None if amount is None else Decimal(amount).quantize(Decimal("0.000001"))
    assert made(AmountCell(Value(exact, output_field=ScaledDecimalField()))) == [csv_cell(trimmed_or_none(exact))]


@pytest.mark.parametrize(
    "at",
    [
        datetime(2026, 11, 18, 23, 59, 59, 999_999, tzinfo=timezone(timedelta(hours=-3))),
        datetime(2024, 2, 29, tzinfo=UTC),
        None,
    ],
)
def test_a_time_is_written_as_in_python(at: datetime | None) -> None:
    day = at and at.date()
    cells = TimeCell(Cast(Value(at), DateTimeField())), DateCell(Cast(Value(day), DateField()))
    assert made(*cells) == [csv_cell(at), csv_cell(day)]


def test_a_code_has_its_label_or_the_default() -> None:
    def label(code: str | None) -> LabelCell:
        return LabelCell(Value(code, output_field=TextField()), {"a": 'the "first"', "b": "=2"}, default="none")

    assert made(label("a"), label("b"), label("c"), label(None)) == ['"the ""first"""', '"\'=2"', '"none"', '"none"']


def test_a_line_is_that_of_the_row() -> None:
    yes, number = Value(True, output_field=BooleanField()), Value(7, output_field=BigIntegerField())
    text = TextCell(Value("a,b", output_field=TextField()))
    line = Line(Cells(YesNoCell(yes), text), NumberCell(number), DateCell(Value(date(2026, 11, 9))))
    assert made(line) == list(csv_lines([[True, "a,b", 7, date(2026, 11, 9)]]))
