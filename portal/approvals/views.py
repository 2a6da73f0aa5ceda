"""Views of approvals: requests that wait, one request with its decision, and the rules."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal.access.reauth import reauthenticated
from portal.approvals import commands, queries, rules
from portal.approvals.actions import action_of
from portal.approvals.forms import RejectForm, RuleForm
from portal.approvals.kinds import RULES, ApprovalKind
from portal.approvals.models import Approval
from portal.audit.overtaken import OvertakenDecision, overtaken_decision
from portal.audit.queries import last_change
from portal.edits import EditConflict, status_of
from portal.encryption import DecryptionError
from portal.htmx import command_of, go_to, person
from portal.refusals import Refusal


@require_GET
def approval_list(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    context = {
        "waiting": queries.waiting_rows(person(request), now=now),
        "decided": queries.decided_requests(person(request)),
    }
    return render(request, "approvals/list.html", context)


@require_GET
def approval_detail(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    return _page(request, _approval_or_404(request, public_id))


@require_POST
@reauthenticated(minutes=10)
def approval_decide(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Decide as the approver: `do` is approve (with the hash of the request that was shown) or refuse (with a
    reason)."""
    approval, do = _approval_or_404(request, public_id), request.POST.get("do", "")
    form = RejectForm(request.POST if do == "refuse" else None)
    if do not in ("approve", "refuse"):
        raise Http404
    if do == "refuse" and not form.is_valid():
        return _page(request, approval, form=form, status=422)
    try:
        if do == "refuse":
            commands.reject(command_of(request, form), approval=approval)
            messages.success(request, _("Request rejected. Nothing was changed."))
        else:
            result = commands.approve(command_of(request), approval=approval, seen=request.POST.get("plan", ""))
            messages.success(request, _("Approved and applied."))
            if applied := action_of(approval).applied:
                applied(request, approval, result)
    except (Refusal, DecryptionError) as refusal:
        fresh = _approval_or_404(request, public_id)
        if not fresh.is_waiting:
            late = overtaken_decision(RejectForm(request.POST), fresh, seen="")
            return _page(request, fresh, overtaken=late, status=409)
        return _page(request, fresh, form=form, refusal=str(refusal), status=422)
    return go_to(request, approval.get_absolute_url())


@require_POST
def approval_cancel(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    approval = _approval_or_404(request, public_id)
    try:
        commands.cancel(command_of(request), approval=approval)
    except Refusal as refusal:
        return _page(request, _approval_or_404(request, public_id), refusal=str(refusal), status=422)
    messages.success(request, _("Request canceled. Nothing was changed."))
    return go_to(request, approval.get_absolute_url())


@require_GET
def rule_list(request: HttpRequest) -> HttpResponse:
    return render(request, "approvals/rules.html", {"rows": queries.rule_rows(now=timezone.now())})


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=10)
def rule_edit(request: HttpRequest, kind: str) -> HttpResponse:
    if kind not in RULES:
        raise Http404
    of = ApprovalKind(kind)
    form = _rule_form(of, request)
    if request.method == "POST" and form.is_valid():
        try:
            rule = rules.change_rule(command_of(request), kind=of, facts=form.changed_facts(), seen=form.seen)
        except EditConflict as conflict:
            form.show(conflict, fresh=_rule_form(of), last=last_change(rules.approval_rule(of), conflict.fields))
        except Refusal as refusal:
            form.add_error(refusal.field or None, str(refusal))
        else:
            messages.success(request, _("%(rule)s: saved.") % {"rule": rule})
            return go_to(request, "approvals:rules")
    row = queries.rule_row(rules.approval_rule(of), now=timezone.now())
    return render(request, "approvals/rule.html", {"form": form, "row": row}, status=status_of(form))


def _rule_form(kind: ApprovalKind, request: HttpRequest | None = None) -> RuleForm:
    rule = rules.approval_rule(kind)
    initial = {name: getattr(rule, name) for name in rules.FIELDS}
    return RuleForm(request.POST if request and request.method == "POST" else None, kind=kind, initial=initial)


def _approval_or_404(request: HttpRequest, public_id: uuid.UUID) -> Approval:
    approval = get_object_or_404(Approval.objects.select_related("requested_by", "decided_by"), public_id=public_id)
    if not queries.may_see(person(request), approval):
        raise Http404
    return approval


def _page(
    request: HttpRequest,
    approval: Approval,
    *,
    form: RejectForm | None = None,
    refusal: str = "",
    overtaken: OvertakenDecision | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {
        "found": queries.request_page(approval, person(request), now=timezone.now()),
        "approval": approval,
        "form": form or RejectForm(),
        "refusal": refusal,
        "overtaken": overtaken,
    }
    return render(request, "approvals/detail.html", context, status=status)
