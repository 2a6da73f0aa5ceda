from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from portal.approvals.kinds import ApprovalKind
from portal.edits import EditForm
from portal.typed_text import TypedText


class RuleForm(EditForm):
    is_on = forms.BooleanField(label=_("Needs approval"), required=False)
    threshold = forms.IntegerField(
        label=_("Limit"), help_text=_("More accounts than this need approval."), min_value=1, max_value=100_000
    )
    window_hours = forms.IntegerField(label=_("Time window in hours"), min_value=1, max_value=24 * 31)

    def __init__(self, *args: Any, kind: ApprovalKind, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if kind == ApprovalKind.CLOSE:
            text = _("A larger difference needs approval. In whole units of the invoice's currency.")
            self.fields["threshold"] = forms.IntegerField(
                label=_("Limit"), help_text=text, min_value=1, max_value=100_000_000
            )
        elif kind != ApprovalKind.BULK:
            del self.fields["threshold"]
        if kind != ApprovalKind.BULK:
            del self.fields["window_hours"]


class RejectForm(forms.Form):
    reason = TypedText(
        label=_("Rejection reason"),
        max_length=800,
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": _("Enter a reason. The requester will see it.")},
    )
