"""Reads and writes frozen dataclasses as JSON, with errors that name the path."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

REQUIRED: Any = object()
PLACES, DIGITS = 9, 9
MOST_UNITS = 10**15
FIRST_YEAR, LAST_YEAR = 1900, 2999


class CaseError(ValueError):
    """The rating case is not well formed. The message is one sentence that begins with the path."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path or 'case'}: {message}")
        self.path = path


@dataclass(frozen=True, slots=True)
class Codec:
    """Reads a value of JSON and writes it again."""

    read: Callable[[Any, str], Any]
    write: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class JsonKey:
    """One key of an object: the attribute it fills, and its default if it may be left out."""

    codec: Codec
    default: Any = REQUIRED
    attribute: str | None = None


def shown(value: Any) -> str:
    """Return a value as a message shows it: short, and as JSON writes it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        return json.dumps(value[:40], ensure_ascii=False)
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else str(value)[:40]


def _read_text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise CaseError(path, f"{shown(value)} is not a string.")
    return value


def _read_name(value: Any, path: str) -> str:
    if not _read_text(value, path):
        raise CaseError(path, "is empty.")
    return str(value)


def _read_date(value: Any, path: str) -> date:
    try:
        found = date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or found.isoformat() != value:  # Python also reads other forms, such as 2026-W01-1
        raise CaseError(path, f"{shown(value)} is not a date. A date is written as YYYY-MM-DD.")
    return found


def _read_near_date(value: Any, path: str) -> date:
    return _check_year(_read_date(value, path), value, path)


def _check_year(found: date, value: Any, path: str) -> date:
    """Refuse the first and the last years of the calendar, which have no day before or after."""
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise CaseError(path, f"{shown(value)} is not in the years {FIRST_YEAR} to {LAST_YEAR}.")
    return found


def _read_month(value: Any, path: str) -> date:
    try:
        found = _read_date(f"{value}-01", path) if isinstance(value, str) else None
    except CaseError:
        found = None
    if found is None:
        raise CaseError(path, f"{shown(value)} is not a month. A month is written as YYYY-MM.")
    return _check_year(found, value, path)


def _read_boolean(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise CaseError(path, f"{shown(value)} is not true or false.")
    return value


def integer(least: int = 0, most: int = MOST_UNITS) -> Codec:
    """Return the codec of a whole number within bounds."""

    def read(value: Any, path: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise CaseError(path, f"{shown(value)} is not a whole number from {least} to {most}.")
        return value

    return Codec(read, lambda value: value)


def decimal(*, least: Decimal | None = None, most: Decimal | None = None) -> Codec:
    """Return the codec of an exact number, written as a string, of at most nine digits before and after the point."""
    expected = "An amount is written as a string of digits, such as"

    def read(value: Any, path: str) -> Decimal:
        if not isinstance(value, str):
            raise CaseError(path, f'{shown(value)} is not a string. {expected} "12.50".')
        digits = value.removeprefix("-").replace(".", "", 1)
        try:
            number = Decimal(value)
        except InvalidOperation:
            number = None
        if number is None or not (digits.isascii() and digits.isdigit()):
            raise CaseError(path, f'{shown(value)} is not a number. {expected} "12.50".')
        whole, _point, places = value.removeprefix("-").partition(".")
        if len(places) > PLACES or len(whole.lstrip("0")) > DIGITS:
            raise CaseError(path, f"{shown(value)} has more than {DIGITS} digits before or {PLACES} after the point.")
        if (least is not None and number < least) or (most is not None and number > most):
            bounds = f"from {least} to {most}" if most is not None else f"of at least {least}"
            raise CaseError(path, f"{shown(value)} is not a number {bounds}.")
        return number

    return Codec(read, lambda value: format(value, "f"))


def choice(options: Sequence[str]) -> Codec:
    """Return the codec of one of a few words."""

    def read(value: Any, path: str) -> str:
        if not isinstance(value, str) or value not in options:
            raise CaseError(path, f"{shown(value)} is not one of {', '.join(options)}.")
        return value

    return Codec(read, lambda value: value)


def nullable(codec: Codec) -> Codec:
    """Return the codec of a value that may be null."""
    return Codec(
        lambda value, path: None if value is None else codec.read(value, path),
        lambda value: None if value is None else codec.write(value),
    )


def list_of(codec: Codec) -> Codec:
    """Return the codec of a list, which is read as a tuple."""

    def read(value: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise CaseError(path, f"{shown(value)} is not a list.")
        return tuple(codec.read(each, f"{path}[{n}]") for n, each in enumerate(value))

    return Codec(read, lambda value: [codec.write(each) for each in value])


def check_object(value: Any, path: str, required: Iterable[str], known: Iterable[str]) -> dict[str, Any]:
    """Return the value if it is an object with these keys. Raise CaseError."""
    if not isinstance(value, dict):
        raise CaseError(path, f"{shown(value)} is not an object.")
    known = list(known)
    for key in value:
        if key not in known:
            where = f"{path}.{shown(key)[1:-1]}".lstrip(".")
            raise CaseError(where, f"is not a known key. Known keys are {', '.join(known)}.")
    for key in required:
        if key not in value:
            raise CaseError(f"{path}.{key}".lstrip("."), "is missing.")
    return value


def object_of(kind: Callable[..., Any], /, **members: JsonKey) -> Codec:
    """Return the codec of an object that becomes an instance of `kind`. A trailing underscore of a key is dropped."""
    fields = {key.rstrip("_"): member for key, member in members.items()}
    required = [key for key, member in fields.items() if member.default is REQUIRED]

    def read(value: Any, path: str) -> Any:
        given = check_object(value, path, required, fields)
        return kind(
            **{
                member.attribute or key: member.codec.read(given[key], f"{path}.{key}".lstrip("."))
                if key in given
                else member.default
                for key, member in fields.items()
            }
        )

    def write(value: Any) -> dict[str, Any]:
        return {key: member.codec.write(getattr(value, member.attribute or key)) for key, member in fields.items()}

    return Codec(read, write)


TEXT = Codec(_read_text, lambda value: value)
NAME = Codec(_read_name, lambda value: value)
DATE = Codec(_read_date, lambda value: value.isoformat())
NEAR_DATE = Codec(_read_near_date, lambda value: value.isoformat())
MONTH = Codec(_read_month, lambda value: f"{value:%Y-%m}")
BOOLEAN = Codec(_read_boolean, lambda value: value)
