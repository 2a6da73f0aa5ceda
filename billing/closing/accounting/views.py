"""Views of a month's accounting: the page, the file of closed statements, and the journal of accrued revenue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from billing.closing.accounting import accruals, rows
from billing.pricing.statements.agreements import published_stamp
from billing.pricing.statements.amounts import minor_text
from billing.pricing.statements.labels import FindingLabel, finding_label
from billing.pricing.statements.numbers import billing_terms
from billing.pricing.statements.queries import sums_by_currency
from billing.pricing.statements.views import FORMATS
from billing.usage.periods import month_after, month_or_none
from customers.models import Account
from portal.downloads import recorded_download, table

# Up to so many accounts a page adds up what is accrued. Above, the sums are those of the last exported journal.
ADDED_UP_AT_ONCE = 5_000
_REMEMBERED_SECONDS = 40 * 24 * 3600


def month_or_404(text: str) -> date:
    found = month_or_none(text)
    if found is None:
        raise Http404
    return found


@require_GET
def accounting(request: HttpRequest, month: str) -> HttpResponse:
    """Show what a month's accounting file has, and what is accrued at its end."""
    wanted, terms = month_or_404(month), billing_terms()
    closed = rows.closed_statements(wanted)
    context = {
        "month": wanted,
        "month_text": month,
        "sums": sums_by_currency(closed),
        "closed": closed.exclude(number=None).count(),
        "held_back": rows.held_back_count(wanted),
        "is_over": month_has_ended(wanted, now=timezone.now()),
        "formats": FORMATS.items(),
        "terms": terms,
        "months": _neighbors(wanted),
    }
    return render(request, "billing/closing/accounting.html", context)


def _neighbors(month: date) -> dict[str, date | None]:
    after = month_after(month)
    return {"before": month_after(month, -1), "after": after if month_has_ended(month, now=timezone.now()) else None}


def month_has_ended(month: date, *, now: datetime) -> bool:
    return now.astimezone(UTC).date() >= month_after(month)


@require_GET
def accounting_export(request: HttpRequest, month: str) -> HttpResponseBase:
    """Send the lines of a month's closed statements."""
    wanted = month_or_404(month)
    if not rows.closed_statements(wanted).exists():
        return _refused(_("No statement of this month is closed. Close the month first."))
    held_back = rows.held_back_count(wanted)
    name = f"accounting-{wanted:%Y-%m}" + ("-partial" if held_back else "")
    return _file(request, wanted, name, rows.HEADER, rows.accounting_rows(wanted), held_back=held_back)


@require_GET
def accruals_export(request: HttpRequest, month: str) -> HttpResponseBase:
    """Send the journal of a month's accrued revenue."""
    wanted, now = month_or_404(month), timezone.now()
    if not month_has_ended(wanted, now=now):
        return _refused(_("The month isn't over. Revenue is accrued at its end."))
    if not billing_terms().accrued_account_code:
        return _refused(_("The billing terms have no account code of accrued revenue. Enter one under Prices."))
    journal = accruals.accrual_rows(wanted, now=now, on_end=lambda sums: _remember(wanted, sums))
    return _file(request, wanted, f"accruals-{wanted:%Y-%m}", accruals.HEADER, journal)


def _refused(text: str) -> HttpResponse:
    return HttpResponse(text, status=409, content_type="text/plain; charset=utf-8")


def _file(
    request: HttpRequest,
    month: date,
    name: str,
    header: Sequence[str],
    found: Iterable[Sequence[Any]],
    **facts: int,
) -> HttpResponseBase:
    file_format = request.GET.get("format", "csv")
    if file_format not in FORMATS:
        text = _("Select CSV or Excel (XLSX).")
        return HttpResponse(text, status=400, content_type="text/plain; charset=utf-8")
    told = {"month": f"{month:%Y-%m}"} | facts
    content = table(header, found)
    return recorded_download(request, f"{name}.{file_format}", content, verb="accounting.exported", facts=told)


@require_GET
def accruals_panel(request: HttpRequest, month: str) -> HttpResponse:
    """Return the part of a page with a month's accrued revenue by currency and account code, and what is missing."""
    wanted, now = month_or_404(month), timezone.now()
    ended = month_has_ended(wanted, now=now)
    sums = _sums(wanted, now=now) if ended else None
    context: dict[str, Any] = {
        "month": wanted,
        "month_text": month,
        "is_over": ended,
        "sums": sums,
        "terms": billing_terms(),
    }
    if sums:
        context |= {"amounts": list(_amounts(sums)), "missing": list(_missing(sums))}
    return render(request, "billing/closing/_accruals.html", context)


def _amounts(sums: accruals.AccrualSums) -> Iterator[tuple[str, list[tuple[str, str]], str]]:
    """Yield by currency the amounts by account code, and their sum."""
    for currency, found in accruals.sums_for_page(sums).items():
        total = sum(minor for _code, minor in found)
        yield currency, [(code, minor_text(minor, currency)) for code, minor in found], minor_text(total, currency)


def _missing(sums: accruals.AccrualSums) -> Iterator[tuple[FindingLabel, int]]:
    for code, accounts in sums.missing.most_common():
        yield finding_label(code), accounts


def _sums(month: date, *, now: datetime) -> accruals.AccrualSums | None:
    known = cache.get(_key(month))
    if known and known[0] == _stamp():
        return known[1]  # type: ignore[no-any-return]  # a cache has no types
    if Account.objects.count() > ADDED_UP_AT_ONCE:
        return None
    sums = accruals.accrual_sums(month, now=now)
    _remember(month, sums)
    return sums


def _remember(month: date, sums: accruals.AccrualSums) -> None:
    cache.set(_key(month), (_stamp(), sums), _REMEMBERED_SECONDS)


def _key(month: date) -> str:
    return f"billing.accruals.{month}"


def _stamp() -> tuple[int, ...]:
    """Return what rises with everything that may change the accruals of a past month."""
    return (*published_stamp(), billing_terms().edits)
