"""Forms of the list of usage to decide: a decision, and taking one back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from billing.models import Decision
from billing.usage.anomalies import MOST_EMAILS
from portal.typed_text import TypedText

Verdict = Decision.Verdict


class _Digits(forms.IntegerField):
    """A whole number in digits. Django reads "120.000", which many people write for 120,000, as 120."""

    re_decimal = re.compile(r"(?!)")


class UndoForm(forms.Form):
    """`seen` is what the form was opened with: which rows, and their figures."""

    reason = TypedText(
        label=_("Reason"),
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": _("Enter a reason. It's recorded in the audit log.")},
    )
    seen = forms.CharField(max_length=100, required=False, widget=forms.HiddenInput)


class DecisionForm(UndoForm):
    """`verdicts`: what may be decided."""

    verdict = forms.ChoiceField(
        widget=forms.RadioSelect,
        error_messages={
            "required": _("Select a decision."),
            "invalid_choice": _("This decision is no longer available. Review the figures, then select again."),
        },
    )
    quantity = _Digits(
        label=_("Emails in this billing period"),
        required=False,
        min_value=0,
        max_value=MOST_EMAILS,
        error_messages={"invalid": _("Enter the number of emails, 0 or more.")},
    )
    field_order = ("verdict", "quantity", "reason", "seen")

    def __init__(self, verdicts: Sequence[Verdict], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(each.value, each.label) for each in verdicts]
        self.fields["verdict"].choices = choices  # type: ignore[attr-defined]  # a choice, as declared above
        if Verdict.QUANTITY not in verdicts:
            del self.fields["quantity"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        wanted = cleaned.get("verdict") == Verdict.QUANTITY
        if wanted and cleaned.get("quantity") is None and "quantity" not in self.errors:
            self.add_error("quantity", _("Enter the number of emails, 0 or more."))
        if not wanted:
            cleaned["quantity"] = None
            self.errors.pop("quantity", None)
        return cleaned
