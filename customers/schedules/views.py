"""Views of the scheduled changes and holds."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms as django_forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from customers.models import Account, Hold, Schedule
from customers.operations.view_helpers import account_or_404, add_refusal, refusals_on, refusals_told, say_repeated
from customers.schedules import commands, holds, queries
from customers.schedules.forms import HoldForm, ReleaseForm, ScheduleForm, start_of
from portal.audit.queries import last_change
from portal.formats import moment_text
from portal.htmx import command_of, go_to, is_fragment, render_page
from portal.refusals import Refusal


@require_GET
def coming(request: HttpRequest) -> HttpResponse:
    found = queries.agenda(request.GET.dict(), now=timezone.now())
    return render_page(
        request,
        "customers/schedules/coming.html",
        {"found": found, "page": found["page"], "zone": timezone.get_current_timezone_name()},
        part="customers/schedules/_agenda.html",
        filters=found["filters"],
    )


@require_http_methods(["GET", "POST"])
def schedule_new(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    account, now = account_or_404(public_id), timezone.now()
    form = ScheduleForm(account, request.POST or None, now=now)
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        with refusals_on(form):
            made = commands.schedule_change(
                command_of(request, form, now=now),
                account=account,
                kind=said["kind"],
                due_at=said["due_at"],
                offerings=form.offerings(),
            )
            _say(request, made)
            return go_to(request, "customers:account", account.public_id)
    return _page(request, "schedule", account, form)


@require_http_methods(["GET", "POST"])
def schedule_edit(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    schedule, now = _schedule_or_404(public_id), timezone.now()
    account = schedule.account
    if schedule.state != Schedule.State.WAITING:
        messages.info(request, _("This scheduled change has already run or was canceled."))
        return go_to(request, "customers:account", account.public_id)
    start = start_of(schedule)
    form = ScheduleForm(account, request.POST or None, now=now, schedule=schedule, initial=start)
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        try:
            made = commands.edit_schedule(
                command_of(request, form, now=now),
                schedule=schedule,
                version=said["version"] or 0,
                due_at=said["due_at"],
                offerings=form.offerings(),
            )
        except commands.EditedMeanwhile:
            schedule = _schedule_or_404(public_id)
            fresh = ScheduleForm(schedule.account, now=now, schedule=schedule, initial=start_of(schedule))
            form.show_all(fresh, last=last_change(schedule, ("due", "what")))
        except Refusal as refusal:
            add_refusal(form, refusal)
        else:
            _say(request, made)
            return go_to(request, "customers:account", account.public_id)
    return _page(request, "schedule", account, form, schedule=schedule)


@require_POST
def schedule_cancel(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    schedule = _schedule_or_404(public_id)
    with refusals_told(request):
        commands.cancel_schedule(command_of(request), schedule=schedule)
        messages.success(request, _("Scheduled change canceled."))
    return go_to(request, "customers:account", schedule.account.public_id)


@require_http_methods(["GET", "POST"])
def hold_place(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    account = account_or_404(public_id)
    form = HoldForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with refusals_on(form, fields={"until": "last_on"}):
            hold = holds.place_hold(
                command_of(request, form),
                account=account,
                until=form.until(),
            )
            messages.success(
                request, _("The account is marked “Do not suspend”. Scheduled and bulk changes won't suspend it.")
            )
            if hold.cancelled:
                codes = ", ".join(each.code for each in hold.cancelled)
                messages.info(request, _("Pending suspensions canceled: %(codes)s.") % {"codes": codes})
            return go_to(request, "customers:account", account.public_id)
    return _page(request, "hold", account, form)


@require_http_methods(["GET", "POST"])
def hold_release(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    rows = Hold.objects.select_related("owner", "account__customer", "account__connection")
    hold = get_object_or_404(rows, public_id=public_id)
    form = ReleaseForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with refusals_on(form):
            holds.release(command_of(request, form), hold=hold)
            messages.success(
                request, _("“Do not suspend” removed. Scheduled and bulk changes can suspend the account again.")
            )
            return go_to(request, "customers:account", hold.account.public_id)
    return _page(request, "release", hold.account, form, hold=hold)


def _page(request: HttpRequest, name: str, account: Account, form: django_forms.Form, **more: Any) -> HttpResponse:
    """Render a form as a page of its own, or in the dialog for htmx."""
    context = {
        "form": form,
        "account": account,
        "customer": account.customer,
        "connection": account.connection,
        "here": request.get_full_path(),
        "zone": timezone.get_current_timezone_name(),
        **more,
    }
    conflict = getattr(form, "conflicting", False) and not is_fragment(request)
    status = 409 if conflict else 422 if request.method == "POST" else 200
    return render_page(request, f"customers/schedules/{name}.html", context, status=status)


def _say(request: HttpRequest, schedule: Schedule) -> None:
    done = _("Scheduled for %(when)s.") % {"when": moment_text(schedule.due_at)}
    say_repeated(request, schedule, done=done)


def _schedule_or_404(public_id: uuid.UUID) -> Schedule:
    rows = Schedule.objects.select_related("account__customer", "account__connection")
    return get_object_or_404(rows, public_id=public_id)
