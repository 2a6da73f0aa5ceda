"""Views of usage to decide: the list, a decision, and taking one back."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from django.contrib import messages
from django.db.models import prefetch_related_objects
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from billing import labels
from billing.models import Anomaly, Decision, UsagePeriod
from billing.usage import decisions, postponed
from billing.usage.decisions import AlreadyDecided
from billing.usage.periods import month_after
from billing.usage.series import Verdict
from billing.worklist import consequences, queries
from billing.worklist.filters import KINDS, OWNERS, DecidedFilters, WorklistFilters
from billing.worklist.forms import DecisionForm, UndoForm
from customers.connections.queries import connection_choices
from customers.models import Account
from customers.operations.view_helpers import account_or_404, add_refusal
from portal.access.models import User
from portal.access.permissions import Permission
from portal.access.queries import people_who_may
from portal.audit.models import AuditEvent
from portal.audit.overtaken import OvertakenDecision, overtaken_decision
from portal.audit.queries import entry_of
from portal.clock import database_now
from portal.htmx import command_of, go_to, person, render_page
from portal.query_params import day_or_none, own_path_or_none, uuid_or_none
from portal.refusals import Refusal

MONTHS_OFFERED = 14
_ROW = re.compile(r"(anomaly|figure)-([0-9]{1,18})")


@require_GET
def worklist(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    filters = WorklistFilters(request.GET, with_cost=person(request).may(Permission.VIEW_COST))
    page, entries = queries.worklist_page(filters, person=person(request), now=now)
    months = [month_after(now.date().replace(day=1), -steps) for steps in range(MONTHS_OFFERED)]
    context = {
        "filters": filters,
        "page": page,
        "entries": [(entry, [str(KINDS[kind]) for kind in entry.kinds]) for entry in entries],
        "kinds": KINDS.items(),
        "owners": OWNERS.items(),
        "connections": connection_choices(),
        "months": [(f"{month:%Y-%m}", date_format(month, "F Y")) for month in months],
        "with_cost": filters.with_cost,
        "waiting": postponed.waiting_figures().count(),
        "here": request.get_full_path(),
    }
    return render_page(request, "billing/worklist.html", context, filters=filters)


@require_GET
def worklist_count(request: HttpRequest) -> HttpResponse:
    """Return the number beside the navigation."""
    count = queries.count_to_decide(timezone.now())
    context = {"count": count, "most": queries.MOST_COUNTED}
    return HttpResponse(render_to_string("billing/_worklist_count.html", context).strip())  # empty, it is hidden


@require_GET
def worklist_recalculated(request: HttpRequest) -> HttpResponse:
    """Return the fragment that polls until every figure follows the stored decisions."""
    return render(request, "billing/_recalculated.html", {"waiting": postponed.waiting_figures().count()})


@require_GET
def worklist_decided(request: HttpRequest) -> HttpResponse:
    filters = DecidedFilters(request.GET)
    page, rows = queries.decided(filters)
    context = {"filters": filters, "page": page, "rows": rows}
    return render_page(request, "billing/worklist_decided.html", context, filters=filters)


@require_POST
def worklist_owner(request: HttpRequest) -> HttpResponse:
    """Take a row of the list, release it, or assign it to a colleague."""
    kind, key = _row_or_404(request.POST.get("row", ""))
    owner = _owner_or_404(request)
    head = Anomaly.objects.filter(pk=key if kind == "anomaly" else 0).first()
    anomalies = decisions.of_cause(head) if head else Anomaly.objects.none()
    periods = UsagePeriod.objects.filter(pk=key if kind == "figure" else 0)
    command = command_of(request, now=database_now())
    try:
        if not decisions.assign_decisions(command, owner=owner, anomalies=anomalies, periods=periods):
            messages.info(request, _("This was decided in the meantime."))
        elif owner and owner != command.person:
            messages.success(request, _("Assigned to %(name)s.") % {"name": owner.name})
    except Refusal as refusal:
        messages.error(request, str(refusal))
    return go_to(request, own_path_or_none(request.POST.get("next", "")) or reverse("billing:worklist"))


def _owner_or_404(request: HttpRequest) -> User | None:
    act = request.POST.get("act")
    if act != "assign":
        return None if act == "release" else person(request)
    chosen = request.POST.get("owner", "")
    return get_object_or_404(User, public_id=uuid_or_none(chosen)) if chosen else None


def _row_or_404(text: str) -> tuple[str, int]:
    match = _ROW.fullmatch(text)
    if match is None:
        raise Http404
    return match[1], int(match[2])


@require_http_methods(["GET", "POST"])
def anomaly_decide(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Decide one anomaly, or all of its cause. `?alone=1`: only this one."""
    head = _anomaly_or_404(public_id)
    same = decisions.of_cause(head)
    if request.GET.get("alone") and not head.pooled_id:
        same = same.filter(pk=head.pk)
    found = list(same)
    verdicts = decisions.verdicts_of(found)
    form = DecisionForm(verdicts, request.POST or None)
    if request.method == "POST":
        if not found:
            return _overtaken(request, form, head)
        if form.is_valid():
            try:
                count = decisions.decide_anomalies(
                    command_of(request, form, now=database_now()),
                    anomalies=found,
                    verdict=form.cleaned_data["verdict"],
                    seen=form.cleaned_data["seen"],
                )
            except AlreadyDecided:
                return _overtaken(request, form, head)
            except Refusal as refusal:
                add_refusal(form, refusal)
            else:
                done = _("%(n)d values decided together.") % {"n": count} if count > 1 else _("Decision saved.")
                messages.success(request, done + _later())
                return _back(request)
    return _anomaly_page(request, head, found, form, verdicts, same=decisions.state_of(same))


def _anomaly_page(
    request: HttpRequest,
    head: Anomaly,
    found: Sequence[Anomaly],
    form: DecisionForm,
    verdicts: Sequence[Verdict],
    *,
    same: str,
) -> HttpResponse:
    now, with_cost = timezone.now(), person(request).may(Permission.VIEW_COST)
    last = head.decisions.select_related("by").last() if not found else None
    about = found or (decisions.decided_with(last) if last else [])
    accounts = {each.account_id: each for each in about if each.account_id}
    shown = list(accounts.values())[: consequences.ACCOUNTS_SHOWN]
    prefetch_related_objects(shown, "account__customer")
    context = {
        "head": head,
        "kinds": sorted({str(each.get_kind_display()) for each in about} or {str(head.get_kind_display())}),
        "accounts": len(accounts),
        "shown": [(each, _worded(each, with_cost)) for each in shown],
        "more": max(0, len(accounts) - consequences.ACCOUNTS_SHOWN),
        "form": form,
        "choices": consequences.anomaly_choices_of(found, verdicts, with_cost=with_cost, now=now),
        "seen": same,
        "readings": _readings(head) if len(accounts) <= 1 else [],
        "reports": consequences.reports_around(head),
        "last": last,
        "with_cost": with_cost,
        "is_open": bool(found),
        **_assignment(request, f"anomaly-{head.pk}", head.owner),
        "here": request.get_full_path(),
    }
    return render_page(request, "billing/anomaly.html", context, status=422 if request.method == "POST" else 200)


def _later() -> str:
    """Return what to add to the message about a decision while figures don't follow it yet. One report may be about
    very many figures, so the number of decided values doesn't tell."""
    waits = postponed.waiting_figures().exists()
    return " " + _("The figures are recalculated now. This takes some minutes.") if waits else ""


def _assignment(request: HttpRequest, row: str, owner: User | None) -> dict[str, Any]:
    """Return what the form needs that assigns a row to a colleague."""
    able = people_who_may(Permission.ACCEPT_USAGE).order_by("name", "pk")
    return {"row": row, "owner": owner, "colleagues": able, "next": _opened_on(request)}


def _opened_on(request: HttpRequest) -> str:
    """Return the page on which a dialog was opened, with its filters; "" without htmx."""
    htmx: Any = getattr(request, "htmx", None)
    return own_path_or_none((htmx and htmx.current_url_abs_path) or "") or ""


def _readings(head: Anomaly) -> list[consequences.ReadingLine]:
    return consequences.readings_around(head.period, head.snapshot) if head.period and head.snapshot else []


def _worded(anomaly: Anomaly, with_cost: bool) -> bool:
    """Return whether the contradicting values may be shown: not the cost to roles that may not see it."""
    return with_cost or anomaly.kind != Anomaly.Kind.COST_FELL


@require_http_methods(["GET", "POST"])
def anomaly_undo(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Take the last decision about an anomaly back, for all that were decided together."""
    head = _anomaly_or_404(public_id)
    last = head.decisions.select_related("by").last()
    form = UndoForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            decisions.undo_decision(command_of(request, form, now=database_now()), anomaly=head)
        except AlreadyDecided:
            return _overtaken(request, form, head)
        except Refusal as refusal:
            add_refusal(form, refusal)
        else:
            messages.success(request, _("Decision undone. It has to be decided again.") + _later())
            return _back(request)
    together = Decision.objects.filter(batch=last.batch, anomaly__isnull=False).count() if last else 0
    context = {"form": form, "last": last, "account": head.account, "head": head, "together": together}
    return _undo_page(request, context, last)


@require_http_methods(["GET", "POST"])
def figure_decide(request: HttpRequest, public_id: uuid.UUID, start: str) -> HttpResponse:
    """Decide on a figure that no reading will make exact."""
    account = account_or_404(public_id)
    period, now = _period_or_404(account, start), timezone.now()
    verdicts = decisions.figure_verdicts_of(period, now=now)
    form = DecisionForm(verdicts, request.POST or None)
    if request.method == "POST":
        if not verdicts:
            return _overtaken_figure(request, form, period)
        if form.is_valid():
            seen = form.cleaned_data["seen"]
            try:
                decisions.decide_figure(
                    command_of(request, form, now=database_now()),
                    period=period,
                    seen_version=int(seen) if seen.isascii() and seen.isdigit() else -1,
                    verdict=form.cleaned_data["verdict"],
                    quantity=form.cleaned_data["quantity"],
                )
            except AlreadyDecided as refusal:
                period = _period_or_404(account, start)
                if _was_decided(period):
                    return _overtaken_figure(request, form, period)
                add_refusal(form, refusal)
            except Refusal as refusal:
                add_refusal(form, refusal)
            else:
                messages.success(request, _("Decision saved."))
                return _back(request)
    with_cost = person(request).may(Permission.VIEW_COST)
    context = {
        "account": account,
        "period": period,
        "name": consequences.period_text(period),
        "figure": consequences.figure_words(period),
        "why": labels.reason(period.reason),
        "form": form,
        "choices": consequences.figure_choices_of(period, verdicts, with_cost=with_cost, now=now),
        "seen": period.version,
        "readings": consequences.readings_around(period, None),
        "last": decisions.last_decision_about(period),
        "with_cost": with_cost,
        "is_over": period.ends_at <= now,
        **_assignment(request, f"figure-{period.pk}", period.owner),
        "here": request.get_full_path(),
    }
    return render_page(request, "billing/anomaly_figure.html", context, status=422 if request.method == "POST" else 200)


@require_http_methods(["GET", "POST"])
def figure_undo(request: HttpRequest, public_id: uuid.UUID, start: str) -> HttpResponse:
    account = account_or_404(public_id)
    period = _period_or_404(account, start)
    last, form = decisions.last_decision_about(period), UndoForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            decisions.decide_figure(
                command_of(request, form, now=database_now()),
                period=period,
                seen_version=period.version,
                verdict=Verdict.UNDONE,
            )
        except AlreadyDecided:
            return _overtaken_figure(request, form, period)
        messages.success(request, _("Decision undone. It has to be decided again."))
        return _back(request)
    return _undo_page(request, {"form": form, "last": last, "account": account, "period": period, "together": 1}, last)


def _undo_page(request: HttpRequest, context: dict[str, Any], last: Decision | None) -> HttpResponse:
    if last is None:
        raise Http404
    context |= {"is_undone": last.verdict == Verdict.UNDONE, "here": request.get_full_path()}
    return render_page(request, "billing/anomaly_undo.html", context, status=422 if request.method == "POST" else 200)


def _anomaly_or_404(public_id: uuid.UUID) -> Anomaly:
    rows = Anomaly.objects.select_related("account__customer", "connection", "period__account", "snapshot", "pooled")
    return get_object_or_404(rows, public_id=public_id)


def _period_or_404(account: Account, start: str) -> UsagePeriod:
    day: date | None = day_or_none(start)
    return get_object_or_404(UsagePeriod.objects.select_related("account__customer"), account=account, start_on=day)


def _back(request: HttpRequest) -> HttpResponse:
    """Return to the page that the dialog was opened on, else to the list."""
    return go_to(request, _opened_on(request) or "billing:worklist")


def _was_decided(period: UsagePeriod) -> bool:
    """Return whether the figure is as it is because someone decided, not because of a new reading."""
    last = decisions.last_decision_about(period)
    return last is not None and last.batch == period.batch


def _overtaken(request: HttpRequest, form: DecisionForm | UndoForm, head: Anomaly) -> HttpResponse:
    last = head.decisions.last()
    return _overtaken_page(request, form, head.account or head.connection, last, account=head.account)


def _overtaken_figure(request: HttpRequest, form: DecisionForm | UndoForm, period: UsagePeriod) -> HttpResponse:
    last = decisions.last_decision_about(period)
    return _overtaken_page(request, form, period.account, last, account=period.account)


def _overtaken_page(
    request: HttpRequest, form: DecisionForm | UndoForm, row: Any, last: Decision | None, *, account: Account | None
) -> HttpResponse:
    """Tell who decided first, what and when, and show what was typed for this decision."""
    typed = overtaken_decision(form, row, seen="").typed
    events = AuditEvent.objects.filter(verb="usage.decided", object_id=row.public_id).order_by("-id")
    event = events.filter(after__ledger_batch=last.batch).first() if last else None
    first = replace(entry_of(event), title=str(last.get_verdict_display())) if event and last else None
    context = {"overtaken": OvertakenDecision(first, typed), "account": account, "row": row}
    return render_page(request, "billing/anomaly_overtaken.html", context, status=422)
