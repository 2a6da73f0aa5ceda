"""Exchange rates are entered and never changed: of two for the same day the one entered later counts."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from django.db import transaction
from django.utils.translation import gettext as _

from billing.models import ExchangeRate
from billing.pricing.amounts import check_currency
from portal.access.permissions import Permission, require
from portal.commands import Command
from portal.refusals import Refusal


def add_exchange_rate(
    command: Command, *, from_currency: str, to_currency: str, rate: Decimal, on: date, source: str
) -> ExchangeRate:
    """Store that one unit of `from_currency` is `rate` units of `to_currency` on a day. Raises `Refusal`."""
    require(command.person, Permission.MANAGE_PRICES)
    check_currency(from_currency, field="from_currency")
    check_currency(to_currency, field="to_currency")
    if from_currency == to_currency:
        raise Refusal(_("Enter another currency."), field="to_currency")
    if rate <= 0:
        raise Refusal(_("Enter a rate above 0."), field="rate")
    if on > command.now.date():
        raise Refusal(_("This day is in the future. Enter the day on which the rate was published."), field="on")
    with transaction.atomic():
        row = ExchangeRate.objects.create(
            from_currency=from_currency,
            to_currency=to_currency,
            rate=rate,
            on=on,
            source=source,
            by=command.person,
            at=command.now,
        )
        command.record(
            verb="exchange_rate.added",
            obj=None,
            after={"one": from_currency, "is": f"{rate.normalize():f} {to_currency}", "on": on, "source": source},
        )
    return row
