"""Views of one account's usage: its own page, and the panel on the account page."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from billing import labels
from billing.forms import AcceptForm
from billing.money import trimmed_or_none
from billing.reports.account_usage import AccountUsage
from billing.reports.account_usage import usage_of_account as usage_of
from billing.reports.filters import PeriodFilters
from billing.reports.pool import note_of
from billing.usage import accept_lower
from billing.usage.due_runs import next_nightly
from customers.accounts.views import account_head
from customers.models import Account
from customers.operations.view_helpers import account_or_404, refusals_told
from portal.access.permissions import Permission
from portal.htmx import command_of, go_to, person, render_page


@require_GET
def account_usage(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    return _page(request, account_or_404(public_id))


@require_GET
def account_usage_panel(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Return the current billing period as a fragment for the account page."""
    account = account_or_404(public_id)
    usage = usage_of(account, now=timezone.now())
    return render(request, "billing/_account_usage_panel.html", _context(account, usage) | {"in_panel": True})


@require_POST
def account_accept(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Accept lower usage."""
    account = account_or_404(public_id)
    form = AcceptForm(request.POST)
    if not form.is_valid():
        return _page(request, account, form, status=422)
    facts = form.cleaned_data
    with refusals_told(request):
        accept_lower.accept_lower(
            command_of(request, form),
            account=account,
            start_on=facts["start_on"],
            snapshot_id=facts["snapshot"],
        )
    return go_to(request, "billing:account-usage", account.public_id)


def _page(request: HttpRequest, account: Account, form: AcceptForm | None = None, status: int = 200) -> HttpResponse:
    typed = form.data if form is not None and form.is_bound else {}
    filters = PeriodFilters({"cycle": str(typed.get("start_on", ""))} if typed else request.GET)
    usage = usage_of(account, now=timezone.now(), start_on=filters.cycle or None)
    if filters.cycle and usage.cycle is None:
        filters.refuse("cycle")
    if filters.lists_nothing:
        usage = replace(usage, cycle=None)
    context = account_head(account.public_id) | _context(account, usage)
    context |= {"form": form or _accept_form(usage), "filters": filters}
    if person(request).may(Permission.VIEW_COST) and any(period.allocated_cost is not None for period in usage.periods):
        context |= {"with_shares": True, "note": note_of(account.connection_id)}
    page = "billing/account_usage.html"
    return render_page(request, page, context, part=page, status=status, filters=filters)


def _accept_form(usage: AccountUsage) -> AcceptForm | None:
    period = usage.cycle.period if usage.cycle else None
    if period is None or period.held is None:
        return None
    return AcceptForm(initial={"start_on": period.start_on, "snapshot": period.held.pk})


def _context(account: Account, usage: AccountUsage) -> dict[str, Any]:
    now = timezone.now()
    cycle = usage.cycle
    return {
        "account": account,
        "usage": usage,
        "cycle": cycle,
        "source": labels.source(cycle.period.current.source) if cycle else "",
        "next_at": next_nightly(now),
        "now": now,
        "packaged": account.connection.capabilities.offerings,
        "no_cap": (account.settings or {}).get("monthly_cap") == 0,
        "lines": [
            (period, _reach(account, period, now), trimmed_or_none(period.allocated_cost)) for period in usage.periods
        ],
    }


def _reach(account: Account, period: Any, now: Any) -> str:
    if period.final:
        return labels.reach_words("final", period.ends_at - period.read_at)
    if period.ends_at > now and account.state != "deleted":
        return labels.reach_words("open", period.ends_at - period.read_at)
    return labels.reach_words("whole", max(period.ends_at - period.read_at, now - now))
