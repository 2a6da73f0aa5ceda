"""What a request asks for. People mistype addresses and cut them in half: what means nothing is left out."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from django.utils.dateparse import parse_datetime
from django.utils.http import url_has_allowed_host_and_scheme

LONGEST = 254  # an e-mail address
LAST_DAY = date(9999, 12, 30)  # a day later there is none after it


def line(text: str) -> str:
    """Without control characters (PostgreSQL takes no NUL), and not longer than anything there is to look for."""
    return "".join(letter for letter in text[:LONGEST] if letter.isprintable() or letter.isspace()).strip()


def searchable(text: str) -> str:
    """The words to look for, one space between them."""
    return " ".join(line(text).split())


def uuid_or_none(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def day_or_none(text: str) -> date | None:
    """A day that can be reckoned with: it has a day before it and one after it."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if date.min < day <= LAST_DAY else None


def moment_or_none(text: str) -> datetime | None:
    """A moment with its zone that every other zone can show: its day has one before it and one after it."""
    try:
        found = parse_datetime(text)
        moment = found.astimezone(UTC) if found and found.tzinfo else None
    except (ValueError, OverflowError):
        return None
    return moment if moment and day_or_none(moment.date().isoformat()) else None


def own_path_or_none(text: str) -> str | None:
    """A path of this portal to lead to: never another host, nor a word that Django takes for the name of a route, nor
    what may not stand in a header."""
    plain = text.startswith("/") and text.isascii() and text.isprintable()
    return text if plain and url_has_allowed_host_and_scheme(text, allowed_hosts=None) else None


def is_storable(value: Any) -> bool:
    """Whether it is a text that every database keeps: PostgreSQL takes no NUL, and half a surrogate is no letter."""
    return isinstance(value, str) and "\x00" not in value and not any("\ud800" <= each <= "\udfff" for each in value)


def kept(query: Mapping[str, str], *, without: tuple[str, ...]) -> list[tuple[str, str]]:
    """Names and values for hidden inputs. A template can't ask the address for its `items`: `?items=` answers."""
    return [(name, value) for name, value in query.items() if name not in without]
