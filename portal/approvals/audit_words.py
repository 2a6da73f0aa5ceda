"""Words of our audit events: the kinds of changes that need approval, and the objects with their pages."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from portal.approvals.kinds import ApprovalKind
from portal.audit import words
from portal.audit.words import ObjectKind


def register_approval_words() -> None:
    """Register our words; called once, when the models are loaded."""
    words.add_labels({"approval_kind": dict(ApprovalKind.choices)})
    words.add_objects(
        {
            "approvals.approval": ObjectKind(_("Approval request"), "approvals:detail"),
            "approvals.approvalrule": ObjectKind(_("Approval rule")),
        }
    )
