"""Forms of the drift board: resolve a difference, and link or ignore an unlinked account."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from customers.models import Customer
from customers.reconcile.drift import Drift

PUSH, ACCEPT, IGNORE = "push", "accept", "ignore"


class DriftForm(forms.Form):
    """The resolution of one difference. Only what is possible can be chosen."""

    choice = forms.ChoiceField(widget=forms.RadioSelect, error_messages={"required": _("Choose what is to happen.")})
    until_on = forms.DateField(label=_("Until"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
    reason = forms.CharField(
        label=_("Reason"), max_length=500, widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": _("Say why. It is kept in the audit log.")},
    )  # fmt: skip
    client_token = forms.CharField(widget=forms.HiddenInput, min_length=8, max_length=64)

    def __init__(self, drift: Drift, *args: Any, today: date, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.choices = drift_choices_of(drift)
        self.fields["choice"].choices = [(each, each) for each in self.choices]  # type: ignore[attr-defined]
        self.fields["choice"].error_messages["invalid_choice"] = (
            _("An account is deleted on its own page. Request the delete there.") if drift.wants_delete
            else _("This can't be done any more. Review the values, then choose again.")
        )  # fmt: skip
        self.fields["until_on"].initial = today + timedelta(days=7)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("choice") == IGNORE and not cleaned.get("until_on") and "until_on" not in self.errors:
            self.add_error("until_on", _("Until which day?"))
        return cleaned


def drift_choices_of(drift: Drift) -> tuple[str, ...]:
    possible = ((PUSH, drift.can_push), (ACCEPT, drift.can_accept), (IGNORE, True))
    return tuple(name for name, may in possible if may)


class LinkForm(forms.Form):
    customer = forms.ModelChoiceField(
        queryset=Customer.objects.none(), to_field_name="public_id", widget=forms.RadioSelect, empty_label=None,
        error_messages={
            "required": _("Choose whose account it is."),
            "invalid_choice": _("Choose a customer of the list."),
        },
    )  # fmt: skip
    reason = forms.CharField(
        label=_("How do you know"), max_length=500, widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": _("Say how you know. It is kept in the audit log.")},
    )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["customer"].queryset = Customer.objects.filter(archived_at=None)  # type: ignore[attr-defined]


class IgnoreForm(forms.Form):
    reason = forms.CharField(
        label=_("Reason"), max_length=500, widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": _("Say why. It is kept in the audit log.")},
    )  # fmt: skip
