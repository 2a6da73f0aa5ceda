"""Forms that request one action: a reason, and its confirmation."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.forms import SAME_AS_OTHER, ReasonForm
from portal.edits import EditForm
from portal.typed_text import comparable

WHY_SUSPEND = [
    ("unpaid", gettext_lazy("Unpaid")),
    ("abuse", gettext_lazy("Abuse report")),
    ("asked", gettext_lazy("Customer request")),
    (SAME_AS_OTHER, gettext_lazy("Other")),
]
WHY_UNSUSPEND = [
    ("paid", gettext_lazy("Paid")),
    ("settled", gettext_lazy("Complaint resolved")),
    ("mistake", gettext_lazy("Suspended by mistake")),
    (SAME_AS_OTHER, gettext_lazy("Other")),
]
WHY_DELETE = [
    ("left", gettext_lazy("Customer left")),
    ("double", gettext_lazy("Duplicate")),
    ("test", gettext_lazy("Test account")),
    (SAME_AS_OTHER, gettext_lazy("Other")),
]
WHY_SIGN_IN = [
    ("sender", gettext_lazy("Sender verification")),
    ("domain", gettext_lazy("Domain setup")),
    ("asked", gettext_lazy("Customer request")),
    (SAME_AS_OTHER, gettext_lazy("Other")),
]


class DeleteForm(ReasonForm):
    """The confirmation of a delete, which can't be undone: the customer's name is typed by hand."""

    confirm = forms.CharField(
        label=gettext_lazy("Customer name"),
        max_length=200,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, company_name: str, without_reading: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._company_name = company_name
        if without_reading:
            self.fields["without_reading"] = forms.BooleanField(
                label=_(
                    "Delete without a final usage snapshot. Usage since the last snapshot is lost, and reports "
                    "will show missing data."
                ),
                error_messages={
                    "required": _("Select this box to continue, or try again later when usage data is available.")
                },
            )

    def clean_confirm(self) -> str:
        typed: str = self.cleaned_data["confirm"]
        if comparable(typed) != comparable(self._company_name):
            raise forms.ValidationError(_("The name doesn't match. Type %(name)s.") % {"name": self._company_name})
        return typed


class UsernameForm(EditForm):
    username = forms.CharField(
        label=gettext_lazy("v2 username"),
        max_length=120,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
