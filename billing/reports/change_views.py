"""Views of earlier figures: the report as of a point of the ledger, and the changes between two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from billing import labels
from billing.models import Decision, Status
from billing.money import trimmed_or_none
from billing.reports.as_of import FiguresAsOf, PastFigure
from billing.reports.changes import (
    ChangeReason,
    ChangesQuery,
    FigureChange,
    FigureChanges,
    changes_between,
    reasons_of,
)
from billing.reports.history_filters import ONLY_SETTLED, AsOfFilters, ChangesFilters, HistoryFilters
from billing.reports.views import months_of
from customers.connections.catalogue import offering_label
from portal.access.permissions import Permission
from portal.consistent_reads import consistent_read
from portal.downloads import recorded_download, table
from portal.exports import refused_export
from portal.htmx import person, render_page

ROWS_A_PAGE = 50
TOGETHER = 500
AS_OF_HEADER = (
    _("Customer"),
    _("External reference"),
    _("Account ID"),
    _("Connection"),
    _("Package"),
    _("Quota (emails)"),
    _("Emails (least)"),
    _("Emails (most)"),
    _("Overage (least)"),
    _("Overage (most)"),
    _("Status"),
    _("Reason"),
    _("Billing period start (date)"),
    _("Billing period end (date, inclusive)"),
    _("As of (UTC)"),
    _("Figure version"),
)
CHANGES_HEADER = (
    _("Customer"),
    _("External reference"),
    _("Account ID"),
    _("Connection"),
    _("Billing period start (date)"),
    _("Billing period end (date, inclusive)"),
    _("Emails before"),
    _("Emails after"),
    _("Difference (emails)"),
    _("Emails (most) before"),
    _("Emails (most) after"),
    _("Overage before"),
    _("Overage after"),
    _("Difference (overage)"),
    _("Status before"),
    _("Status after"),
    _("Package before"),
    _("Package after"),
    _("Reason"),
    _("Decided by"),
    _("Explanation"),
    _("Ledger batch"),
)
COST_HEADER = (_("Allocated cost"), _("Currency"))
COST_CHANGES_HEADER = (
    _("Allocated cost before"),
    _("Currency before"),
    _("Allocated cost after"),
    _("Currency after"),
)


@require_GET
def usage_as_of(request: HttpRequest) -> HttpResponse:
    filters = _as_of_filters(request)
    context: dict[str, Any] = {"filters": filters, "months": months_of(request, filters), "kept": filters.kept()}
    if not filters.lists_nothing and filters.point:
        with consistent_read():
            part = _part(filters)
            figures = FiguresAsOf(filters.month, filters.point.batch, filters.connection, part=part)
            totals = figures.totals(with_cost=_sees_cost(request))
            # A list of its own kind: it has a length and is cut into slices, as a paginator needs.
            paginator: Paginator[PastFigure] = Paginator(figures, ROWS_A_PAGE)  # type: ignore[arg-type]
            paginator.count = totals.figures  # known already
            page = filters.page_of(paginator)
            context |= {"totals": totals, "page": page, "rows": [_shown_figure(row) for row in page.object_list]}
    return render_page(request, "billing/as_of.html", context, filters=filters)


@require_GET
def usage_as_of_export(request: HttpRequest) -> HttpResponseBase:
    """Send all figures as of a point. Not kept: the same point always gives the same figures."""
    filters = _as_of_filters(request)
    if filters.lists_nothing or not filters.point:
        return refused_export(filters)
    with_cost = _sees_cost(request)
    with consistent_read():
        figures = FiguresAsOf(filters.month, filters.point.batch, filters.connection)
        header = [*AS_OF_HEADER, *(COST_HEADER if with_cost else ())]
        rows = [_as_of_cells(row, with_cost=with_cost) for row in figures.lines()]
    name = f"usage-{filters.month:%Y-%m}-batch-{filters.point.batch}"
    return _file(request, filters, name, header, rows)


@require_GET
def usage_changes(request: HttpRequest) -> HttpResponse:
    filters = _changes_filters(request)
    context: dict[str, Any] = {"filters": filters, "months": months_of(request, filters), "kept": filters.kept()}
    if not filters.lists_nothing and filters.start:
        with consistent_read():
            part = _part(filters)
            changes = _changes(request, filters, filters.start.batch, part=part)
            found = _PageRows(changes.rows, part.start)
            # It has the page's rows alone, which are all that is cut from it; the length is set below.
            paginator: Paginator[FigureChange] = Paginator(found, ROWS_A_PAGE)  # type: ignore[arg-type]
            paginator.count = changes.settled if filters.only == ONLY_SETTLED else changes.count
            page = filters.page_of(paginator)
            some = list(page.object_list)
            reasons = reasons_of(some, since=filters.start.batch, until=filters.end.batch)
            rows = [_shown_change(row, reason) for row, reason in zip(some, reasons, strict=True)]
        context |= {"changes": changes, "page": page, "rows": rows}
    return render_page(request, "billing/changes.html", context, filters=filters)


@require_GET
def usage_changes_export(request: HttpRequest) -> HttpResponseBase:
    """Send all changes between two points. Not kept: the same points always give the same changes."""
    filters = _changes_filters(request)
    if filters.lists_nothing or not filters.start:
        return refused_export(filters)
    since, until, with_cost = filters.start.batch, filters.end.batch, _sees_cost(request)
    with consistent_read():
        rows = _changes(request, filters, since).rows
        lines = list(_change_lines(rows, since, until, with_cost=with_cost))
    header = [*CHANGES_HEADER, *(COST_CHANGES_HEADER if with_cost else ())]
    name = f"usage-changes-{filters.month:%Y-%m}-batch-{since}-{until}"
    return _file(request, filters, name, header, lines)


def _as_of_filters(request: HttpRequest) -> AsOfFilters:
    return AsOfFilters(request.GET, today=timezone.now().astimezone(UTC).date())


def _changes_filters(request: HttpRequest) -> ChangesFilters:
    return ChangesFilters(request.GET, today=timezone.now().astimezone(UTC).date())


def _sees_cost(request: HttpRequest) -> bool:
    return person(request).may(Permission.VIEW_COST)


@dataclass(frozen=True)
class _PageRows:
    """The rows of one page, found by their place among all rows."""

    rows: list[FigureChange]
    first: int

    def __getitem__(self, part: slice) -> list[FigureChange]:
        return self.rows[part.start - self.first : part.stop - self.first]


def _part(filters: HistoryFilters) -> slice:
    """Return the rows of the page that is asked for, should there be so many."""
    stop = filters.page * ROWS_A_PAGE
    return slice(stop - ROWS_A_PAGE, stop)


def _changes(request: HttpRequest, filters: ChangesFilters, since: int, part: slice | None = None) -> FigureChanges:
    query = ChangesQuery(
        filters.month, since, filters.end.batch, filters.connection, only_settled=filters.only == ONLY_SETTLED
    )
    return changes_between(query, with_cost=_sees_cost(request), part=part)


def _file(
    request: HttpRequest, filters: HistoryFilters, name: str, header: list[Any], rows: list[list[Any]]
) -> HttpResponseBase:
    content = table([str(text) for text in header], rows)
    filename = f"{name}.{filters.format}"
    return recorded_download(request, filename, content, verb="usage.history_exported", filters=filters)


def _as_of_cells(row: PastFigure, *, with_cost: bool) -> list[Any]:
    cells = [
        row.company,
        row.reference,
        row.provider_id,
        row.connection,
        offering_label(row.package) if row.package else "",
        row.allowed,
        row.used,
        row.high,
        row.overage,
        row.overage_high,
        Status(row.status).label,
        labels.reason(row.reason),
        row.start_on,
        row.end_on,
        row.read_at,
        row.version,
    ]
    return [*cells, trimmed_or_none(row.allocated_cost), row.currency] if with_cost else cells


def _change_lines(rows: list[FigureChange], since: int, until: int, *, with_cost: bool) -> Iterator[list[Any]]:
    for start in range(0, len(rows), TOGETHER):
        some = rows[start : start + TOGETHER]
        for row, reason in zip(some, reasons_of(some, since=since, until=until), strict=True):
            yield _change_cells(row, reason, with_cost=with_cost)


def _change_cells(row: FigureChange, reason: ChangeReason, *, with_cost: bool) -> list[Any]:
    figure, before, after = row.figure, row.before, row.after
    cells = [
        figure.company,
        figure.reference,
        figure.provider_id,
        figure.connection,
        figure.start_on,
        figure.end_on,
        before and before.used,
        after and after.used,
        row.used,
        before and before.high,
        after and after.high,
        before and before.overage,
        after and after.overage,
        row.overage,
        Status(before.status).label if before else "",
        Status(after.status).label if after else "",
        offering_label(before.package) if before and before.package else "",
        offering_label(after.package) if after and after.package else "",
        labels.cause(reason.cause),
        str(reason.decision.by or "") if reason.decision else "",
        _explanation(reason.decision),
        reason.batch,
    ]
    if with_cost:
        for each in (before, after):
            cells += [trimmed_or_none(each.allocated_cost), each.currency] if each else [None, None]
    return cells


def _shown_figure(row: PastFigure) -> dict[str, Any]:
    return {
        "figure": row,
        "status": Status(row.status),
        "reason": labels.reason(row.reason),
        "package": offering_label(row.package) if row.package else "",
    }


def _shown_change(row: FigureChange, reason: ChangeReason) -> dict[str, Any]:
    return {
        "change": row,
        "figure": row.figure,
        "before": _shown_figure(row.before) if row.before else None,
        "after": _shown_figure(row.after) if row.after else None,
        "cause": labels.cause(reason.cause),
        "decision": reason.decision,
        "explanation": _explanation(reason.decision),
    }


def _explanation(decision: Decision | None) -> str:
    if decision is None:
        return ""
    return ": ".join(str(text) for text in (decision.get_verdict_display(), decision.reason) if text)
