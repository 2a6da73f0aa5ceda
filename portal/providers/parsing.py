"""Tolerant parsers of provider data. A missing or invalid value is `None`, never zero and never an exception."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml.ElementTree import fromstring

ABSURD = 10**12
"""Upper bound of emails in a period: a larger figure is corrupt."""

_NUMBER = re.compile(r"\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?:\.0+)?|\d{1,15}(?:\.\d{1,9})?", re.ASCII)
_DAY = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:[T ].*)?", re.ASCII)


class NotReadableError(ValueError):
    """The body is not JSON or XML at all."""


def read_json(body: bytes | str) -> Any:
    """Return parsed JSON, with every fractional number as a Decimal. Raises `NotReadableError`."""
    try:
        return json.loads(body, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError, InvalidOperation):
        raise NotReadableError from None


def _refuse(word: str) -> None:
    raise ValueError(word)


def read_xml(body: bytes) -> Any:
    """Return the root element. Takes bytes, so that the prolog's encoding is used; rejects DTDs and entities."""
    try:
        return fromstring(body, forbid_dtd=True)
    except (ParseError, ValueError, LookupError, RecursionError):
        raise NotReadableError from None


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def text(value: Any, *, limit: int = 500) -> str:
    """Return a cleaned string, "" for other types. Lone surrogates and NUL cannot be stored and are removed or
    replaced."""
    if not isinstance(value, str):
        return ""
    return value.replace("\x00", "").encode("utf-8", "replace").decode().strip()[:limit]


def token(value: Any, *, limit: int) -> str:
    """Return a name that is sent back byte for byte; "" if it cannot be stored and sent back unchanged."""
    if not isinstance(value, str) or len(value) > limit or "\x00" in value or not value.strip():
        return ""
    try:
        value.encode()
    except UnicodeEncodeError:
        return ""
    return value


def read_number(value: Any) -> Decimal | None:
    """Return the value of an int, Decimal or numeric text ("402118", " 1 234 "); None for a bool, or outside 0 to
    `ABSURD`."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = value.strip()
        if not _NUMBER.fullmatch(value):
            return None
        value = Decimal(re.sub(r"[ \u00a0\u202f]", "", value))
    if isinstance(value, Decimal) and not value.is_finite():
        return None
    if isinstance(value, int | Decimal) and 0 <= value <= ABSURD:
        return Decimal(value)
    return None


def whole(value: Any) -> int | None:
    """Return a whole number; None for a fraction, which is corrupt."""
    found = read_number(value)
    return int(found) if found is not None and found == found.to_integral_value() else None


def read_count(value: Any) -> int | None:
    """Return a count that fits a 32-bit column; None if it is larger."""
    found = whole(value)
    return found if found is not None and found < 2**31 else None


def read_money(value: Any) -> Decimal | None:
    """Return an amount that fits the columns: nine digits before the point."""
    found = read_number(value)
    return found if found is not None and found < 10**9 else None


def percent(value: Any) -> Decimal | None:
    found = read_number(value)
    return found if found is not None and found <= 100 else None


def read_day(value: Any) -> date | None:
    """Return a date without a time zone, unchanged."""
    match = _DAY.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        return None
    year, month, of_month = (int(part) for part in match.groups())
    if not 2000 <= year <= 2199:
        return None
    try:
        return date(year, month, of_month)
    except ValueError:
        return None


def moment(value: Any) -> datetime | None:
    """Return an RFC 3339 time as aware UTC."""
    if not isinstance(value, str) or read_day(value) is None:
        return None
    try:
        found = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
