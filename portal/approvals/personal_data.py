"""Personal data in requests for approval."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.approvals.models import Approval
from portal.personal_data import blocks_erasure, declare

declare(
    "approvals.Approval",
    name=gettext_lazy("Approval requests"),
    why=gettext_lazy("Proof of what was approved, by whom and why."),
    until=gettext_lazy("As long as the retention settings say."),
    erased="subject_label payload reason decision_reason",
    plain="subject_type secret_sealed payload_hash client_token approved_hash",
    secret="secret_sealed client_token",  # noqa: S106  the names of columns
    append_only=True,
)


def _reasons(subject: Any) -> Iterable[str]:
    """Yield the requests of a team member that wait for approval: they are about to be decided with their text."""
    if subject.user is not None:
        for row in Approval.objects.filter(requested_by=subject.user, state=Approval.State.WAITING)[:20]:
            yield _("Request %(code)s waits for approval. Cancel or decide it first.") % {"code": row.code}


blocks_erasure(_reasons)
