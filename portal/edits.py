"""Edits by several people at once: a form writes only what its person changed (docs/decisions/edits.md).

An edit form carries the values it was opened with. What differs from them is what the person changed, and only that is
written. Where somebody else changed the same field since, nothing is written: the page comes again with both values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

from django import forms
from django.db.models import Model
from django.utils.html import format_html
from django.utils.safestring import SafeString

SEEN, CHOICE = "seen", "choice-"
MINE, THEIRS = "mine", "theirs"
_NEVER_SHOWN = object()


class EditConflict(Exception):
    """Somebody else changed fields that this edit changes, to other values. Nothing was written. `stored` holds all
    values as they are now, by the name of their field."""

    def __init__(self, fields: list[str], stored: Mapping[str, Any]) -> None:
        super().__init__(", ".join(fields))
        self.fields, self.stored = fields, stored


def plain(value: Any) -> Any:
    """A value as a form carries it and as two are compared: a row by its public ID, a moment by its ISO text."""
    if isinstance(value, Model):
        return str(value.public_id)  # type: ignore[attr-defined]
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def refuse_stale(row: Model | Mapping[str, Any], wanted: Mapping[str, Any], seen: Mapping[str, Any] | None) -> None:
    """Raise `EditConflict` where a stored value is neither the one that was seen nor the wanted one.

    Call it with the row held, or write with a condition on what was read. `seen` None is no person's edit: whoever
    calls knows what is there. A value that was not seen (a page from before the last upgrade) counts as changed.
    """
    if seen is None:
        return

    def stored(name: str) -> Any:
        return plain(row[name] if isinstance(row, Mapping) else getattr(row, name))

    changed = [
        name for name, value in wanted.items() if stored(name) not in (seen.get(name, _NEVER_SHOWN), plain(value))
    ]
    if changed:
        raise EditConflict(changed, {name: stored(name) for name in {*wanted, *seen}})
