"""Tolerant parsers of provider data. A missing or invalid value is `None`, never zero and never an exception."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from xml.etree.ElementTree import ParseError
from xml.parsers.expat import ExpatError

from defusedxml.ElementTree import fromstring

from .xml_bounds import count_elements

ABSURD = 10**12
"""Upper bound of emails in a period: a larger figure is corrupt."""
LONGEST_NUMBER = LONGEST_TIME = 64  # characters

_NUMBER = re.compile(r"\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?:\.0+)?|\d{1,15}(?:\.\d{1,9})?", re.ASCII)
_PROLOG_ENCODING = re.compile(rb"<\?xml\s[^>]*\bencoding\s*=")
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([A-Za-z0-9._:-]{1,40})", re.ASCII | re.IGNORECASE)
_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[T ].*)?", re.ASCII)


class NotReadableError(ValueError):
    """The body is not JSON or XML at all."""


def read_json(body: bytes | str, *, charset: str = "") -> Any:
    """Return parsed JSON, with every fractional number as a Decimal. Raises `NotReadableError`.

    JSON is UTF-8; `charset` (see `charset_of`) is used only for a body that is not.
    """
    try:
        return json.loads(_decoded(body, charset), parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, LookupError, RecursionError, InvalidOperation):
        raise NotReadableError from None


def _refuse(word: str) -> None:
    raise ValueError(word)


def read_xml(body: bytes, *, charset: str = "") -> Any:
    """Return the root element; blanks before the prolog are skipped, DTDs, entities and too many elements rejected.

    The prolog's encoding is used, so this takes bytes. `charset` is used only for a body whose prolog names none and
    that is not UTF-8.
    """
    body = body.strip()
    try:
        given = body if _PROLOG_ENCODING.match(body) else _decoded(body, charset)
        count_elements(given)
        return fromstring(given, forbid_dtd=True)
    except (ExpatError, ParseError, ValueError, LookupError, RecursionError):
        raise NotReadableError from None


def charset_of(headers: Mapping[str, str]) -> str:
    """Return the charset that a `Content-Type` header names (names in lower case); "" where it names none."""
    found = _CHARSET.search(headers.get("content-type", ""))
    return found[1] if found else ""


def _decoded(body: bytes | str, charset: str) -> bytes | str:
    """Return `body` for a parser that takes UTF-8: decoded by `charset` where it is something else."""
    if isinstance(body, str) or not charset:
        return body
    try:
        body.decode()
    except UnicodeDecodeError:
        return body.decode(charset)
    return body


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def text(value: Any, *, limit: int = 500) -> str:
    """Return a cleaned string, "" for other types. Lone surrogates and NUL cannot be stored and are removed or
    replaced."""
    return _storable(value).strip()[:limit]


def verbatim(value: Any, *, limit: int = 500) -> str:
    """Return a text as the provider has it, blanks at its ends included; what cannot be stored is removed or
    replaced."""
    return _storable(value)[:limit]


def _storable(value: Any) -> str:
    return value.replace("\x00", "").encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def token(value: Any, *, limit: int) -> str:
    """Return a name that is sent back byte for byte; "" if it cannot be stored and sent back unchanged."""
    if not isinstance(value, str) or len(value) > limit or "\x00" in value or not value.strip():
        return ""
    try:
        value.encode()
    except UnicodeEncodeError:
        return ""
    return value


def read_number(value: Any, *, most: int = ABSURD) -> Decimal | None:
    """Return the value of an int, Decimal or numeric text ("402118", " 1 234 "); None for a bool, or outside 0 to
    `most`."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = value.strip()
        if len(value) > LONGEST_NUMBER or not _NUMBER.fullmatch(value):
            return None
        value = Decimal(re.sub(r"[ \u00a0\u202f]", "", value))
    if isinstance(value, Decimal) and not value.is_finite():
        return None
    if isinstance(value, int | Decimal) and 0 <= value <= most:
        return Decimal(value)
    return None


def whole(value: Any, *, most: int = ABSURD) -> int | None:
    """Return a whole number up to `most`; None for a fraction, which is corrupt."""
    found = read_number(value, most=most)
    return int(found) if found is not None and found == found.to_integral_value() else None


def read_count(value: Any) -> int | None:
    """Return a count that fits a 32-bit column; None if it is larger."""
    return whole(value, most=2**31 - 1)


def read_money(value: Any) -> Decimal | None:
    """Return an amount that fits the columns: nine digits before the point."""
    found = read_number(value)
    return found if found is not None and found < 10**9 else None


def percent(value: Any) -> Decimal | None:
    return read_number(value, most=100)


def read_day(value: Any) -> date | None:
    """Return a date without a time zone, unchanged."""
    match = _DAY.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        return None
    try:
        day = date.fromisoformat(match[1])
    except ValueError:
        return None
    return day if 2000 <= day.year <= 2199 else None


def moment(value: Any) -> datetime | None:
    """Return an RFC 3339 time as aware UTC."""
    if not isinstance(value, str) or len(value) > LONGEST_TIME or read_day(value) is None:
        return None
    try:
        found = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
