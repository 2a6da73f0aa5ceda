"""Missing or odd is None. A wrong zero would be a bill."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from portal.providers.error_messages import complaints
from portal.providers.errors import FieldError
from portal.providers.parsing import (
    NotReadableError,
    moment,
    percent,
    read_day,
    read_json,
    read_number,
    read_xml,
    text,
    whole,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0),
        (58800, 58800),
        ("0", 0),
        ("402118", 402118),
        (" 402118 ", 402118),
        ("1 234", 1234),
        ("1\u00a0234\u202f567", 1234567),
        (Decimal("12.0"), 12),
        ("12.0", 12),
        (Decimal("1E+3"), 1000),
        (10**12, 10**12),
        ("", None),
        (" ", None),
        (None, None),
        (True, None),
        (False, None),
        (-1, None),
        ("-1", None),
        (Decimal("-0.5"), None),
        (Decimal("12.5"), None),
        ("12.5", None),
        ("1,234", None),
        ("1.234,5", None),
        ("12 34", None),
        ("1e3", None),
        ("0x10", None),
        ("٣", None),
        ("n/a", None),
        ("null", None),
        ("unlimited", None),
        ([], None),
        ({}, None),
        ([0], None),
        (10**12 + 1, None),
        ("9" * 16, None),
        (Decimal("1E+999999"), None),
        (Decimal("NaN"), None),
        (Decimal("Infinity"), None),
    ],
)
def test_counts(value: Any, expected: int | None) -> None:
    found = whole(value)
    assert found == expected
    assert not isinstance(found, bool)


def test_a_reputation_is_exact_and_within_a_hundred() -> None:
    assert percent(read_json(b"98.6")) == Decimal("98.6")
    assert percent("97") == Decimal(97)
    assert percent(100.5 if False else "100.5") is None
    assert percent(-1) is None
    assert read_number("98.60") == Decimal("98.60")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-06-01", date(2026, 6, 1)),
        (" 2026-06-01 ", date(2026, 6, 1)),
        ("2026-06-01T23:59:59-11:00", date(2026, 6, 1)),
        ("2026-06-01 00:00:00", date(2026, 6, 1)),
        ("2028-02-29", date(2028, 2, 29)),
        ("2026-02-29", None),
        ("0000-00-00", None),
        ("0001-01-01", None),
        ("9999-12-31", None),
        ("06/01/2026", None),
        ("2026-6-1", None),
        ("20260601", None),
        ("2026-06-01x", None),
        ("", None),
        (None, None),
        (20260601, None),
        ([], None),
    ],
)
def test_days(value: Any, expected: date | None) -> None:
    assert read_day(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-03-02T08:15:00Z", datetime(2026, 3, 2, 8, 15, tzinfo=UTC)),
        ("2026-03-02T08:15:00.123456Z", datetime(2026, 3, 2, 8, 15, 0, 123456, tzinfo=UTC)),
        ("2026-03-02T08:15:00+02:00", datetime(2026, 3, 2, 6, 15, tzinfo=UTC)),
        ("2026-03-02", datetime(2026, 3, 2, tzinfo=UTC)),
        ("yesterday", None),
        ("2026-03-02T99:15:00Z", None),
        (1772439300, None),
        (None, None),
    ],
)
def test_moments(value: Any, expected: datetime | None) -> None:
    assert moment(value) == expected


def test_text_can_always_be_stored() -> None:
    assert text("a\x00b\ud800 ") == "ab?"
    assert text(7) == ""
    assert len(text("x" * 10_000)) == 500


@pytest.mark.parametrize(
    "body", [b"", b"{", b"NaN", b"[Infinity]", b"[" * 100_000, b"9" * 5000, b"\xff\xff", b"<html>", b'{"a":1}x']
)
def test_what_is_not_json(body: bytes) -> None:
    with pytest.raises(NotReadableError):
        read_json(body)


ENTITIES = b"""<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>
<result><overview><credits_used>&b;</credits_used></overview></result>"""
EXTERNAL = b"""<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a SYSTEM "secret.txt">]><result>&a;</result>"""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<result>",
        b"<a><b></a>",
        ENTITIES,
        EXTERNAL,
        b'<!DOCTYPE result SYSTEM "http://evil.test/x.dtd"><result/>',
        b'<?xml version="1.0" encoding="klingon"?><result/>',
        b'<?xml version="1.0" encoding="utf-16"?><result/>',
        b"\xff\xfe\x00",
        b"<r>\x00</r>",
    ],
)
def test_what_is_not_xml_we_read(body: bytes) -> None:
    with pytest.raises(NotReadableError):
        read_xml(body)


def test_the_prolog_says_the_encoding() -> None:
    body = '<?xml version="1.0" encoding="ISO-8859-1"?><r>Försändelse</r>'.encode("latin-1")
    assert read_xml(body).text == "Försändelse"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"message":"error","errors":["one","two"]}', (FieldError("one"), FieldError("two"))),
        (
            b'{"error":{"code":401,"message":"Permission denied, wrong credentials"}}',
            (FieldError("Permission denied, wrong credentials", code="401"),),
        ),
        (b'{"error":"text about a bad parameter"}', (FieldError("text about a bad parameter"),)),
        (
            b'{"errors":["Permission denied, wrong credentials"],"message":"error"}',
            (FieldError("Permission denied, wrong credentials"),),
        ),
        (b'{"errors":[{"field":null,"message":"too many requests"}]}', (FieldError("too many requests"),)),
        (b'{"message":"error"}', (FieldError("error"),)),
        (b'{"message":"success"}', ()),
        (b'{"errors":"text"}', (FieldError("text"),)),
        (b'{"errors":{"message":"m","field":"f"}}', (FieldError("m", "f"),)),
        (b"<result><message>error</message><errors><error>a</error><error>b</error></errors></result>",
         (FieldError("a"), FieldError("b"))),
        (b"<result><message>error</message></result>", (FieldError("error"),)),
        (b"<result><message>success</message></result>", ()),
        (b"<result>success</result>", ()),
        (b"<html><body><p>message</p></body></html>", ()),
        (b"", ()),
        (b"plain", ()),
        (b"[1]", ()),
        (b'{"errors":[null,1,[],{"message":7},{"field":"x"}]}', ()),
    ],
)  # fmt: skip
def test_complaints_in_every_shape(body: bytes, expected: tuple[FieldError, ...]) -> None:
    assert complaints(body) == expected
