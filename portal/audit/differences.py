"""Differences between before and after of an event for display, in the words of the product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portal.audit import words
from portal.audit.words import add_labels

if TYPE_CHECKING:
    from portal.audit.models import AuditEvent

__all__ = ["Difference", "add_labels", "changes", "differences"]

_LONGEST = 300
# Facts that hold others, which are shown as if they stood beside them.
_OPENED = frozenset({"settings", "key", "changes"})
# Cancellations store the values that hold again, as those before.
_RESTORE = frozenset({"operation.cancelled"})


@dataclass(frozen=True, slots=True)
class Difference:
    label: str
    before: str
    after: str


def differences(event: AuditEvent) -> list[Difference]:
    """Return the changed values. An empty `before` or `after` text means no value (the page shows a dash)."""
    return changes(event.before, event.after, event.verb)


def changes(stored_before: Any, stored_after: Any, verb: str = "") -> list[Difference]:
    """Return the differences of two stored values."""
    if not stored_before and not stored_after:
        return []
    before, after = _facts(stored_before), _facts(stored_after)
    if verb in _RESTORE and not after:
        before, after = {}, before
    if before:
        after = {**{name: value for name, value in words.implied(verb).items() if name in before}, **after}
    names = [*before, *(name for name in after if name not in before)]
    context = {**before, **after}
    found = (
        Difference(
            words.fact_label(name, verb),
            _text(before.get(name), name, context | before),
            _text(after.get(name), name, context),
        )
        for name in names
        if before.get(name) != after.get(name)
    )
    # A value that was none and is none says nothing.
    return [each for each in found if each.before or each.after]


def _facts(held: Any) -> dict[str, Any]:
    """Return the facts by name, those of opened ones beside the others."""
    if not isinstance(held, dict):
        return {"value": held}
    facts: dict[str, Any] = {}
    for stored, value in held.items():
        name = words.SAME.get(str(stored), str(stored))
        opened: dict[str, Any] = value if name in _OPENED and isinstance(value, dict) else {name: value}
        for each, fact in opened.items():
            facts.setdefault(each, fact)
    return facts


def _text(value: Any, name: str, facts: dict[str, Any]) -> str:
    text = words.text_of(value, name, facts)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
