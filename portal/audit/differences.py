"""Differences between before and after of an event for display, one line per changed value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from portal.access.roles import Role
from portal.state_labels import ACCOUNT_STATES, OPERATION_STATES

if TYPE_CHECKING:
    from portal.audit.models import AuditEvent

_LONGEST = 300
_STATES = {value: look.word for value, look in {**OPERATION_STATES, **ACCOUNT_STATES}.items()}
# The labels of values that are stored as codes, by the name of the fact.
_LABELS: dict[str, Mapping[Any, Any]] = {"role": dict(Role.choices), "state": _STATES, "desired_state": _STATES}


def add_labels(labels: Mapping[str, Mapping[Any, Any]]) -> None:
    """Add the labels of an app's codes; called once, when the app is ready."""
    _LABELS.update(labels)


@dataclass(frozen=True, slots=True)
class Difference:
    label: str
    before: str
    after: str


def differences(event: AuditEvent) -> list[Difference]:
    """Return the changed values. An empty `before` or `after` text means no value (the page shows a dash)."""
    return changes(event.before, event.after)


def changes(stored_before: Any, stored_after: Any) -> list[Difference]:
    """Return the differences of two stored values."""
    if not stored_before and not stored_after:
        return []
    before, after = _facts(stored_before), _facts(stored_after)
    names = [*before, *(name for name in after if name not in before)]
    return [
        Difference(_label(name), text_of(before.get(name), name), text_of(after.get(name), name))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _facts(held: Any) -> dict[str, Any]:
    return held if isinstance(held, dict) else {"value": held}


def _label(name: str) -> str:
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def text_of(value: Any, name: str = "") -> str:
    text = _text(value, name)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _text(value: Any, name: str = "") -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, str | int) and value in (labels := _LABELS.get(name, {})):
        return str(labels[value])
    if isinstance(value, list):
        return ", ".join(_text(item, name) for item in value) or _("none")
    if isinstance(value, dict):
        if {"name", "quantity"} <= value.keys():  # an offering
            return f"{value['name']} ({value['quantity']})"
        return ", ".join(f"{_label(str(part))}: {_text(held, str(part))}" for part, held in value.items())
    return str(value)
