"""Forms of month close: who takes care of a blocker, accepting one, and closing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from billing.pricing.form_fields import DayField
from portal.access.models import User
from portal.access.permissions import Permission
from portal.access.queries import people_who_may
from portal.typed_text import TypedText


class AssignBlockersForm(forms.Form):
    owner = forms.ModelChoiceField(
        label=_("Owner"),
        queryset=User.objects.none(),
        required=False,
        to_field_name="public_id",
        empty_label=_("Unassigned"),
    )
    due_on = DayField(label=_("Due date"), required=False)

    def __init__(self, data: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(data, **kwargs)
        people = people_who_may(Permission.CLOSE_MONTHS).order_by("name", "pk")
        self.fields["owner"].queryset = people  # type: ignore[attr-defined]  # a choice of rows


class AcceptForm(forms.Form):
    seen = forms.CharField(widget=forms.HiddenInput, max_length=64)
    reason = TypedText(
        label=_("Reason"),
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 3}),
        error_messages={"required": _("Enter a reason. The audit log keeps it.")},
    )


class CloseForm(forms.Form):
    note = TypedText(
        label=_("Note"), max_length=300, required=False, widget=forms.Textarea(attrs={"rows": 2, "maxlength": 300})
    )
