"""Edits by several people at once: a form writes only what its person changed (docs/decisions/edits.md).

An edit form carries the values it was opened with. What differs from them is what the person changed, and only that is
written. Where somebody else changed the same field since, nothing is written: the page comes again with both values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, ClassVar, Self

from django import forms
from django.db.models import Model
from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from portal.audit.models import AuditEvent

# Hidden fields: the values the page was opened with, and after a conflict those of the fields it is about, and what
# stood in these fields.
SEEN, OPENED, YOURS = "seen", "opened", "yours"
CHOICE, MINE, THEIRS = "choice-", "mine", "theirs"
_NEVER_SHOWN = object()


class EditConflict(Exception):
    """Somebody else changed fields that this edit changes, to other values. Nothing was written."""

    def __init__(self, fields: list[str]) -> None:
        super().__init__(", ".join(fields))
        self.fields = fields


def plain_value(value: Any) -> Any:
    """A value as a form carries it and as two are compared: a row by its public ID, a moment by its ISO text."""
    if isinstance(value, Model):
        return str(value.public_id)  # type: ignore[attr-defined]  # every row of a choice has one
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [plain_value(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def refuse_stale(row: Model | Mapping[str, Any], wanted: Mapping[str, Any], seen: Mapping[str, Any] | None) -> None:
    """Raise `EditConflict` where a stored value is neither the one that was seen nor the wanted one.

    Call it with the row held, or write with a condition on what was read. `seen` None is no person's edit: whoever
    calls knows what is there. A value that was not seen (a page from before the last upgrade) counts as changed.
    """
    if seen is None:
        return

    stored = row if isinstance(row, Mapping) else {name: getattr(row, name) for name in wanted}
    changed = [
        name
        for name, value in wanted.items()
        if plain_value(stored[name]) not in (seen.get(name, _NEVER_SHOWN), plain_value(value))
    ]
    if changed:
        raise EditConflict(changed)


@dataclass(frozen=True)
class EditDifference:
    """One field that two people changed, as the page shows it. `mine` is what was chosen, None where nothing was."""

    name: str
    label: str
    saw: str
    now: str
    yours: str
    may_choose: bool
    mine: bool | None


class EditForm(forms.Form):
    """A form that edits a row. Its initial values are those of the row, and the page starts its form element with
    `components/_edit.html`, which carries them and, after a conflict, lets the person choose.

        form = MyForm(request.POST or None, initial=...)
        if form.is_valid():
            try:
                command(facts=form.changed_facts(), seen=form.seen)
            except EditConflict as conflict:
                form.show(conflict, fresh=MyForm(initial=...), last=...)
    """

    # Fields that are no value of the row: tokens, and secrets, which are never shown.
    not_compared: ClassVar[frozenset[str]] = frozenset()

    def stored(self) -> dict[str, Any]:
        """The values the form starts from, by name; of a form that is not bound."""
        names = [name for name in self.fields if name not in self.not_compared]
        return {name: plain_value(self.get_initial_for_field(self.fields[name], name)) for name in names}

    @property
    def seen(self) -> dict[str, Any]:
        """The values the page was opened with; {} where it carried none that can be read."""
        return self._carried(SEEN) if self.is_bound else self.stored()

    @property
    def seen_json(self) -> str:
        return json.dumps(self.seen)

    def _carried(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads(self.data.get(self.add_prefix(name), ""))
        except ValueError:
            return {}
        return {key: found[key] for key in self.stored() if key in found} if isinstance(found, dict) else {}

    def facts(self) -> dict[str, Any]:
        """Of a valid form: everything it would write."""
        return {name: value for name, value in self.cleaned_data.items() if name not in self.not_compared}

    def changed_facts(self) -> dict[str, Any]:
        """Of a valid form: what the person changed, save where they chose the other value after a conflict."""
        seen = self.seen
        return {
            name: value
            for name, value in self.facts().items()
            if self._choice(name) != THEIRS and self._is_changed(name, value, seen)
        }

    def _is_changed(self, name: str, value: Any, seen: Mapping[str, Any]) -> bool:
        """Not where it is what was shown, also when that is written in another way once it is cleaned."""
        if name not in seen:
            return True
        field = self.fields.get(name)
        try:
            as_shown = field.clean(field.prepare_value(seen[name])) if field else seen[name]
        except forms.ValidationError:
            as_shown = seen[name]
        return plain_value(value) not in (seen[name], plain_value(as_shown))

    def _choice(self, name: str) -> str:
        return str(self.data.get(self.add_prefix(CHOICE + name), ""))

    def full_clean(self) -> None:
        """After a conflict the person chooses, field by field: the other's value is put in place of the typed one. Who
        typed something else meanwhile is asked again."""
        asked = [name for name in self._carried(OPENED) if name in self.fields] if self.is_bound else []
        yours = self._carried(YOURS) if asked else {}
        theirs = [name for name in asked if self._choice(name) == THEIRS]
        if theirs:
            self.data = data = _writable(self.data)
        for name in [each for each in theirs if each in yours and plain_value(self[each].value()) != yours[each]]:
            data.pop(self.add_prefix(CHOICE + name))
            theirs.remove(name)
        for name in theirs:
            _put(self.data, self.add_prefix(name), self.fields[name], self.seen.get(name))
        super().full_clean()
        for name in asked:
            if self._choice(name) not in (THEIRS, MINE):
                self.add_error(name, _("Choose which value to save."))

    def show(self, conflict: EditConflict, *, fresh: Self, last: AuditEvent | None = None) -> None:
        """Make this the form of the conflict page. It goes on from what is stored now (`fresh`, not bound): the
        person's own changes stay in the fields, everything else is as it is now. `last` tells who saved that."""
        now, saw = fresh.stored(), self.seen
        mine = {name for name, value in self.facts().items() if self._is_changed(name, value, saw)}
        self.data = data = _writable(self.data)
        for name, field in self.fields.items():
            if name in now and name not in mine:
                _put(data, self.add_prefix(name), field, now[name])
        data[self.add_prefix(SEEN)] = json.dumps(now)
        data[self.add_prefix(OPENED)] = json.dumps({name: saw.get(name) for name in conflict.fields})
        for name in conflict.fields:
            data.pop(self.add_prefix(CHOICE + name), None)
        self.last, self.conflicting = last, True

    def show_all(self, fresh: Self, *, last: AuditEvent | None = None) -> None:
        """As `show`, for a row that is written as a whole: whatever somebody else changed is asked about."""
        now, saw = fresh.stored(), self.seen
        theirs = [name for name, value in now.items() if saw.get(name, _NEVER_SHOWN) != value]
        both = [name for name in theirs if self._is_changed(name, self.cleaned_data.get(name), saw)]
        self.show(EditConflict(both or theirs), fresh=fresh, last=last)

    conflicting = False
    last: AuditEvent | None = None

    @property
    def opened_json(self) -> str:
        return json.dumps(self._carried(OPENED))

    @property
    def yours_json(self) -> str:
        return json.dumps(
            {name: plain_value(self[name].value()) for name in self._carried(OPENED) if name in self.fields}
        )

    @property
    def differences(self) -> list[EditDifference]:
        """The fields that two people changed; [] before a conflict."""
        if not self.is_bound:
            return []
        now = self.seen
        return [
            EditDifference(
                name=name,
                label=self._label(name),
                saw=self._said(name, saw),
                now=self._said(name, now.get(name)),
                yours=self._said(name, self[name].value()) if name in self.fields else _("Enter it again"),
                may_choose=name in self.fields,
                mine={MINE: True, THEIRS: False}.get(self._choice(name)),
            )
            for name, saw in self._carried(OPENED).items()
        ]

    # Labels of what is compared and has no field.
    labels: ClassVar[Mapping[str, Any]] = {}

    def _label(self, name: str) -> str:
        return str(self[name].label if name in self.fields else self.labels.get(name, name))

    def _said(self, name: str, value: Any) -> str:
        """A value in words: the choice's label, yes or no, a list with commas."""
        choices = {str(key): str(label) for key, label in getattr(self.fields.get(name), "choices", ())}
        if isinstance(self.fields.get(name), forms.BooleanField):
            return _("Yes") if value else _("No")
        if isinstance(value, list):
            return ", ".join(map(str, value)) or _("empty")
        return choices.get(str(value), "" if value is None else str(value)) or _("empty")


def _writable(data: Any) -> Any:
    """A copy of a form's data that can be written to."""
    return data.copy()


def _put(data: Any, name: str, field: forms.Field, value: Any) -> None:
    """Write a value into a form's data as a browser would send it."""
    if isinstance(field, forms.BooleanField):
        data.pop(name, None)
        if value:
            data[name] = "on"
        return
    shown = field.prepare_value(value)
    data[name] = "" if shown is None else str(shown)


def status_of(form: forms.BaseForm, *, fragment: bool = False) -> int:
    """The status of the page that shows this form: 409 for a conflict, 422 where something has to be corrected. In a
    dialog a conflict is something to correct: htmx shows a 409 as a failed request."""
    if getattr(form, "conflicting", False):
        return 422 if fragment else 409
    return 422 if form.is_bound and form.errors else 200
