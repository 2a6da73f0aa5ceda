"""Request to close a month: refused while it may not be, or while approval is missing; then a worker closes it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from billing.closing.matching.current import current_comparisons, stale_connections
from billing.closing.runs.statements import open_drafts
from billing.closing.runs.worker import CLOSE
from billing.models import BillingTerms, InvoiceComparison, MonthClosing, Statement, StatementCounter
from billing.pricing.rating.currency import minor_unit_places
from billing.pricing.statements.numbers import billing_terms
from billing.usage.periods import month_after
from portal.access.permissions import Permission, require
from portal.approvals.gate import Change, locked_rule, pass_gate
from portal.approvals.kinds import ApprovalKind
from portal.commands import Command
from portal.formats import day_text
from portal.queue import enqueue_on_commit
from portal.refusals import Refusal

State = MonthClosing.State


def review_begins(month: date, terms: BillingTerms) -> date:
    """Return the first day on which the month may be closed: it ended, and its days in draft are over."""
    return month_after(month) + timedelta(days=terms.grace_days)


def request_close(command: Command, *, month: date, note: str = "") -> MonthClosing:
    """Let a worker close all statements of the month that nothing blocks. A run that failed is continued.

    Raises `Refusal`, and what `gate.pass_gate` raises.
    """
    require(command.person, Permission.CLOSE_MONTHS)
    month = month.replace(day=1)
    current_comparisons(month, now=command.now)
    StatementCounter.objects.get_or_create(pk=1)
    with transaction.atomic():
        StatementCounter.objects.select_for_update().get(pk=1)  # one request at a time
        _refuse(month, now=command.now)
        run = MonthClosing.objects.filter(month=month, state=State.FAILED).order_by("-n").first()
        last = MonthClosing.objects.filter(month=month).aggregate(n=Max("n"))["n"] or 0
        n = run.n if run else last + 1
        told = _pass_gate(command, month=month, n=n, note=note)
        facts = {"requested_by": command.person, "requested_at": command.now, "note": note}
        facts |= {"state": State.RUNNING, "not_before": command.now, "tries": 0}
        if run:
            run.take_over(**facts)
            run.refresh_from_db()
        else:
            run = MonthClosing.objects.create(month=month, n=n, **facts)
        named = {"month": f"{month:%Y-%m}", "run": n} | ({"note": note} if note else {})
        command.record(verb="month.close_requested", obj=run, after=named | told)
        enqueue_on_commit(CLOSE, run.pk)
    return run


def unclosed_before(month: date) -> date | None:
    """Return the earliest month before this one that has statements and was never closed. Months before the first one
    that was closed were billed elsewhere, and stay drafts."""
    closed = MonthClosing.objects.filter(state=State.CLOSED)
    first = closed.order_by("month").values_list("month", flat=True).first() or month
    rows = Statement.objects.filter(month__lt=month, month__gte=first).exclude(month__in=closed.values("month"))
    return rows.order_by("month").values_list("month", flat=True).first()


def _refuse(month: date, *, now: datetime) -> None:
    name = month_name(month)
    begins = review_begins(month, billing_terms())
    if now.date() < begins:
        text = _("%(month)s is still a draft. You can close it from %(day)s on.")
        raise Refusal(text % {"month": name, "day": day_text(begins)})
    if running := MonthClosing.objects.filter(state=State.RUNNING).first():
        text = _("%(month)s is being closed. Wait until that is done.")
        raise Refusal(text % {"month": month_name(running.month)})
    if stale_connections(month):
        raise Refusal(_("Provider invoices are being compared. Close the month once that is done."))
    closed = MonthClosing.objects.filter(state=State.CLOSED)
    if closed.filter(month__gt=month).exists() and not closed.filter(month=month).exists():
        text = _("A later month is closed already, so %(month)s stays a draft. Bill what is missing in the open month.")
        raise Refusal(text % {"month": name})
    if earlier := unclosed_before(month):
        text = _("%(earlier)s isn't closed yet. Close it first, then %(month)s.")
        raise Refusal(text % {"earlier": month_name(earlier), "month": name})
    if not is_left(month) and closed.filter(month=month).exists():
        raise Refusal(_("Every statement of %(month)s is closed.") % {"month": name})


def is_left(month: date) -> bool:
    """Return whether something of the month can be closed: a run that failed, a draft, or a comparison."""
    return (
        MonthClosing.objects.filter(month=month, state=State.FAILED).exists()
        or open_drafts(month).exists()
        or InvoiceComparison.objects.filter(month=month, closing=None).exists()
    )


def month_name(month: date) -> str:
    return date_format(month, "F Y")


def _pass_gate(command: Command, *, month: date, n: int, note: str) -> dict[str, Any]:
    """Return facts for the audit event. Approval is needed above the rule's limit, and used up where one is given."""
    rule = locked_rule(ApprovalKind.CLOSE)
    rows = InvoiceComparison.objects.filter(month=month, closing=None).select_related("connection")
    compared = list(rows.order_by("connection", "currency"))
    if command.approval is None and not (rule and _exceeds(compared, rule.threshold)):
        return {}
    payload = {"month": f"{month:%Y-%m}", "n": n, "note": note, "differences": [_told(each) for each in compared]}
    return pass_gate(command, Change(ApprovalKind.CLOSE, subject=None, label=month_name(month), payload=payload))


def _exceeds(compared: Iterable[InvoiceComparison], limit: int) -> bool:
    """Return whether a difference, of this month or accumulated, is larger than so many whole units."""
    return any(
        max(abs(each.difference_minor), abs(each.accumulated_minor + each.accepted_minor))
        > limit * 10 ** minor_unit_places(each.currency)
        for each in compared
    )


def _told(comparison: InvoiceComparison) -> dict[str, Any]:
    return {
        "connection": str(comparison.connection.public_id),
        "name": comparison.connection.name,
        "currency": comparison.currency,
        "invoice_minor": comparison.invoice_minor,
        "cost_minor": comparison.cost_minor,
        "carried_minor": comparison.carried_minor,
        "accepted_minor": comparison.accepted_minor,
    }
