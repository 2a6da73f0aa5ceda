"""Changes that approved requests make, by kind. Apps above this one register theirs when they are loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils.functional import Promise

from portal.approvals.kinds import ApprovalKind
from portal.approvals.models import Approval
from portal.commands import Command

Text = str | Promise
# One line of what will be done: label, value now, value afterwards. "" where there is none.
Row = tuple[Text, str, str]


@dataclass(frozen=True)
class ApprovalAction:
    """The change of a kind. `apply` calls the command that makes it without approval too, and returns its result;
    `rows` shows the request; `applied` runs after the transaction, with the approver's request, and says how it
    went."""

    apply: Callable[[Command, Approval], Any]
    rows: Callable[[Approval], list[Row]]
    applied: Callable[[HttpRequest | None, Approval, Any], None] | None = None


_ACTIONS: dict[ApprovalKind, ApprovalAction] = {}


def register_action(kind: ApprovalKind, action: ApprovalAction) -> None:
    if _ACTIONS.setdefault(kind, action) is not action:
        raise ValueError(f"Two actions for {kind}.")


def action_of(approval: Approval) -> ApprovalAction:
    return _ACTIONS[ApprovalKind(approval.kind)]
