"""Views of one account's usage: its own page, and the panel on the account page."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from billing import labels
from billing.models import UsagePeriod
from billing.money import trimmed_or_none
from billing.reports.account_usage import AccountUsage
from billing.reports.account_usage import usage_of_account as usage_of
from billing.reports.calibration import calibration_on
from billing.reports.filters import PeriodFilters
from billing.reports.pool import note_of
from billing.usage.due_runs import next_nightly
from customers.accounts.views import account_head
from customers.models import Account
from customers.operations.view_helpers import account_or_404
from portal.access.permissions import Permission
from portal.htmx import person, render_page


@require_GET
def account_usage(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    return _page(request, account_or_404(public_id))


@require_GET
def account_usage_panel(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Return the current billing period as a fragment for the account page."""
    account = account_or_404(public_id)
    usage = usage_of(account, now=timezone.now())
    return render(request, "billing/_account_usage_panel.html", _context(account, usage) | {"in_panel": True})


def _page(request: HttpRequest, account: Account) -> HttpResponse:
    filters = PeriodFilters(request.GET)
    usage = usage_of(account, now=timezone.now(), start_on=filters.cycle or None)
    if filters.cycle and usage.cycle is None:
        filters.refuse("cycle")
    if filters.lists_nothing:
        usage = replace(usage, cycle=None)
    context = account_head(account.public_id) | _context(account, usage)
    context |= {"filters": filters, "calibration": calibration_on(account, on=context["now"].astimezone(UTC).date())}
    if person(request).may(Permission.VIEW_COST) and any(period.allocated_cost is not None for period in usage.periods):
        context |= {"with_shares": True, "note": note_of(account.connection_id)}
    page = "billing/account_usage.html"
    return render_page(request, page, context, part=page, filters=filters)


def _reason(period: UsagePeriod) -> str:
    return labels.reason(period.reason) or str(labels.STATUSES[period.status].sentence)


def _context(account: Account, usage: AccountUsage) -> dict[str, Any]:
    now = timezone.now()
    cycle = usage.cycle
    return {
        "account": account,
        "usage": usage,
        "cycle": cycle,
        "source": labels.source(cycle.period.current.source) if cycle and cycle.period.current else "",
        "reason": _reason(cycle.period) if cycle else "",
        # Providers report the current period only.
        "next_at": next_nightly(now) if cycle and cycle.period.ends_at > now else None,
        "now": now,
        "packaged": account.connection.capabilities.offerings,
        "no_cap": (account.settings or {}).get("monthly_cap") == 0,
        "lines": [
            (period, labels.reason(period.reason), trimmed_or_none(period.allocated_cost)) for period in usage.periods
        ],
    }
