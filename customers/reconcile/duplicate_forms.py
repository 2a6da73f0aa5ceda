"""The form of a merge: which customer has the account afterwards."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from customers.models import Account, Customer


class MergeForm(forms.Form):
    customer = forms.ModelChoiceField(
        label=_("Customer"), queryset=Customer.objects.none(), to_field_name="public_id", widget=forms.RadioSelect,
        empty_label=None,
        error_messages={
            "required": _("Select which customer has the account."),
            "invalid_choice": _("Select one of the two customers."),
        },
    )  # fmt: skip
    reason = forms.CharField(
        label=_("Reason"), max_length=500, widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": _("A reason is required. It is recorded in the audit log.")},
    )  # fmt: skip
    confirmed = forms.BooleanField(
        label=_("I checked which customer the account belongs to"),
        error_messages={"required": _("Confirm that you checked.")},
    )

    def __init__(self, duplicate: Account, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        of_both = Customer.objects.filter(accounts__in=[duplicate.pk, duplicate.duplicate_of_id]).distinct()
        self.fields["customer"].queryset = of_both  # type: ignore[attr-defined]
