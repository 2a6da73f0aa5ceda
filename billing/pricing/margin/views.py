"""Views of margin. All of them need the permission to see cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from billing.pricing.margin import idle_accounts, queries
from billing.pricing.margin.queries import MarginRow, MonthMargin
from billing.pricing.statements.filters import months_offered
from billing.usage.periods import month_after, month_or_none, month_words
from customers.connections.catalogue import offering_label
from portal.downloads import recorded_download, table
from portal.exports import refused_export
from portal.filters import Filter, ListFilters, one_of, page_filter, sort_filter
from portal.htmx import render_page
from portal.query_params import searchable

IDLE_REASONS = {"suspended": _("Suspended"), "silent": _("No email")}
GROUPS = {"month": _("By month"), "package": _("By package"), "connection": _("By connection")}
MONTHS = 12
MISSING = {
    queries.REVENUE: _("Revenue isn't exact: a figure, a price or a contract is missing, or usage isn't final."),
    queries.NO_REVENUE: _("No revenue."),
    queries.COST: _("Cost isn't exact: a figure, a cost price or a cost source is missing, or usage isn't final."),
    queries.NO_RATE: _("No exchange rate is stored for the last day of the month."),
    queries.CURRENCIES: _("Revenue and cost are in different currencies, which are converted only per customer."),
}
_REMEMBERED_SECONDS = 3_600


class MarginFilters(ListFilters):
    """The month of the margin pages, by default the one before the current one."""

    month = Filter(_("Month"), month_or_none, words=month_words)
    group = Filter(_("Group"), one_of(GROUPS), words=GROUPS)
    reason = Filter(_("Reason"), one_of(idle_accounts.REASONS), words=IDLE_REASONS)
    q = Filter(_("Search"), lambda text: searchable(text).lower())
    sort = sort_filter(("name",), "name")
    page = page_filter()

    def __init__(self, query: Mapping[str, str], *, now: datetime) -> None:
        self.today: date = now.astimezone(UTC).date()
        super().__init__(query)
        if self.month and self.month > self.latest_month:
            self.refuse("month")
        self.values["month"] = self.month or month_after(self.latest_month, -1)

    @property
    def latest_month(self) -> date:
        return self.today.replace(day=1)


@require_GET
def margin(request: HttpRequest) -> HttpResponse:
    filters = MarginFilters(request.GET, now=timezone.now())
    context = _context(request, filters)
    if not filters.lists_nothing:
        context["total"] = month_margin(filters.month)
        if filters.group == "month":
            context["months_shown"] = [month_margin(each) for each in queries.months_with_statements(MONTHS)]
        elif filters.group:
            context["rows"] = _labelled(queries.grouped_rows(filters.month, filters.group), filters.group)
        else:
            page, rows = queries.customer_margin_page(
                filters.month, q=filters.q, sort=filters.sort, number=request.GET.get("page", "")
            )
            customers = {each.pk: each for each in page}
            context |= {"page": page, "rows": [(row, customers[row.key]) for row in rows]}
    return render_page(request, "billing/margin/margin.html", context, filters=filters)


@require_GET
def idle(request: HttpRequest) -> HttpResponse:
    """Show accounts that cost money without use."""
    filters = MarginFilters(request.GET, now=timezone.now())
    context = _context(request, filters)
    if not filters.lists_nothing:
        page, rows = idle_accounts.idle_page(
            filters.month, reason=filters.reason, q=filters.q, number=request.GET.get("page", "")
        )
        context |= {
            "page": page,
            "rows": [(row, IDLE_REASONS[row.reason]) for row in rows],
            "reasons": IDLE_REASONS.items(),
        }
    return render_page(request, "billing/margin/idle.html", context, filters=filters)


def _context(request: HttpRequest, filters: MarginFilters) -> dict[str, Any]:
    return {
        "filters": filters,
        "months": months_offered(filters, request.GET),
        "groups": GROUPS,
        "kept": filters.kept(),
        "export_query": request.GET.urlencode(),
        "reasons_missing": MISSING,
    }


def _labelled(rows: Sequence[MarginRow], group: str) -> list[MarginRow]:
    for row in rows if group == "package" else ():
        row.label = offering_label(row.label) if row.label else ""
    return list(rows)


def month_margin(month: date) -> MonthMargin:
    """Return a month's margin. It takes a second for 100,000 accounts, so it is remembered until a statement or an
    exchange rate changes."""
    key, stamp = f"billing.margin.{month}", queries.month_stamp(month)
    known = cache.get(key)
    if known and known[0] == stamp:
        return known[1]  # type: ignore[no-any-return]  # a cache has no types
    found = queries.CustomerMargins(month).total()
    cache.set(key, (stamp, found), _REMEMBERED_SECONDS)
    return found


HEADER = (
    "month", "customer", "external reference", "revenue", "revenue currency", "cost", "cost currency", "margin",
    "margin currency", "missing",
)  # fmt: skip
IDLE_HEADER = ("month", "customer", "account", "connection", "reason", "days", "of days", "cost", "currency")


@require_GET
def margin_export(request: HttpRequest) -> HttpResponseBase:
    filters = MarginFilters(request.GET, now=timezone.now())
    if filters.lists_nothing:
        return refused_export(filters)
    name = f"margin-{filters.month:%Y-%m}.csv"
    return recorded_download(request, name, table(HEADER, _rows(filters)), verb="margin.exported", filters=filters)


def _rows(filters: MarginFilters) -> Iterator[Sequence[Any]]:
    for customer, row in queries.all_customers(filters.month, q=filters.q):
        for n in range(max(len(row.revenue), len(row.cost), 1)):
            revenue = row.revenue[n] if n < len(row.revenue) else None
            cost = row.cost[n] if n < len(row.cost) else None
            margins = (row.margin_value, row.currency) if n == 0 else (None, "")
            yield [
                f"{filters.month:%Y-%m}", customer.company_name, customer.external_reference,
                revenue.value if revenue else None, revenue.currency if revenue else "",
                cost.value if cost else None, cost.currency if cost else "", *margins,
                " ".join(row.missing) if n == 0 else "",
            ]  # fmt: skip


@require_GET
def idle_export(request: HttpRequest) -> HttpResponseBase:
    filters = MarginFilters(request.GET, now=timezone.now())
    if filters.lists_nothing:
        return refused_export(filters)
    name, content = f"without-use-{filters.month:%Y-%m}.csv", table(IDLE_HEADER, _idle_rows(filters))
    return recorded_download(request, name, content, verb="margin.idle_exported", filters=filters)


def _idle_rows(filters: MarginFilters) -> Iterator[Sequence[Any]]:
    for row in idle_accounts.all_idle(filters.month, reason=filters.reason, q=filters.q):
        account = row.account
        for cost in row.cost:
            yield [
                f"{filters.month:%Y-%m}", account.customer.company_name, account.provider_id or "",
                account.connection.name, row.reason, row.days, row.of_days, cost.value, cost.currency,
            ]  # fmt: skip
