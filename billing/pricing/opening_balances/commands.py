"""Opening balances: entered and removed while their month is open, never changed."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from django.db import transaction
from django.utils.dateformat import format as date_format
from django.utils.translation import gettext as _

from billing.models import InvoiceComparison, MonthClosing, OpeningBalance, Side
from billing.pricing.amounts import check_currency
from billing.pricing.rating.currency import minor_unit_places
from billing.pricing.statements.locks import lock_group, lock_month
from billing.pricing.statements.storage import closed_owners
from customers.models import Connection, Customer
from portal.access.permissions import Permission, require
from portal.commands import Command
from portal.refusals import Refusal


def enter_opening_balance(
    command: Command,
    *,
    customer: Customer | None = None,
    connection: Connection | None = None,
    month: date,
    currency: str,
    amount: Decimal,
    description: str,
    account_code: str = "",
    tax_code: str = "",
) -> OpeningBalance:
    """Store an amount brought in from before billing started here: a line of the customer's statement of the month, or
    the difference to the invoices of a connection's provider by then. Raises `Refusal`."""
    require(command.person, Permission.CLOSE_MONTHS)
    if (customer is None) == (connection is None):
        raise Refusal(_("Enter a customer, or select a connection."), field="customer")
    check_currency(currency)
    places = minor_unit_places(currency)
    minor = amount.scaleb(places)
    if minor != int(minor):
        words = {"currency": currency, "n": places}
        raise Refusal(_("Amounts in %(currency)s have at most %(n)s decimal places.") % words, field="amount")
    if not minor:
        raise Refusal(_("Enter an amount other than 0."), field="amount")
    with transaction.atomic():
        _lock_open(month, customer, connection)
        row = OpeningBalance.objects.create(
            customer=customer,
            connection=connection,
            month=month,
            currency=currency,
            amount_minor=int(minor),
            description=description,
            account_code=account_code,
            tax_code=tax_code,
            entered_by=command.person,
            entered_at=command.now,
        )
        command.record(verb="opening_balance.entered", obj=customer or connection, after=_told(row))
    return row


def remove_opening_balance(command: Command, *, balance: OpeningBalance) -> None:
    """Take a balance out of its open month. The row stays. Raises `Refusal`."""
    require(command.person, Permission.CLOSE_MONTHS)
    with transaction.atomic():
        _lock_open(balance.month, balance.customer, balance.connection)
        rows = OpeningBalance.objects.filter(pk=balance.pk, removed_at=None)
        if not rows.update(removed_by=command.person, removed_at=command.now):
            raise Refusal(_("This opening balance was removed before. Nothing was changed."))
        whose = balance.customer or balance.connection
        command.record(verb="opening_balance.removed", obj=whose, before=_told(balance))


def _lock_open(month: date, customer: Customer | None, connection: Connection | None) -> None:
    """Wait for whoever rates or closes the same statements, and refuse a month that is closed or being closed."""
    side, pk = (Side.SELL, customer.pk) if customer else (Side.COST, connection.pk if connection else 0)
    lock_month(side, month, lock_group(pk) if customer else pk)
    kept = (MonthClosing.State.RUNNING, MonthClosing.State.CLOSED)
    # A run that failed may have closed a part of the month.
    compared = InvoiceComparison.objects.filter(connection=connection, month=month, closing__isnull=False)
    is_run = MonthClosing.objects.filter(month=month, state__in=kept).exists()
    if is_run or closed_owners(side, month, [pk]) or compared.exists():
        words = {"month": date_format(month, "F Y")}
        text = _("%(month)s is closed. Enter the difference as an opening balance of a later month.")
        raise Refusal(text % words, field="month")


def _told(row: OpeningBalance) -> dict[str, object]:
    amount = Decimal(row.amount_minor).scaleb(-minor_unit_places(row.currency))
    return {
        "month": f"{row.month:%Y-%m}",
        "amount": f"{amount:f} {row.currency}",
        "description": row.description,
        "account_code": row.account_code,
        "tax_code": row.tax_code,
    }
