"""The form that resolves an operation which needs review."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy

from customers.models import Operation
from customers.models.operation_states import OperationKind, OperationState
from portal.typed_text import TypedText


class DecideForm(forms.Form):
    """The manual decision about an operation that waits for one. The choices follow from the operation."""

    choice = forms.ChoiceField(
        widget=forms.RadioSelect, error_messages={"required": gettext_lazy("Select what happened.")}
    )
    provider_id = forms.CharField(
        label=gettext_lazy("Provider account ID"),
        max_length=100,
        error_messages={"required": gettext_lazy("Enter the account ID.")},
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    although_different = forms.BooleanField(
        label=gettext_lazy("This is the right account even though its email or name differs from the request"),
        required=False,
    )
    reason = TypedText(
        label=gettext_lazy("Evidence"),
        widget=forms.Textarea(attrs={"rows": 3}),
        max_length=1000,
        error_messages={"required": gettext_lazy("Enter your evidence. It's recorded in the audit log.")},
    )

    def __init__(self, operation: Operation, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["choice"].choices = [(each, each) for each in choices_of(operation)]  # type: ignore[attr-defined]
        self.fields["provider_id"].required = not self.is_bound or self.data.get("choice") == "link"


def choices_of(operation: Operation) -> tuple[str, ...]:
    """Return the possible decisions; empty when there is nothing to decide, or the portal finds out automatically."""
    if operation.kind == OperationKind.CREATE and may_exist(operation):
        return ("link", "send_again", "stop")
    if operation.state == OperationState.NEEDS_ATTENTION:
        return ("try_again", "give_up")
    return ()


def may_exist(operation: Operation) -> bool:
    """Return whether a create was sent, or may have been, and its outcome is unknown."""
    if operation.state == OperationState.NEEDS_ATTENTION:
        return operation.attempt_count > 0 and (
            operation.error_kind not in ("budget", "poison") or operation.was_unknown
        )
    return operation.state == OperationState.UNKNOWN
