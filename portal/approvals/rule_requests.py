"""The request to relax a rule: shown, and applied once another admin approves it."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from portal.approvals.actions import ApprovalAction, Row
from portal.approvals.kinds import ApprovalKind
from portal.approvals.models import Approval, ApprovalRule
from portal.approvals.rules import change_rule
from portal.commands import Command


def _apply(command: Command, approval: Approval) -> ApprovalRule:
    return change_rule(command, kind=ApprovalKind(approval.payload["rule"]), facts=approval.payload["facts"])


def _rows(approval: Approval) -> list[Row]:
    before, after = approval.payload["before"], approval.payload["facts"]
    return [(_label(name), _value_text(before[name]), _value_text(after[name])) for name in after]


def _label(name: str) -> str:
    return {"is_on": _("Needs approval"), "threshold": _("Limit (accounts)")}.get(name, _("Time window (hours)"))


def _value_text(value: Any) -> str:
    if isinstance(value, bool):
        return _("Yes") if value else _("No")
    return str(value)


ACTION = ApprovalAction(_apply, _rows)
