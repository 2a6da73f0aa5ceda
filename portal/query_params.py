"""Parsing of query parameters. Invalid values, as from mistyped or truncated URLs, are ignored."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime
from typing import Any, cast

from django.utils.dateparse import parse_datetime
from django.utils.http import url_has_allowed_host_and_scheme

LONGEST = 254  # an email address
LAST_DAY = date(9999, 12, 30)  # the last day that has a following one


def line(text: str) -> str:
    """Return `text` without control characters (PostgreSQL rejects NUL), cut to the longest searchable value."""
    return "".join(letter for letter in text[:LONGEST] if letter.isprintable() or letter.isspace()).strip()


def searchable(text: str) -> str:
    """Return the words to search for, separated by single spaces."""
    return " ".join(line(text).split())


def uuid_or_none(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def uuids_or_none(text: str, at_most: int = 100) -> list[uuid.UUID] | None:
    """Return the IDs of a comma-separated list; None if one of them is not an ID, or if there are more."""
    found = [uuid_or_none(each) for each in text.split(",", at_most)]
    return None if None in found or len(found) > at_most else cast("list[uuid.UUID]", found)


def day_or_none(text: str) -> date | None:
    """Return a day that has a day before and after it, for date arithmetic."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if date.min < day <= LAST_DAY else None


def moment_or_none(text: str) -> datetime | None:
    """Return a time with a zone that can be shown in every other zone: its day has one before and after it."""
    try:
        found = parse_datetime(text)
        moment = found.astimezone(UTC) if found and found.tzinfo else None
    except (ValueError, OverflowError):
        return None
    return moment if moment and day_or_none(moment.date().isoformat()) else None


def own_path_or_none(text: str) -> str | None:
    """Return a path of this portal: never another host, a name that Django would resolve as a route, or characters not
    allowed in a header."""
    plain = text.startswith("/") and text.isascii() and text.isprintable()
    return text if plain and url_has_allowed_host_and_scheme(text, allowed_hosts=None) else None


def is_storable(value: Any) -> bool:
    """Return whether it is text that every database can store: PostgreSQL rejects NUL and lone surrogates."""
    return isinstance(value, str) and "\x00" not in value and not any("\ud800" <= each <= "\udfff" for each in value)
