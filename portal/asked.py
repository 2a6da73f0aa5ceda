"""What an address asks for. People mistype addresses and cut them in half: what means nothing is left out."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import date

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


def kept(query: Mapping[str, str], *, without: tuple[str, ...]) -> list[tuple[str, str]]:
    """Names and values for hidden inputs. A template can't ask the address for its `items`: `?items=` answers."""
    return [(name, value) for name, value in query.items() if name not in without]
