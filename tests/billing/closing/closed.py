"""Months of test customers, closed by the worker as a person's request closes them."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

from billing.closing.blockers.commands import accept_blocker
from billing.closing.blockers.refresh import refresh_month
from billing.closing.matching.current import current_comparisons
from billing.closing.runs.commands import request_close
from billing.closing.runs.worker import close_month
from billing.models import Blocker, ConnectionBilling, InvoiceComparison, MonthClosing, OpeningBalance
from billing.pricing.statements.costs import cost_draft_of
from billing.pricing.statements.drafts import rate_month
from customers.models import Connection, Customer
from portal.access.models import User
from portal.commands import Command
from tests.billing.closing.invoiced import invoice, line
from tests.billing.pricing.statements.agreed import BASE, NOVEMBER, NOW, OVERAGE, price_list
from tests.support.factories import UserFactory

# The month's days in draft are over.
LATER = NOW.replace(day=5)


def finance() -> User:
    found = User.objects.filter(role="finance").first()
    return found or UserFactory(role="finance")


def request(month: date = NOVEMBER, *, now: datetime = LATER, person: User | None = None) -> MonthClosing:
    return request_close(Command(person or finance(), now), month=month)


def close(month: date = NOVEMBER, *, now: datetime = LATER) -> MonthClosing:
    """Request the close and let a worker do it."""
    run = request(month, now=now)
    close_month(run.pk, now=now)
    run.refresh_from_db()
    return run


def block(customer: Customer, month: date = NOVEMBER, *, accepted: str = "") -> Blocker:
    """Let something block the customer: the accounting tool doesn't know it. `accepted`: why that was accepted."""
    Customer.objects.filter(pk=customer.pk).update(external_reference="")
    rate_month(month, now=NOW)
    refresh_month(month, now=NOW)
    blocker = Blocker.objects.get(customer=customer, resolved_at=None)
    if accepted:
        accept_blocker(Command(finance(), LATER), blocker=blocker, seen=blocker.fingerprint, reason=accepted)
    return blocker


def unblock(customer: Customer) -> None:
    Customer.objects.filter(pk=customer.pk).update(external_reference=f"C-{customer.pk}")


def compared(
    connection: Connection, theirs: int, ours: int, *, carried: int = 0, accepted: int = 0, tolerance: int = 10**9
) -> InvoiceComparison:
    """A comparison of November: the provider invoiced `theirs` cents for what costs `ours` by our figures."""
    base, overage = BASE | {"amount": f"{Decimal(ours) / 100}"}, OVERAGE | {"included": 10**9}
    prices = price_list(base, overage, name=f"Provider {connection.pk}", side="cost", currency="USD")
    facts = {"cost_source": "price_list", "cost_list": prices, "tolerance_minor": tolerance}
    ConnectionBilling.objects.update_or_create(connection=connection, defaults=facts)
    invoice(connection, line(minor=theirs), number=f"A-{connection.pk}", currency="USD")
    if carried:
        OpeningBalance.objects.create(
            connection=connection, month=NOVEMBER, currency="USD", amount_minor=carried, description="Before",
            entered_by=finance(), entered_at=NOW,
        )  # fmt: skip
    cost_draft_of(connection.pk, NOVEMBER, now=NOW)
    rate_month(NOVEMBER, now=NOW)
    (found,) = current_comparisons(NOVEMBER, now=NOW, connections=[connection.pk])
    if accepted:
        found.accepted_minor = accepted
        found.save(update_fields=["accepted_minor"])
    return found
