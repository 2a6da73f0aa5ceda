"""One figure with everything known about it: the side panel of the report, and a page without JavaScript."""

from __future__ import annotations

import uuid

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.decorators.http import require_GET

from billing import labels
from billing.models import Anomaly, FigureVersion, UsagePeriod
from billing.money import trimmed_or_none
from billing.reports.ceiling import hours_to_ceiling
from customers.connections.catalogue import offering_label
from portal.access.permissions import Permission
from portal.htmx import person, render_page
from portal.providers import UsageSource
from portal.query_params import day_or_none
from portal.ui.bar import use_bar_of

VERSIONS_SHOWN = 12


@require_GET
def figure_details(request: HttpRequest, public_id: uuid.UUID, start: str) -> HttpResponse:
    start_on = day_or_none(start)
    if start_on is None:
        raise Http404
    found = UsagePeriod.objects.select_related("account__customer", "account__connection", "current")
    period = get_object_or_404(found, account__public_id=public_id, start_on=start_on)
    account = period.account
    source = period.current.source if period.current else ""
    hours = hours_to_ceiling(UsagePeriod.objects.filter(pk=period.pk), now=timezone.now())
    versions = FigureVersion.objects.filter(period=period).order_by("-n")[:VERSIONS_SHOWN]
    context = {
        "period": period,
        "account": account,
        "customer": account.customer,
        "connection": account.connection,
        "reason": labels.reason(period.reason) or labels.STATUSES[period.status].sentence,
        "package": offering_label(period.package) if period.package else "",
        "packaged": account.connection.capabilities.offerings,
        "no_cap": period.allowed is None and (account.settings or {}).get("monthly_cap") == 0,
        "is_pooled": source == UsageSource.POOLED,
        "source": labels.source(source),
        "percent": _percent(period),
        "hours": hours.get(period.pk),
        "anomalies": Anomaly.objects.filter(period=period, closed_at=None).count(),
        "versions": [(each, labels.cause(each.cause)) for each in versions],
    }
    if person(request).may(Permission.VIEW_COST):
        context["share"] = trimmed_or_none(period.allocated_cost)
    return render_page(request, "billing/figure.html", context)


def _percent(period: UsagePeriod) -> tuple[int, int | None] | None:
    """Return least and most usage in percent of the quota; None where that makes no sense."""
    if period.used is None or not period.allowed:
        return None
    most = period.high if period.is_over else period.used
    least = use_bar_of(period.used, period.allowed).percent
    return least, None if most is None else use_bar_of(most, period.allowed).percent
