"""Forms that ask for one deed: a reason, and whatever the deed needs to be sure."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.models import Operation
from customers.models.operation_states import OperationKind, OperationState
from portal.edits import EditForm

SAME_AS_OTHER = "other"
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


class ReasonForm(forms.Form):
    """Why, in a word and in a sentence. The sentence is required; both are kept together.

    `longest`: how long both may be together, where the customer reads them.
    """

    why = forms.ChoiceField(label=gettext_lazy("Why"), widget=forms.RadioSelect, required=False)
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        widget=forms.Textarea(attrs={"rows": 3}),
        max_length=1000,
        error_messages={"required": gettext_lazy("Say why. It is kept in the audit log.")},
    )
    client_token = forms.CharField(widget=forms.HiddenInput, max_length=64, min_length=8)

    def __init__(self, *args: Any, why: list[tuple[str, Any]], longest: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._why, self.longest = dict(why), longest
        if longest:
            self.fields["reason"].widget.attrs["maxlength"] = longest
        self.fields["why"].choices = why  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if self.longest and values.get("reason") and (over := len(self.whole_reason()) - self.longest) > 0:
            text = _("%(n)d characters too long: with the word before it, %(most)d at most.")
            self.add_error("reason", text % {"n": over, "most": self.longest})
        return values

    def whole_reason(self) -> str:
        """ "Abuse report: two complaints, case 3318"."""
        word, text = self.cleaned_data.get("why", ""), self.cleaned_data["reason"].strip()
        return text if word in ("", SAME_AS_OTHER) else f"{self._why[word]}: {text}"


class DeleteForm(ReasonForm):
    """A delete can't be undone: the customer's name is typed by hand."""

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


class DecideForm(forms.Form):
    """What a person decides about an operation that waits for one. The choices follow from the operation."""

    choice = forms.ChoiceField(
        widget=forms.RadioSelect, error_messages={"required": gettext_lazy("Choose what happened.")}
    )
    provider_id = forms.CharField(
        label=gettext_lazy("Account id at the provider"),
        max_length=100,
        error_messages={"required": gettext_lazy("Type the account's id.")},
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    although_different = forms.BooleanField(
        label=gettext_lazy("This is the right account, although its email or name differs from the request"),
        required=False,
    )
    reason = forms.CharField(
        label=gettext_lazy("How do you know"),
        widget=forms.Textarea(attrs={"rows": 3}),
        max_length=1000,
        error_messages={"required": gettext_lazy("Say how you know. It is kept in the audit log.")},
    )

    def __init__(self, operation: Operation, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["choice"].choices = [(each, each) for each in choices_of(operation)]  # type: ignore[attr-defined]
        self.fields["provider_id"].required = not self.is_bound or self.data.get("choice") == "link"


def choices_of(operation: Operation) -> tuple[str, ...]:
    """What a person may decide now; empty when there is nothing to decide, or the portal finds out by itself."""
    if operation.kind == OperationKind.CREATE and may_exist(operation):
        return ("link", "send_again", "stop")
    if operation.state == OperationState.NEEDS_ATTENTION:
        return ("try_again", "give_up")
    return ()


def may_exist(operation: Operation) -> bool:
    """A create that was sent and of which nobody knows what became."""
    if operation.state == OperationState.NEEDS_ATTENTION:
        return operation.sends > 0 and (operation.error_kind not in ("budget", "poison") or operation.was_unknown)
    return operation.state == OperationState.UNKNOWN
