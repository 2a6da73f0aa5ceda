"""Concurrent edits: a form writes only the fields the user changed (docs/decisions/edits.md).

An edit form carries the values it was opened with. Fields that differ from them were changed by the user, and only they
are written. If the same field was changed by another user since, nothing is written: the page is shown again with both
values.
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

from portal.input_bounds import read_json_input
from portal.typed_text import take_as_shown

if TYPE_CHECKING:
    from portal.audit.models import AuditEvent

# Hidden fields: the values the page was opened with, and after a conflict those of its fields, and the user's input in
# these fields.
SEEN, OPENED, YOURS = "seen", "opened", "yours"
CHOICE, MINE, THEIRS = "choice-", "mine", "theirs"
_NEVER_SHOWN = object()


class EditConflict(Exception):
    """Another user changed fields of this edit to other values. Nothing was written."""

    def __init__(self, fields: list[str]) -> None:
        super().__init__(", ".join(fields))
        self.fields = fields


def plain_value(value: Any) -> Any:
    """Return a value as carried by a form and compared: a row by its public ID, a date or time by its ISO text."""
    if isinstance(value, Model):
        return str(value.public_id)  # type: ignore[attr-defined]  # every row of a choice has one
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [plain_value(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def refuse_stale(row: Model | Mapping[str, Any], wanted: Mapping[str, Any], seen: Mapping[str, Any] | None) -> None:
    """Raise `EditConflict` if a stored value is neither the one in `seen` nor the wanted one.

    Call it with the row locked, or write with a condition on the values read. `seen` None skips the check, for edits
    that are not made through a form. A value missing from `seen` (a page from before the last upgrade) counts as
    changed.
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
    """One field that two users changed, for display. `mine` is the choice, None if none was made."""

    name: str
    label: str
    saw: str
    now: str
    yours: str
    may_choose: bool
    mine: bool | None


class EditForm(forms.Form):
    """Form that edits a row. Its initial values are those of the row, and the page starts its form element with
    `components/_edit.html`, which carries them and, after a conflict, offers the choice.

        form = MyForm(request.POST or None, initial=...)
        if form.is_valid():
            try:
                command(facts=form.changed_facts(), seen=form.seen)
            except EditConflict as conflict:
                form.show(conflict, fresh=MyForm(initial=...), last=...)
    """

    # Fields that are not values of the row: tokens, and secrets, which are never shown.
    not_compared: ClassVar[frozenset[str]] = frozenset()

    def stored(self) -> dict[str, Any]:
        """Return the initial values by name; for an unbound form."""
        names = [name for name in self.fields if name not in self.not_compared]
        return {name: plain_value(self.get_initial_for_field(self.fields[name], name)) for name in names}

    @property
    def seen(self) -> dict[str, Any]:
        """Values the page was opened with; {} if none can be read."""
        return self._carried(SEEN) if self.is_bound else self.stored()

    @property
    def seen_json(self) -> str:
        return json.dumps(self.seen)

    def _carried(self, name: str) -> dict[str, Any]:
        try:
            found = read_json_input(self.data.get(self.add_prefix(name), ""))
        except ValueError:
            return {}
        return {key: found[key] for key in self.stored() if key in found} if isinstance(found, dict) else {}

    def facts(self) -> dict[str, Any]:
        """Return all values of a valid form."""
        return {name: value for name, value in self.cleaned_data.items() if name not in self.not_compared}

    def changed_facts(self) -> dict[str, Any]:
        """Return the values the user changed in a valid form, except where the other value was chosen after a
        conflict."""
        seen = self.seen
        return {
            name: value
            for name, value in self.facts().items()
            if self._choice(name) != THEIRS and self._is_changed(name, value, seen)
        }

    def _is_changed(self, name: str, value: Any, seen: Mapping[str, Any]) -> bool:
        """Return whether the value differs from the one shown, also after cleaning the shown one."""
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
        """Apply the choices made after a conflict: a chosen stored value replaces the input. If the input was changed
        meanwhile, the choice has to be made again."""
        take_as_shown(self, self.stored())
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
                self.add_error(name, _("Select which value to save."))

    def show(self, conflict: EditConflict, *, fresh: Self, last: AuditEvent | None = None) -> None:
        """Turn this into the form of the conflict page. It starts from the stored values (`fresh`, not bound): the
        user's own changes stay, all other fields are updated. `last` is the event of the other change."""
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
        """Do as `show`, for a row that is written as a whole: the user chooses for every field changed by another
        user."""
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
        """Fields that two users changed; [] before a conflict."""
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

    # Labels of compared values without a field.
    labels: ClassVar[Mapping[str, Any]] = {}

    def _label(self, name: str) -> str:
        return str(self[name].label if name in self.fields else self.labels.get(name, name))

    def _said(self, name: str, value: Any) -> str:
        """Return a value as text: the choice's label, yes or no, a comma-separated list."""
        choices = {str(key): str(label) for key, label in getattr(self.fields.get(name), "choices", ())}
        if isinstance(self.fields.get(name), forms.BooleanField):
            return _("Yes") if value else _("No")
        if isinstance(value, list):
            return ", ".join(map(str, value)) or _("empty")
        return choices.get(str(value), "" if value is None else str(value)) or _("empty")


def _writable(data: Any) -> Any:
    """Return a writable copy of a form's data."""
    return data.copy()


def _put(data: Any, name: str, field: forms.Field, value: Any) -> None:
    """Write a value into a form's data as a browser would send it."""
    if isinstance(field, forms.BooleanField):
        data.pop(name, None)
        if value:
            data[name] = "on"
        return
    if isinstance(field, forms.MultipleChoiceField):
        data.setlist(name, value or [])
        return
    shown = field.prepare_value(value)
    data[name] = "" if shown is None else str(shown)


def status_of(form: forms.BaseForm, *, fragment: bool = False) -> int:
    """Return the status for the page of this form: 409 for a conflict, 422 if it has errors. A conflict in a dialog is
    422, since htmx shows a 409 as a failed request."""
    if getattr(form, "conflicting", False):
        return 422 if fragment else 409
    return 422 if form.is_bound and form.errors else 200
