"""Views of bulk changes: select, preview, submit or approve, and follow the progress."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from customers.bulk import commands, queries
from customers.bulk.forms import BulkChangeForm, RefuseForm
from customers.bulk.plan import OF_KEYS
from customers.directory.filters import CustomerFilters
from customers.directory.list import Lines
from customers.models import Account, ChangeSet
from customers.operations.view_helpers import refusals_on, say_repeated
from portal.access import reauth
from portal.audit.overtaken import OvertakenDecision, overtaken_decision
from portal.downloads import recorded_download, table
from portal.htmx import command_of, go_to, new_token, person, render_page
from portal.query_params import uuid_or_none
from portal.refusals import Refusal


@require_GET
def bulk_list(request: HttpRequest) -> HttpResponse:
    page, sets = queries.set_list(request.GET.get("page", ""))
    return render(request, "customers/bulk/list.html", {"page": page, "sets": sets})


@require_http_methods(["GET", "POST"])
def bulk_new(request: HttpRequest) -> HttpResponse:
    """Start a bulk change. GET: all accounts of the list's filter, which is in the URL. POST: those selected
    (`ticked`), and from the second step on the change to make."""
    by_ticks = request.method == "POST" and request.POST.get("by") == "ticks"
    chosen = _ticked(request) if by_ticks else _of_filter(request)
    answers = request.method == "POST" and "client_token" in request.POST
    form = BulkChangeForm(request.POST if answers else None, person=person(request))
    if answers and form.is_valid():
        with refusals_on(form):
            made = commands.plan_bulk_change(
                command_of(request, form),
                kind=form.cleaned_data["kind"],
                wanted=form.wanted(),
                account_ids=chosen,
            )
            say_repeated(request, made)
            return go_to(request, "customers:bulk", made.public_id)
    if not chosen:
        if by_ticks:
            messages.warning(request, _("No accounts selected. Select the accounts to change first."))
        else:
            messages.warning(request, _("No accounts match these filters."))
        filters = request.GET.urlencode()
        return go_to(request, reverse("customers:list") + (f"?{filters}" if filters else ""))
    context = {
        "form": form,
        "count": len(chosen),
        "ticked": request.POST.getlist("ticked"),
        "by": request.POST.get("by", ""),
        "too_many": len(chosen) > commands.MOST,
        "most": commands.MOST,
    }
    return render(request, "customers/bulk/new.html", context, status=422 if answers else 200)


def _ticked(request: HttpRequest) -> list[int]:
    wanted = [found for value in request.POST.getlist("ticked")[: commands.MOST] if (found := uuid_or_none(value))]
    return list(Account.objects.filter(public_id__in=wanted).values_list("pk", flat=True)) if wanted else []


def _of_filter(request: HttpRequest) -> list[int]:
    accounts = Lines(CustomerFilters(request.GET, person(request))).matching.accounts
    return list(accounts.values_list("pk", flat=True)[: commands.MOST + 1])


@require_GET
def bulk_set(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    change_set = _set_or_404(public_id)
    return _page(request, change_set)


def _page(
    request: HttpRequest,
    change_set: ChangeSet,
    *,
    refusal: str = "",
    overtaken: OvertakenDecision | None = None,
    status: int = 200,
) -> HttpResponse:
    now = timezone.now()
    found = queries.set_page(change_set, person(request), asked=request.GET, now=now)
    context = {
        "found": found,
        "set": change_set,
        "page": found.page,
        "token": new_token(),
        "refusal": refusal,
        "overtaken": overtaken,
        "typed": request.POST.get("reason", ""),
        "needs_second": queries.draft_needs_approval(change_set, now=now),
    }
    return render_page(request, "customers/bulk/set.html", context, status=status, filters=found.filters)


def _password_first(request: HttpRequest, change_set: ChangeSet) -> HttpResponse | None:
    """Return the page that asks for the password, where a delete, or a change of keys, needs one entered recently; else
    None."""
    asks = change_set.kind in (ChangeSet.Kind.DELETE, *OF_KEYS)
    return reauth.confirm_first(request, 10) if asks else None


STEPS = {
    "submit": commands.submit_bulk_change,
    "pause": commands.pause_bulk_change,
    "resume": commands.resume_bulk_change,
    "check": commands.check_keys_again,
}
# Steps that lead to a new bulk change.
PLANS = {"again": commands.plan_again, "old": commands.plan_old_keys}


@require_POST
def bulk_act(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Carry out `do`: submit, pause, resume, check, cancel, again or old."""
    change_set, command, do = _set_or_404(public_id), command_of(request), request.POST.get("do", "")
    if do in ("submit", "again", "old", "resume") and (asked := _password_first(request, change_set)):
        return asked
    try:
        match do:
            case "cancel":
                taken_back, begun = commands.cancel_bulk_change(command, change_set=change_set)
                words = _("Bulk change canceled. Operations canceled: %(n)d. Already started, will continue: %(m)d.")
                messages.success(request, words % {"n": taken_back, "m": begun})
            case _ if plan := PLANS.get(do):
                change_set = plan(command, change_set=change_set)
                say_repeated(request, change_set)
            case _ if step := STEPS.get(do):
                step(command, change_set=change_set)
            case _:
                raise Http404
    except Refusal as refusal:
        return _page(request, change_set, refusal=str(refusal), status=422)
    return go_to(request, "customers:bulk", change_set.public_id)


@require_POST
def bulk_cancel(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Cancel the user's own request, also where their role can't make bulk changes."""
    change_set = _set_or_404(public_id)
    try:
        commands.cancel_request(command_of(request), change_set=change_set)
    except Refusal as refusal:
        return _page(request, _set_or_404(public_id), refusal=str(refusal), status=422)
    messages.success(request, _("Request canceled. Nothing was changed."))
    return go_to(request, "customers:bulk", change_set.public_id)


@require_POST
def bulk_decide(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Decide as the approver: `do` is approve (with the hash of the plan that was shown) or refuse (with a reason)."""
    change_set, command, do = _set_or_404(public_id), command_of(request), request.POST.get("do")
    if do == "approve" and (asked := _password_first(request, change_set)):
        return asked
    try:
        if do == "approve":
            seen = request.POST.get("plan", "")
            commands.approve_bulk_change(command, change_set=change_set, plan_hash=seen)
        elif do == "refuse":
            form = RefuseForm(request.POST)
            if not form.is_valid():
                why = " ".join(str(each) for each in form.errors["reason"])
                return _page(request, change_set, refusal=why, status=422)
            commands.reject_bulk_change(command_of(request, form), change_set=change_set)
        else:
            raise Http404
    except Refusal as refusal:
        change_set = _set_or_404(public_id)
        if change_set.state != ChangeSet.State.WAITING:
            late = overtaken_decision(RefuseForm(request.POST), change_set, seen="")
            return _page(request, change_set, overtaken=late, status=409)
        return _page(request, change_set, refusal=str(refusal), status=422)
    return go_to(request, "customers:bulk", change_set.public_id)


@require_GET
def bulk_export(request: HttpRequest, public_id: uuid.UUID) -> HttpResponseBase:
    change_set = _set_or_404(public_id)
    content = table(queries.HEADER, queries.bulk_export_rows(change_set))
    return recorded_download(request, f"change-{change_set.code}.csv", content, verb="bulk.exported", obj=change_set)


def _set_or_404(public_id: uuid.UUID) -> ChangeSet:
    rows = ChangeSet.objects.select_related("requested_by", "approved_by")
    return get_object_or_404(rows, public_id=public_id)
