"""Views of bulk changes: select, preview, submit or approve, and follow the progress."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from customers.bulk import commands, queries
from customers.bulk.forms import BulkChangeForm, RefuseForm
from customers.directory.filters import read_customer_filters
from customers.directory.list import Lines
from customers.models import Account, ChangeSet
from customers.operations.commands import UnableToAsk
from customers.operations.view_helpers import add_refusal, say_repeated
from portal.access import reauth
from portal.exports import csv_response
from portal.htmx import go_to, is_fragment, new_token, person, token_of
from portal.query_params import uuid_or_none


@require_GET
def bulk_list(request: HttpRequest) -> HttpResponse:
    page, sets = queries.set_list(request.GET.get("page", ""))
    return render(request, "customers/bulk/list.html", {"page": page, "sets": sets})


@require_http_methods(["GET", "POST"])
def bulk_new(request: HttpRequest) -> HttpResponse:
    """Start a bulk change. GET: all accounts of the list's filter, which is in the URL. POST: those selected
    (`ticked`), and from the second step on the change to make."""
    ticked = _ticked(request)
    chosen = ticked if request.method == "POST" and request.POST.get("by") == "ticks" else _of_filter(request)
    facts: dict[str, Any] = {"person": person(request), "route_of": commands.route_of}
    answers = request.method == "POST" and "client_token" in request.POST
    form = BulkChangeForm(request.POST if answers else None, initial={"client_token": new_token()}, **facts)
    if answers and form.is_valid():
        try:
            made = commands.plan_bulk_change(
                actor=person(request), kind=form.cleaned_data["kind"], wanted=form.wanted(), account_ids=chosen,
                reason=form.cleaned_data["reason"], client_token=form.cleaned_data["client_token"],
                now=timezone.now(), request=request,
            )  # fmt: skip
        except UnableToAsk as refusal:
            add_refusal(form, refusal)
        else:
            say_repeated(request, made)
            return go_to(request, "customers:bulk", made.public_id)
    if not chosen:
        messages.warning(request, _("No account was chosen."))
        return go_to(request, "customers:list")
    context = {
        "form": form, "count": len(chosen), "ticked": request.POST.getlist("ticked"), "by": request.POST.get("by", ""),
        "too_many": len(chosen) > commands.MOST, "most": commands.MOST,
    }  # fmt: skip
    return render(request, "customers/bulk/new.html", context, status=422 if answers else 200)


def _ticked(request: HttpRequest) -> list[int]:
    wanted = [found for value in request.POST.getlist("ticked")[: commands.MOST] if (found := uuid_or_none(value))]
    return list(Account.objects.filter(public_id__in=wanted).values_list("pk", flat=True)) if wanted else []


def _of_filter(request: HttpRequest) -> list[int]:
    accounts = Lines(read_customer_filters(request.GET, person(request))).matching.accounts
    return list(accounts.values_list("pk", flat=True)[: commands.MOST + 1])


@require_GET
def bulk_set(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    change_set = _set_or_404(public_id)
    return _page(request, change_set)


def _page(request: HttpRequest, change_set: ChangeSet, *, refusal: str = "", status: int = 200) -> HttpResponse:
    found = queries.set_page(
        change_set, person(request), view=request.GET.get("show", ""), number=request.GET.get("page", "")
    )
    waits = commands.needs_approval(change_set.requested_by, change_set.kind, found.total)
    context = {
        "found": found, "set": change_set, "page": found.page, "token": new_token(), "refusal": refusal,
        "typed": request.POST.get("reason", ""), "needs_second": waits,
        "over_the_line": commands.exceeds_limit(change_set.kind, found.total),
    }  # fmt: skip
    template = "customers/bulk/_set.html" if is_fragment(request) else "customers/bulk/set.html"
    return render(request, template, context, status=status)


def _password_first(request: HttpRequest, change_set: ChangeSet) -> HttpResponse | None:
    """Return a redirect to sign in again, where a delete needs a password entered recently; else None."""
    if change_set.kind != ChangeSet.Kind.DELETE or reauth.recent_sign_in(request, 10):
        return None
    return reauth.ask_again(request, reverse("customers:bulk", args=[change_set.public_id]))


@require_POST
def bulk_act(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Carry out `do`: submit, pause, resume, cancel or again."""
    change_set, who, now = _set_or_404(public_id), person(request), timezone.now()
    if request.POST.get("do") in ("submit", "again") and (asked := _password_first(request, change_set)):
        return asked
    try:
        match request.POST.get("do"):
            case "submit":
                commands.submit_bulk_change(actor=who, change_set=change_set, now=now, request=request)
            case "pause":
                commands.pause_bulk_change(actor=who, change_set=change_set, request=request)
            case "resume":
                commands.resume_bulk_change(actor=who, change_set=change_set, now=now, request=request)
            case "cancel":
                taken_back, begun = commands.cancel_bulk_change(
                    actor=who, change_set=change_set, now=now, request=request
                )
                words = _("Cancelled. %(n)d operations were taken back, %(m)d had begun and go on.")
                messages.success(request, words % {"n": taken_back, "m": begun})
            case "again":
                again = commands.plan_again(
                    actor=who, change_set=change_set, client_token=token_of(request), now=now, request=request
                )
                say_repeated(request, again)
                return go_to(request, "customers:bulk", again.public_id)
            case _:
                raise Http404
    except UnableToAsk as refusal:
        return _page(request, change_set, refusal=str(refusal), status=422)
    return go_to(request, "customers:bulk", change_set.public_id)


@require_POST
def bulk_decide(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Decide as the approver: `do` is approve (with the hash of the plan that was shown) or refuse (with a reason)."""
    change_set, who, now = _set_or_404(public_id), person(request), timezone.now()
    if request.POST.get("do") == "approve" and (asked := _password_first(request, change_set)):
        return asked
    try:
        if request.POST.get("do") == "approve":
            seen = request.POST.get("plan", "")
            commands.approve_bulk_change(actor=who, change_set=change_set, plan_hash=seen, now=now, request=request)
        elif request.POST.get("do") == "refuse":
            form = RefuseForm(request.POST)
            if not form.is_valid():
                why = " ".join(str(each) for each in form.errors["reason"])
                return _page(request, change_set, refusal=why, status=422)
            reason = form.cleaned_data["reason"]
            commands.reject_bulk_change(actor=who, change_set=change_set, reason=reason, now=now, request=request)
        else:
            raise Http404
    except UnableToAsk as refusal:
        return _page(request, change_set, refusal=str(refusal), status=422)
    return go_to(request, "customers:bulk", change_set.public_id)


@require_GET
def bulk_export(request: HttpRequest, public_id: uuid.UUID) -> HttpResponseBase:
    change_set = _set_or_404(public_id)
    return csv_response(f"change-{change_set.code}.csv", queries.HEADER, queries.bulk_export_rows(change_set))


def _set_or_404(public_id: uuid.UUID) -> ChangeSet:
    rows = ChangeSet.objects.select_related("requested_by", "approved_by")
    return get_object_or_404(rows, public_id=public_id)
