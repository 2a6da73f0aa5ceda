"""Differences between before and after of an event for display, one line per changed value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from portal.access.roles import Role
from portal.audit.models import AuditEvent

_LONGEST = 300
_ROLES = dict(Role.choices)


@dataclass(frozen=True, slots=True)
class Difference:
    label: str
    before: str
    after: str


def differences(event: AuditEvent) -> list[Difference]:
    """Return the changed values. An empty `before` or `after` text means no value (the page shows a dash)."""
    before, after = _facts(event.before), _facts(event.after)
    names = [*before, *(name for name in after if name not in before)]
    return [
        Difference(_label(name), _said(name, before.get(name)), _said(name, after.get(name)))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _facts(held: Any) -> dict[str, Any]:
    return held if isinstance(held, dict) else {"value": held}


def _label(name: str) -> str:
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _said(name: str, value: Any) -> str:
    return str(_ROLES.get(value, value)) if name == "role" and isinstance(value, str) else text_of(value)


def text_of(value: Any) -> str:
    return _cut(_text(value))


def _text(value: Any) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value) or _("none")
    if isinstance(value, dict):
        if {"name", "quantity"} <= value.keys():  # an offering
            return f"{value['name']} ({value['quantity']})"
        return ", ".join(f"{_label(str(name))}: {_text(held)}" for name, held in value.items())
    return str(value)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
