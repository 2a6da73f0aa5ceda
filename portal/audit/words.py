"""Words of what audit events store: the labels of facts and of their values, and the objects with their pages.

Events store names and codes, which never change; pages and exports show these words. Each app registers its own in its
`audit_words.py`, once, when the app is ready. A name that is not registered is derived from its code.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from portal.access.roles import Role
from portal.formats import day_text, moment_text, number_text
from portal.state_labels import ACCOUNT_STATES, OPERATION_STATES

Text = str | Promise
# Makes a value a text; the second argument are the facts it is one of, for the currency of an amount.
Format = Callable[[Any, Mapping[str, Any]], str]


class FoundCustomer(NamedTuple):
    """A customer and how a page names it, or its account."""

    customer_id: uuid.UUID
    label: str


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """A kind of object that events are about. `page` is the route of its page, by public ID; `text` makes the stored
    label a text. `find` returns the customer that a public ID is, or belongs to."""

    label: Text
    page: str = ""
    text: Callable[[str], str] = str
    find: Callable[[uuid.UUID], FoundCustomer | None] | None = None


_STATES = {value: look.word for value, look in {**OPERATION_STATES, **ACCOUNT_STATES}.items()}
_values: dict[str, Mapping[Any, Any]] = {"role": dict(Role.choices), "state": _STATES}
_formats: dict[str, Format] = {}
_readers: list[Callable[[str], str | None]] = []
_offering: list[Callable[[str], str]] = []
_objects: dict[str, ObjectKind] = {}
_reasons: dict[str, Mapping[str, Text]] = {}
_implied: dict[str, Mapping[str, Any]] = {}
_names: dict[str, Text] = {
    "is_on": _("Needs approval"),
    "threshold": _("Limit (accounts)"),
    "window_hours": _("Time window"),
    "approval_kind": _("Needs approval for"),
    "change": _("Change"),
    "request": _("Approval request"),
    "requested_by": _("Requested by"),
    "broke_glass": _("Without approval (break-glass)"),
    "hash": _("Hash of the request"),
    "permissions_added": _("Permissions added"),
    "permissions_removed": _("Permissions removed"),
    "backup_at": _("Backup of"),
    "why": _("Reason"),
    "staff.recovery_code_used:left": _("Recovery codes left"),
    "sessions": _("Sessions ended"),
    "address": _("IP address"),
    "sha256": _("SHA-256 of the file"),
    "file": _("File"),
    "filters": _("Filters"),
    "on": _("Day"),
    "id": _("ID"),
}
# What was stored of the expected values before an operation has the names of columns.
SAME = {"desired_offerings": "offerings", "desired_settings": "settings", "desired_state": "state"}
# Numbers that are no amounts of anything.
_PLAIN = frozenset({"version", "contract", "run", "line", "number", "epoch", "first_number", "last_number"})
_ISO_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_ISO_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")
_ISO_MONTH = re.compile(r"(\d{4})-(\d\d)")


def add_labels(labels: Mapping[str, Mapping[Any, Any]]) -> None:
    """Add the labels of values that are stored as codes, by the name of the fact."""
    for name, values in labels.items():
        _values[name] = {**_values.get(name, {}), **values}


def labels_of(name: str) -> Mapping[Any, Any]:
    """Return the labels of the values of a fact."""
    return _values.get(name, {})


def add_names(names: Mapping[str, Text]) -> None:
    """Add the labels of facts, as the forms show them."""
    _names.update(names)


def add_formats(formats: Mapping[str, Format]) -> None:
    """Add what makes the values of a fact texts, by its name."""
    _formats.update(formats)


def add_name_reader(reader: Callable[[str], str | None]) -> None:
    """Add what reads labels out of names that hold a code themselves; None for a name it does not know."""
    _readers.append(reader)


def set_offering_label(label: Callable[[str], str]) -> None:
    """Set what makes the name of an offering its label in the catalog."""
    _offering[:] = [label]


def add_objects(objects: Mapping[str, ObjectKind]) -> None:
    """Add what events can be about, by `object_type`."""
    _objects.update(objects)


def add_reasons(reasons: Mapping[str, Mapping[str, Text]]) -> None:
    """Add the texts of reasons that the portal stores as codes, by verb."""
    _reasons.update(reasons)


def add_implied(facts: Mapping[str, Mapping[str, Any]]) -> None:
    """Add what a verb says itself, so that its events do not store it: the state that was requested."""
    _implied.update(facts)


def implied(verb: str) -> Mapping[str, Any]:
    return _implied.get(verb, {})


def object_kind(object_type: str) -> ObjectKind:
    name = object_type.rpartition(".")[2].replace("_", " ")
    return _objects.get(object_type) or ObjectKind(name.capitalize())


def find_customer(object_type: str, key: uuid.UUID) -> FoundCustomer | None:
    """Return the customer of a public ID of this type; None if there is none."""
    find = object_kind(object_type).find
    return find(key) if find else None


def reason_in_words(verb: str, reason: str) -> str:
    return str(_reasons.get(verb, {}).get(reason, reason))


def fact_label(name: str, verb: str = "") -> str:
    """Return the label of a fact, which may be one of this verb alone ("bulk.planned:left")."""
    if label := _names.get(f"{verb}:{name}") or _names.get(name):
        return str(label)
    for reader in _readers:
        if found := reader(name):
            return found
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def offering_words(name: str, quantity: Any = None) -> str:
    label = _offering[0](name) if _offering else name
    return label if quantity in (None, 1) else f"{label} \u00d7 {quantity}"


def text_of(value: Any, name: str, facts: Mapping[str, Any]) -> str:
    """Return a stored value in words; "" for none."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    if isinstance(value, str | int) and value in (labels := _values.get(name, {})):
        return str(labels[value])
    if form := _formats.get(name) or _formats.get(name.rpartition(": ")[2]):
        try:
            return form(value, facts)
        except (TypeError, ValueError, LookupError):
            return str(value)  # an event of an earlier release stored another form
    if isinstance(value, list):
        items = [text_of(item, name, facts) for item in value]
        return ("; " if any(", " in each for each in items) else ", ").join(items) or gettext("none")
    if isinstance(value, dict):
        return _dict_text(value)
    if isinstance(value, int):
        return str(value) if name in _PLAIN else number_text(value)
    return _str_text(str(value), name)


def _dict_text(value: dict[str, Any]) -> str:
    if {"name", "quantity"} <= value.keys():
        return offering_words(value["name"], value["quantity"])
    return ", ".join(f"{fact_label(str(part))}: {text_of(held, str(part), value)}" for part, held in value.items())


def _str_text(text: str, name: str) -> str:
    try:
        if name == "month" and (month := _ISO_MONTH.fullmatch(text)):
            return date_format(date(int(month[1]), int(month[2]), 1), "F Y")
        if _ISO_DAY.fullmatch(text):
            return full_day(date.fromisoformat(text))
        if _ISO_MOMENT.fullmatch(text):
            return moment_text(datetime.fromisoformat(text))
    except ValueError:
        pass  # it only looks like one
    return text


def full_day(day: date) -> str:
    """Return a day with its year, also if that is the current one."""
    return day_text(day, today=date.min)


def _hours(value: Any, _facts: Mapping[str, Any]) -> str:
    return ngettext("%(n)d hour", "%(n)d hours", int(value)) % {"n": int(value)}


add_formats({"window_hours": _hours})
