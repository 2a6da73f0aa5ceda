from __future__ import annotations

import csv
import io
import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from django.http import StreamingHttpResponse

from portal.exports import cell, csv_response


def _read(response: StreamingHttpResponse) -> list[list[str]]:
    raw = b"".join(response.streaming_content)  # type: ignore[arg-type]
    return list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline="")))


@pytest.mark.parametrize(
    "payload",
    [
        "=1+1", "+1", "-1", "@SUM(A1)", "  =1", "\u00a0=1", "\u200b@x",
        "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x", '=HYPERLINK("http://x","y")', "-2+3+cmd|' /C'!A0",
        "%0A=1", "|calc", "\ufeff=1", "=", "-", "\tplain",
    ],
)  # fmt: skip
def test_a_text_never_starts_a_formula(payload: str) -> None:
    assert str(cell(payload)).startswith("'")
    assert _read(csv_response("x.csv", ["h"], [[payload]]))[1] == [f"'{payload}"]


@pytest.mark.parametrize(
    "payload",
    [
        "a;=2+5;b", "a; =2+5", "a\t=2+5", "a|=2+5", "a;+1", "a;@x", "a;-1;b", "a;\u00a0=1", "a;\uff1d1", "a;%0A",
        "\t=1", "\r=1", "\n=1", "a\n=cmd|' /C calc'!A0", "a\r\n  +1",
        'a;"=2+5";b', 'a; "" =1', "a\nb;=1", "=1;=2", ";=1", "a;;=1", "a;\n=1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
def test_no_cell_is_a_formula_whatever_separates(payload: str, separator: str) -> None:
    """Read as a spreadsheet reads it whose cells are separated by something else than commas."""
    raw = b"".join(csv_response("x.csv", ["h"], [["before", payload, "after"]]).streaming_content)  # type: ignore[arg-type]
    read = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), delimiter=separator)
    cells = [cell for row in read for cell in row]
    assert not [cell for cell in cells if re.match(r"[\s\"\u00a0]*[=+@%\uff1d-]", cell)]
    assert "2+5" not in payload or "2+5" in "".join(cells)


@pytest.mark.parametrize(
    "harmless", ["Larkfield", "a-b", "1+1", "a@b.example", "10 %", "", "two\nlines", "a; b", "a;b=1", "a | b"]
)
def test_other_text_is_left_alone(harmless: str) -> None:
    assert cell(harmless) == harmless


def test_numbers_stay_numbers_and_moments_are_utc() -> None:
    at = datetime(2026, 11, 18, 15, 21, tzinfo=timezone(timedelta(hours=1)))
    row = [-3, Decimal("-1.50"), None, True, date(2026, 11, 9), at, at.astimezone(UTC)]
    response = csv_response("use.csv", list("abcdefg"), iter([row]))
    raw = b"".join(response.streaming_content).decode()  # type: ignore[arg-type]
    assert raw.splitlines()[1] == '-3,-1.50,"","yes","2026-11-09","2026-11-18T14:21:00Z","2026-11-18T14:21:00Z"'


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("usage.csv", 'attachment; filename="usage.csv"'),
        ('a "b".csv', 'attachment; filename="a \\"b\\".csv"'),
        ("é;x=1.csv", "attachment; filename*=utf-8''%C3%A9%3Bx%3D1.csv"),
        ("a\r\nSet-Cookie: x=1.csv", "attachment; filename*=utf-8''a%0D%0ASet-Cookie%3A%20x%3D1.csv"),
    ],
)
def test_names_of_files_are_encoded(name: str, sent: str) -> None:
    assert csv_response(name, ["n"], [])["Content-Disposition"] == sent


def test_it_is_an_attachment_sent_piece_by_piece() -> None:
    read = []

    def rows() -> object:
        for n in range(2000):
            read.append(n)
            yield [n]

    response = csv_response('a "b".csv', ["n"], rows())  # type: ignore[arg-type]
    assert response["Content-Disposition"].startswith("attachment; filename=")
    assert response["Cache-Control"] == "no-store"
    next(iter(response.streaming_content))
    assert len(read) < 600
