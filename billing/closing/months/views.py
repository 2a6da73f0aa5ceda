"""Views of month close: the months, one month with what blocks it, and closing it."""

from __future__ import annotations

import uuid
from datetime import date
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from billing.closing.blockers import commands
from billing.closing.blockers.kinds import KINDS, blocker_text
from billing.closing.blockers.queries import month_blockers, open_blockers
from billing.closing.months import queries
from billing.closing.months.filters import OWNERS, STATES, BlockerFilters
from billing.closing.months.forms import AcceptForm, AssignBlockersForm, CloseForm
from billing.closing.months.stages import stage_of
from billing.closing.months.up_to_date import bring_up_to_date, checked_at
from billing.closing.runs.commands import is_left, request_close, review_begins
from billing.models import Blocker, MonthClosing
from billing.pricing.statements.numbers import billing_terms
from billing.usage.periods import month_after, month_or_none
from customers.operations.view_helpers import refusals_on, refusals_told
from portal.access.reauth import reauthenticated
from portal.clock import database_now
from portal.edits import status_of
from portal.filters import ListFilters, page_filter
from portal.htmx import command_of, go_to, person, render_page


class ClosingListFilters(ListFilters):
    page = page_filter()


@require_GET
def month_list(request: HttpRequest) -> HttpResponse:
    filters, now = ClosingListFilters(request.GET), timezone.now()
    page = filters.page_of(Paginator(queries.known_months(now=now), queries.MONTHS_A_PAGE))
    context = {"filters": filters, "page": page, "rows": queries.month_rows(list(page), now=now)}
    return render_page(request, "billing/closing/months.html", context, filters=filters)


@require_GET
def month_detail(request: HttpRequest, month: str) -> HttpResponse:
    of, now = _month_or_404(month), timezone.now()
    filters = BlockerFilters(request.GET, month=of, person=person(request))
    bring_up_to_date(of, now=database_now())
    page = queries.blocker_page(filters.ordered(), request.GET.get("page", ""))
    statements = queries.statement_counts(of)
    context = _facts(of, now=now) | {
        "filters": filters,
        "page": page,
        "rows": queries.blocker_rows(page),
        "kinds": KINDS.items(),
        "owners": OWNERS.items(),
        "states": STATES.items(),
        "kept": filters.kept(),
        "here": request.get_full_path(),
        "statements": statements,
        "blocked": statements.open - queries.closing_counts(of).open,
        "connections": queries.invoiced_connections(of),
        "checked_at": checked_at(of),
        "is_left": is_left(of),
    }
    return render_page(request, "billing/closing/month.html", context, filters=filters)


def _facts(month: date, *, now: Any) -> dict[str, Any]:
    """Return what all pages of a month show: its stage, its closings, and how far its blockers are."""
    review_on = review_begins(month, billing_terms())
    closings = list(MonthClosing.objects.filter(month=month).select_related("requested_by").order_by("-n"))
    last = closings[0] if closings else None
    blockers = month_blockers(month)
    return {
        "month": month,
        "stage": stage_of(review_on, last, now=now),
        "review_on": review_on,
        "last": last,
        "closings": [each for each in closings if each.state == MonthClosing.State.CLOSED],
        "blockers": blockers,
        "closed_percent": 100 * last.customers_done // last.customers_total if last and last.customers_total else 0,
        "percent": 100 * blockers.done // blockers.all if blockers.all else 100,
        "before": month_after(month, -1),
        "after": month_after(month),
    }


@require_GET
def month_progress(request: HttpRequest, month: str) -> HttpResponse:
    """Return the fragment that polls until the month is closed."""
    context = _facts(_month_or_404(month), now=timezone.now()) | {"was_closing": True}
    return render(request, "billing/closing/_progress.html", context)


@require_POST
def month_check(request: HttpRequest, month: str) -> HttpResponse:
    """Look again at what blocks the month."""
    of = _month_or_404(month)
    if bring_up_to_date(of, now=database_now(), asked=True):
        messages.success(request, _("Checked. This is what blocks the month now."))
    else:
        messages.info(request, _("The month is checked again now. This takes some minutes."))
    return go_to(request, "billing:month", month)


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=10)
def month_close(request: HttpRequest, month: str) -> HttpResponse:
    of, now = _month_or_404(month), timezone.now()
    form = CloseForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with refusals_on(form):
            request_close(command_of(request, now=database_now()), month=of, note=form.cleaned_data["note"])
            messages.success(request, _("The month is being closed."))
            return go_to(request, "billing:month", month)
    if request.method == "GET":
        bring_up_to_date(of, now=database_now())
    rows = queries.blocker_rows(queries.blocker_page(open_blockers(of).order_by("-weight", "id"), "")[:5])
    facts = _facts(of, now=now)
    context = facts | {
        "form": form,
        "closes": queries.closing_counts(of),
        "connections": queries.invoiced_connections(of),
        "rows": rows,
        "more": facts["blockers"].open - len(rows),
    }
    return render(request, "billing/closing/close.html", context, status=status_of(form))


@require_http_methods(["GET", "POST"])
def blockers_assign(request: HttpRequest, month: str) -> HttpResponse:
    """Set owner and due date of one blocker (`?blocker=`), or of all open ones of a kind (`?kind=`)."""
    of = _month_or_404(month)
    found, kind = open_blockers(of), request.GET.get("kind", "")
    one = None
    if asked := request.GET.get("blocker", ""):
        one = get_object_or_404(Blocker, public_id=_uuid_or_404(asked), month=of)
        found = found.filter(pk=one.pk)
    elif kind in KINDS:
        found = found.filter(kind=kind)
    else:
        raise Http404
    initial = {"owner": one.owner and one.owner.public_id, "due_on": one.due_on} if one else {"owner": None}
    form = AssignBlockersForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        pks = list(found.values_list("pk", flat=True))
        n = commands.assign_blockers(command_of(request, now=database_now()), pks=pks, **form.cleaned_data)
        messages.success(request, ngettext("%(n)d blocker assigned.", "%(n)d blockers assigned.", n) % {"n": n})
        return go_to(request, "billing:month", month)
    context = {
        "form": form,
        "here": request.get_full_path(),
        "month": of,
        "one": one,
        "count": found.count(),
        "text": blocker_text(one.kind if one else kind),
    }
    return render_page(request, "billing/closing/assign.html", context, status=status_of(form))


@require_http_methods(["GET", "POST"])
def blocker_accept(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    blocker = _blocker_or_404(public_id)
    form = AcceptForm(request.POST or None, initial={"seen": blocker.fingerprint})
    if request.method == "POST" and form.is_valid():
        with refusals_on(form):
            commands.accept_blocker(command_of(request, now=database_now()), blocker=blocker, **form.cleaned_data)
            messages.success(request, _("Accepted. It no longer blocks the month."))
            return go_to(request, "billing:month", f"{blocker.month:%Y-%m}")
    context = {
        "form": form,
        "here": request.get_full_path(),
        "each": queries.blocker_rows([blocker])[0],
        "month": blocker.month,
    }
    return render_page(request, "billing/closing/accept.html", context, status=status_of(form))


@require_POST
def blocker_reopen(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    blocker = _blocker_or_404(public_id)
    with refusals_told(request):
        commands.withdraw_acceptance(command_of(request, now=database_now()), blocker=blocker)
        messages.success(request, _("It blocks the month again."))
    return go_to(request, "billing:month", f"{blocker.month:%Y-%m}")


def _blocker_or_404(public_id: uuid.UUID) -> Blocker:
    rows = Blocker.objects.select_related("customer", "connection", "account", "owner", "accepted_by")
    return get_object_or_404(rows, public_id=public_id)


def _uuid_or_404(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise Http404 from None


def _month_or_404(text: str) -> date:
    """Return the month of a URL that has begun. Lists lead to it also where it has no statement."""
    month = month_or_none(text)
    if month is None or month > timezone.now().date():
        raise Http404
    return month
