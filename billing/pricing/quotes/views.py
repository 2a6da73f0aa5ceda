"""Fragments that price a choice where it is made: sell prices alone, and nothing that keeps a change from being made.

Whatever fails here, the page that the fragment stands on goes on: then it says that there is no price.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import wraps
from typing import Any

import structlog
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from billing.models import ConnectionBilling
from billing.pricing.quotes.account_bill import account_bills
from billing.pricing.quotes.bulk_quotes import PRICED, bulk_quote
from billing.pricing.quotes.monthly import Items, MonthlyQuote, QuoteChange, Quoter, items_of_offerings
from billing.pricing.quotes.statement_effect import statement_effect
from billing.pricing.statements.span_days import billing_zone, day_in
from customers.accounts.offerings.forms import OfferingsChangeForm, OfferingsForm
from customers.models import Account, ChangeSet, Connection, Customer, Schedule
from customers.models.account import as_offerings
from customers.operations.view_helpers import account_or_404
from customers.schedules.commands import after as moment_after
from customers.schedules.commands import cycle_end
from customers.schedules.forms import CYCLE, ScheduleForm
from portal.clock import database_now
from portal.providers import ProviderOffering
from portal.query_params import uuid_or_none

log = structlog.get_logger(__name__)
FRAGMENT = "billing/quotes/_failed.html"
View = Callable[..., HttpResponse]
# Prices that are not well formed, rows that contradict each other, and a database that doesn't answer in time.
FAILURES = (ArithmeticError, AssertionError, AttributeError, DatabaseError, LookupError, TypeError, ValueError)


def never_failing(view: View) -> View:
    """Answer with a muted sentence where a price can't be calculated, whatever the reason."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except FAILURES:
            log.exception("quote.failed", path=request.path)
            return render(request, FRAGMENT)

    return answer


@require_GET
@never_failing
def new_account_quote(request: HttpRequest) -> HttpResponse:
    """Price the offerings chosen in the form of a new account: `?connection=`, and `?customer=` if it exists."""
    connection = get_object_or_404(Connection, public_id=uuid_or_none(request.GET.get("connection", "")))
    customer = None
    if wanted := uuid_or_none(request.GET.get("customer", "")):
        customer = get_object_or_404(Customer, public_id=wanted)
    has_offerings = connection.capabilities.offerings
    chosen = OfferingsForm(connection, request.GET).chosen() if has_offerings else []
    quote = None
    if not has_offerings or any(each.type == "package" for each in chosen):
        items = items_of_offerings(chosen)
        quoter = Quoter([customer.pk] if customer else [], today=timezone.now().date())
        quote = quoter.monthly(
            customer.pk if customer else None, connection.kind, items, has_offerings=has_offerings, is_new=True
        )
    return render(
        request, "billing/quotes/_new_account.html", {"quote": quote, "customer": customer, "connection": connection}
    )


@require_POST
@never_failing
def offerings_quote(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Price the choice in the offerings editor: now, after, and what this month's statement becomes."""
    account = account_or_404(public_id)
    reading = OfferingsChangeForm(request.POST).reading
    if reading is None:
        return render(request, FRAGMENT)
    chosen = OfferingsForm(account.connection, request.POST, reading.values).chosen()
    return _change(request, account, reading.values, chosen, at=timezone.now(), is_scheduled=False)


@require_GET
@never_failing
def schedule_quote(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Price a change of package in the form of a scheduled change, from the day it takes effect."""
    account, now = account_or_404(public_id), timezone.now()
    form = ScheduleForm(account, {**request.GET.dict(), "reason": "-", "client_token": "quote-only"}, now=now)
    form.full_clean()
    package = form.cleaned_data.get("package")
    if form.cleaned_data.get("kind") != Schedule.Kind.OFFERINGS or not package or account.offerings is None:
        return HttpResponse()
    at = form.cleaned_data.get("due_at")
    if form.cleaned_data.get("when") == CYCLE and (end := cycle_end(account, now=now)):
        at = moment_after(end)
    if at is None:
        return HttpResponse()
    return _change(request, account, as_offerings(account.offerings), form.offerings() or [], at=at, is_scheduled=True)


def _change(
    request: HttpRequest,
    account: Account,
    saw: list[ProviderOffering],
    chosen: list[ProviderOffering],
    *,
    at: datetime,
    is_scheduled: bool,
) -> HttpResponse:
    now_items, after_items = items_of_offerings(saw), items_of_offerings(chosen)
    context: dict[str, Any] = {"account": account, "is_scheduled": is_scheduled}
    if account.is_test:
        return render(request, "billing/quotes/_change.html", context)
    on = day_in(at, billing_zone(_zone(account)))
    change = _change_of(account, now_items, after_items, day=on if is_scheduled else timezone.now().date())
    context |= {"change": change, "on": on, "is_changed": sorted(now_items) != sorted(after_items)}
    if context["is_changed"] and not change.after.problem and not change.after.default_list:
        context["effect"] = statement_effect(
            account, now_items=now_items, after_items=after_items, on=on, now=database_now()
        )
    return render(request, "billing/quotes/_change.html", context)


def _change_of(account: Account, now_items: Items, after_items: Items, *, day: date) -> QuoteChange:
    quoter = Quoter([account.customer_id], today=day)
    now, after = (
        quoter.monthly(account.customer_id, account.connection.kind, items) for items in (now_items, after_items)
    )
    return QuoteChange(now, after)


def _zone(account: Account) -> str:
    billing = ConnectionBilling.objects.filter(connection=account.connection_id).first()
    return billing.zone if billing else "UTC"


@require_GET
@never_failing
def bulk_quotes(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Price a bulk change that isn't applied yet: by currency together, and the accounts (`account`) of the page."""
    change_set = get_object_or_404(ChangeSet, public_id=public_id)
    if change_set.kind not in PRICED:
        return HttpResponse()
    shown = frozenset(found for text in request.GET.getlist("account")[:200] if (found := uuid_or_none(text)))
    quote = bulk_quote(change_set, today=timezone.now().date(), shown=shown)
    return render(request, "billing/quotes/_bulk.html", {"quote": quote, "set": change_set})


@require_GET
@never_failing
def account_bill(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show the account's lines of this month's draft statement, and what scheduled changes make of its price."""
    account, now = account_or_404(public_id), database_now()
    month = now.astimezone(UTC).date().replace(day=1)
    bills = [] if account.is_test else account_bills(account, month, now=now)
    end = account.usage_end_on
    context = {
        "account": account,
        "month": month,
        "bills": bills,
        "billed_later": end if end and end.replace(day=1) > month else None,
        "monthly": None if account.is_test else _monthly(account),
        "coming": [] if account.is_test else _coming(account),
    }
    return render(request, "billing/quotes/_account_bill.html", context)


def _monthly(account: Account) -> MonthlyQuote | None:
    has_offerings = account.connection.capabilities.offerings
    if has_offerings and not account.offerings:
        return None
    items = items_of_offerings(as_offerings(account.offerings or []))
    quoter = Quoter([account.customer_id], today=timezone.now().date())
    return quoter.monthly(account.customer_id, account.connection.kind, items, has_offerings=has_offerings)


def _coming(account: Account) -> list[tuple[datetime, QuoteChange]]:
    """Return scheduled changes of the offerings with their prices."""
    rows = Schedule.objects.filter(
        account=account, kind=Schedule.Kind.OFFERINGS, state=Schedule.State.WAITING
    ).order_by("due_at")
    now_items = items_of_offerings(as_offerings(account.offerings or []))
    return [
        (
            row.due_at,
            _change_of(
                account,
                now_items,
                items_of_offerings(as_offerings(row.payload["offerings"])),
                day=row.due_at.astimezone(UTC).date(),
            ),
        )
        for row in rows[:5]
    ]
