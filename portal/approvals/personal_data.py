"""Personal data in requests for approval."""

from __future__ import annotations

from django.utils.translation import gettext_lazy

from portal.personal_data import declare

declare(
    "approvals.Approval",
    name=gettext_lazy("Approval requests"),
    why=gettext_lazy("Proof of what was approved, by whom and why."),
    until=gettext_lazy("As long as the installation exists, unless erased."),
    erased="subject_label payload reason decision_reason",
    plain="subject_type secret_sealed payload_hash client_token approved_hash",
    secret="secret_sealed client_token",  # noqa: S106  the names of columns
    append_only=True,
)
