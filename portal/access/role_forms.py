from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from django import forms
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from portal.access.custom_roles import codes_of
from portal.access.permission_labels import GROUPS, LABELS, PermissionLabel
from portal.access.permissions import Permission, choosable, permissions_of_codes
from portal.access.role_matrix import included_names, names_of
from portal.edits import EditForm
from portal.refusals import Refusal
from portal.typed_text import TypedText


def _choices() -> list[tuple[str, str]]:
    return [(code.value, str(LABELS[code].name)) for code in choosable()]


class CustomRoleForm(EditForm):
    """A custom role. Its permissions are cleaned to what the role would store: sorted, with all that they include."""

    not_compared: ClassVar[frozenset[str]] = frozenset({"reason"})

    name = TypedText(label=_("Name"), max_length=60, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    description = TypedText(
        label=_("Description"), max_length=200, required=False, widget=forms.TextInput(attrs={"autocomplete": "off"})
    )
    permissions = forms.MultipleChoiceField(
        label=_("Permissions"), choices=_choices, required=False, widget=forms.CheckboxSelectMultiple
    )
    reason = TypedText(
        label=_("Reason"),
        max_length=500,
        required=False,
        help_text=_("Required if you add permissions. It's recorded in the audit log."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def clean_permissions(self) -> list[str]:
        try:
            return codes_of(self.cleaned_data["permissions"])
        except Refusal as refusal:
            raise forms.ValidationError(str(refusal)) from None

    def groups(self) -> Iterator[tuple[str | Promise, list[dict[str, Any]]]]:
        """Yield the groups of permissions with their checkboxes. That of "view" is always on."""
        chosen = {str(code) for code in self["permissions"].value() or ()}
        for name, labels in GROUPS:
            offered = [_box(code, label, chosen) for code, label in labels.items() if code in choosable()]
            if offered:
                yield name, offered

    def _said(self, name: str, value: Any) -> str:
        if name == "permissions":
            return ", ".join(names_of(permissions_of_codes(value or ())))
        return super()._said(name, value)


class NewRoleForm(CustomRoleForm):
    """A new role: whatever it has is added."""

    reason = TypedText(
        label=_("Reason"),
        max_length=500,
        help_text=_("It's recorded in the audit log."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


def _box(code: Permission, label: PermissionLabel, chosen: set[str]) -> dict[str, Any]:
    always = code == Permission.VIEW
    return {
        "code": code.value,
        "label": label,
        "checked": always or code in chosen,
        "always": always,
        "includes": ", ".join(included_names(code)),
    }
