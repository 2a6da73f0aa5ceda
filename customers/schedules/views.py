"""Views of the scheduled changes and holds."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms as django_forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from customers.models import Account, Hold, Schedule
from customers.operations.commands import UnableToAsk
from customers.operations.submissions import earlier_submission
from customers.operations.view_helpers import account_or_404, add_refusal, say_repeated
from customers.schedules import commands, holds, queries
from customers.schedules.forms import HoldForm, ReleaseForm, ScheduleForm, start_of
from portal.audit.queries import last_change
from portal.formats import moment_text
from portal.htmx import go_to, is_fragment, new_token, person


@require_GET
def coming(request: HttpRequest) -> HttpResponse:
    found = queries.agenda(request.GET.dict(), now=timezone.now())
    template = "customers/schedules/_agenda.html" if is_fragment(request) else "customers/schedules/coming.html"
    return render(request, template, {"found": found, "page": found.page, "zone": timezone.get_current_timezone_name()})


@require_http_methods(["GET", "POST"])
def schedule_new(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    account, now = account_or_404(public_id), timezone.now()
    form = ScheduleForm(account, request.POST or None, now=now, initial={"client_token": new_token()})
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        try:
            made = commands.schedule_change(
                actor=person(request), account=account, kind=said["kind"], due_at=said["due_at"], reason=said["reason"],
                client_token=said["client_token"], offerings=form.offerings(), now=now, request=request,
            )  # fmt: skip
        except UnableToAsk as refusal:
            _refuse(form, refusal)
        else:
            _say(request, made)
            return go_to(request, "customers:account", account.public_id)
    return _page(request, "schedule", account, form)


@require_http_methods(["GET", "POST"])
def schedule_edit(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    schedule, now = _schedule_or_404(public_id), timezone.now()
    account = schedule.account
    if schedule.state != Schedule.State.WAITING:
        messages.info(request, _("Its time has come already."))
        return go_to(request, "customers:account", account.public_id)
    start = start_of(schedule) | {"client_token": new_token()}
    form = ScheduleForm(account, request.POST or None, now=now, schedule=schedule, initial=start)
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        try:
            made = commands.edit_schedule(
                actor=person(request), schedule=schedule, version=said["version"] or 0, due_at=said["due_at"],
                reason=said["reason"], offerings=form.offerings(), now=now, request=request,
            )  # fmt: skip
        except commands.EditedMeanwhile:
            schedule = _schedule_or_404(public_id)
            fresh = ScheduleForm(schedule.account, now=now, schedule=schedule, initial=start_of(schedule))
            form.show_all(fresh, last=last_change(schedule, ("due", "what")))
        except UnableToAsk as refusal:
            _refuse(form, refusal)
        else:
            _say(request, made)
            return go_to(request, "customers:account", account.public_id)
    return _page(request, "schedule", account, form, schedule=schedule)


@require_POST
def schedule_cancel(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    schedule = _schedule_or_404(public_id)
    try:
        commands.cancel_schedule(actor=person(request), schedule=schedule, now=timezone.now(), request=request)
    except UnableToAsk as refusal:
        messages.warning(request, str(refusal))
    else:
        messages.success(request, _("It is off the calendar."))
    return go_to(request, "customers:account", schedule.account.public_id)


@require_http_methods(["GET", "POST"])
def hold_place(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    account = account_or_404(public_id)
    form = HoldForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            hold = holds.place_hold(
                actor=person(request), account=account, reason=form.cleaned_data["reason"], until=form.until(),
                now=timezone.now(), request=request,
            )  # fmt: skip
        except UnableToAsk as refusal:
            _refuse(form, refusal)
        else:
            messages.success(request, _("The account is held: nothing suspends it by itself or in bulk."))
            if hold.cancelled:
                codes = ", ".join(each.code for each in hold.cancelled)
                messages.info(
                    request, _("Cancelled, since it was to suspend the account: %(codes)s.") % {"codes": codes}
                )
            return go_to(request, "customers:account", account.public_id)
    return _page(request, "hold", account, form)


@require_http_methods(["GET", "POST"])
def hold_release(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    rows = Hold.objects.select_related("owner", "account__customer", "account__connection")
    hold = get_object_or_404(rows, public_id=public_id)
    form = ReleaseForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            holds.release(
                actor=person(request), hold=hold, reason=form.cleaned_data["reason"], now=timezone.now(),
                request=request,
            )  # fmt: skip
        except UnableToAsk as refusal:
            _refuse(form, refusal)
        else:
            messages.success(request, _("The hold is released."))
            return go_to(request, "customers:account", hold.account.public_id)
    return _page(request, "release", hold.account, form, hold=hold)


def _page(request: HttpRequest, name: str, account: Account, form: django_forms.Form, **more: Any) -> HttpResponse:
    """Render a form as a page of its own, or in the dialog for htmx."""
    context = {
        "form": form, "account": account, "customer": account.customer, "connection": account.connection,
        "here": request.get_full_path(), "zone": timezone.get_current_timezone_name(), **more,
    }  # fmt: skip
    template = f"customers/schedules/_{name}.html" if is_fragment(request) else f"customers/schedules/{name}.html"
    conflict = getattr(form, "conflicting", False) and not is_fragment(request)
    return render(request, template, context, status=409 if conflict else 422 if request.method == "POST" else 200)


def _refuse(form: django_forms.Form, refusal: UnableToAsk) -> None:
    add_refusal(form, refusal, field={"until": "last_on"}.get(refusal.field, ""))


def _say(request: HttpRequest, schedule: Schedule) -> None:
    if earlier_submission(schedule):
        say_repeated(request, schedule)
        return
    messages.success(request, _("On the calendar for %(when)s.") % {"when": moment_text(schedule.due_at)})


def _schedule_or_404(public_id: uuid.UUID) -> Schedule:
    rows = Schedule.objects.select_related("account__customer", "account__connection")
    return get_object_or_404(rows, public_id=public_id)
