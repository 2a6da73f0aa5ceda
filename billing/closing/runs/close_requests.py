"""Requests to close a month that need approval: shown, and passed to the worker once approved."""

from __future__ import annotations

from datetime import date

from django.utils.translation import gettext as _

from billing.closing.runs.commands import month_name, request_close
from billing.models import MonthClosing
from portal.approvals.actions import ApprovalAction, Row
from portal.approvals.models import Approval
from portal.commands import Command


def _month(approval: Approval) -> date:
    return date.fromisoformat(f"{approval.payload['month']}-01")


def _apply(command: Command, approval: Approval) -> MonthClosing:
    """Close the month, if no difference changed since it was requested. Raises `Refusal`."""
    return request_close(command, month=_month(approval), note=approval.payload["note"])


def _rows(approval: Approval) -> list[Row]:
    """Return the month and its connections. Amounts are on the month's page, for who may see cost."""
    said = approval.payload
    names = dict.fromkeys(each["name"] for each in said["differences"])
    rows: list[Row] = [(_("Month"), _("Open"), month_name(_month(approval)))]
    rows += [(_("Compared with invoices"), "", name) for name in names]
    return [*rows, (_("Note"), "", said["note"])] if said["note"] else rows


ACTION = ApprovalAction(_apply, _rows)
