"""Forms that request one action: a reason, and its confirmation."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.forms import SAME_AS_OTHER, ReasonForm
from portal.edits import EditForm

WHY_SUSPEND = [
    ("unpaid", gettext_lazy("Unpaid")),
    ("abuse", gettext_lazy("Abuse report")),
    ("asked", gettext_lazy("Customer asked")),
    (SAME_AS_OTHER, gettext_lazy("Other")),
]
WHY_UNSUSPEND = [
    ("paid", gettext_lazy("Paid")),
    ("settled", gettext_lazy("Complaint settled")),
    ("mistake", gettext_lazy("Suspended by mistake")),
    (SAME_AS_OTHER, gettext_lazy("Other")),
]
WHY_DELETE = [
    ("left", gettext_lazy("Customer left")),
    ("double", gettext_lazy("Made twice")),
    ("test", gettext_lazy("Test account")),
    (SAME_AS_OTHER, gettext_lazy("Other")),
]
WHY_SIGN_IN = [
    ("sender", gettext_lazy("Sender check")),
    ("domain", gettext_lazy("Domain set-up")),
    ("asked", gettext_lazy("Customer asked")),
    (SAME_AS_OTHER, gettext_lazy("Other")),
]


class DeleteForm(ReasonForm):
    """The confirmation of a delete, which can't be undone: the customer's name is typed by hand."""

    confirm = forms.CharField(
        label=gettext_lazy("Type the customer's name"),
        max_length=200,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, company_name: str, without_reading: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._company_name = company_name
        if without_reading:
            self.fields["without_reading"] = forms.BooleanField(
                label=_("Delete without a last reading. The use since the last one is lost, and reports show a gap."),
                error_messages={"required": _("Tick this, or try again later with a reading.")},
            )

    def clean_confirm(self) -> str:
        typed: str = self.cleaned_data["confirm"]
        if " ".join(typed.split()) != " ".join(self._company_name.split()):
            raise forms.ValidationError(_("This is not the name. It is %(name)s.") % {"name": self._company_name})
        return typed


class UsernameForm(EditForm):
    username = forms.CharField(
        label=gettext_lazy("v2 user name"),
        max_length=120,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
