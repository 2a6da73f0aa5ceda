"""Forms of the drift page: resolve a difference, link or ignore an unlinked account, and merge a duplicate."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from customers.models import Account, Customer
from customers.reconcile.drift import Drift
from portal.typed_text import TypedText

PUSH, ACCEPT, IGNORE = "push", "accept", "ignore"


class DriftForm(forms.Form):
    """The resolution of one difference. Only what is possible can be chosen."""

    choice = forms.ChoiceField(widget=forms.RadioSelect, error_messages={"required": _("Select an action.")})
    until_on = forms.DateField(label=_("Snooze until"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
    reason = TypedText(
        label=_("Reason"),
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": _("Enter a reason. It's recorded in the audit log.")},
    )
    client_token = forms.CharField(widget=forms.HiddenInput, min_length=8, max_length=64)

    def __init__(self, drift: Drift, *args: Any, today: date, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        possible = ((PUSH, drift.can_push), (ACCEPT, drift.can_accept), (IGNORE, True))
        self.choices = tuple(name for name, may in possible if may)
        self.fields["choice"].choices = [(each, each) for each in self.choices]  # type: ignore[attr-defined]
        self.fields["choice"].error_messages["invalid_choice"] = (
            _("Accounts can only be deleted from their own page. Request the deletion there.")
            if drift.wants_delete
            else _("This action is no longer available. Review the values, then select again.")
        )
        self.fields["until_on"].initial = today + timedelta(days=7)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("choice") == IGNORE and not cleaned.get("until_on") and "until_on" not in self.errors:
            self.add_error("until_on", _("Enter a date."))
        return cleaned


class LinkForm(forms.Form):
    customer = forms.ModelChoiceField(
        queryset=Customer.objects.none(),
        to_field_name="public_id",
        widget=forms.RadioSelect,
        empty_label=None,
        error_messages={
            "required": _("Select a customer."),
            "invalid_choice": _("Select a customer from the list."),
        },
    )
    reason = TypedText(
        label=_("Evidence"),
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": _("Enter your evidence. It's recorded in the audit log.")},
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["customer"].queryset = Customer.objects.filter(archived_at=None)  # type: ignore[attr-defined]


class IgnoreForm(forms.Form):
    reason = TypedText(
        label=_("Reason"),
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": _("Enter a reason. It's recorded in the audit log.")},
    )


class MergeForm(forms.Form):
    customer = forms.ModelChoiceField(
        label=_("Customer"),
        queryset=Customer.objects.none(),
        to_field_name="public_id",
        widget=forms.RadioSelect,
        empty_label=None,
        error_messages={
            "required": _("Select the customer that owns the account."),
            "invalid_choice": _("Select one of the two customers."),
        },
    )
    reason = TypedText(
        label=_("Reason"),
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": _("Enter a reason. It's recorded in the audit log.")},
    )
    confirmed = forms.BooleanField(
        label=_("I checked which customer the account belongs to"),
        error_messages={"required": _("Confirm that you checked.")},
    )

    def __init__(self, duplicate: Account, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        of_both = Customer.objects.filter(accounts__in=[duplicate.pk, duplicate.duplicate_of_id]).distinct()
        self.fields["customer"].queryset = of_both  # type: ignore[attr-defined]  # a choice of rows, as declared above
