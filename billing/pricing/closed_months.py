"""Days that closed months leave to new prices and contracts. What is closed was rated with what was published then."""

from __future__ import annotations

from datetime import date, timedelta

from django.db.models import Max
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from billing.models import PriceList, Side, Statement, StatementLine
from billing.usage.periods import month_after
from customers.models import Customer
from portal.formats import day_text
from portal.refusals import Refusal

CLOSED = Statement.State.CLOSED


def refuse_closed_contract(customer: Customer, first_day: date, *, field: str) -> None:
    """Refuse a contract that begins in, or before, a closed month of the customer."""
    closed = Statement.objects.filter(side=Side.SELL, customer=customer, state=CLOSED)
    last = closed.aggregate(month=Max("month"))["month"]
    if last and first_day < month_after(last):
        text = _("%(month)s is closed for this customer. Enter %(day)s or a later first day.")
        said = {"month": date_format(last, "F Y"), "day": day_text(month_after(last))}
        raise Refusal(text % said, field=field)


def refuse_closed_version(price_list: PriceList, first_day: date) -> None:
    """Refuse a version from a day on after which closed statements have service by the list. A period has the prices of
    its first day, so one that began earlier doesn't matter."""
    lines = StatementLine.objects.filter(
        price_version__price_list=price_list,
        statement__state=CLOSED,
        # A service that begins on the day or later belongs to this month or a later one.
        statement__month__gte=first_day.replace(day=1),
        start_on__gte=first_day,
    )
    if last := lines.aggregate(day=Max("start_on"))["day"]:
        text = _("Statements of closed months have these prices on %(last)s. Enter %(day)s or a later first day.")
        said = {"last": day_text(last), "day": day_text(last + timedelta(days=1))}
        raise Refusal(text % said, field="valid_from")
