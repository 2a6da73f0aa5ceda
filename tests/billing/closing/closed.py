"""Months of test customers, closed by the worker as a person's request closes them."""

from __future__ import annotations

from datetime import date, datetime

from billing.closing.runs.commands import request_close
from billing.closing.runs.worker import close_month
from billing.models import Blocker, MonthClosing
from customers.models import Customer
from portal.access.models import User
from portal.commands import Command
from tests.billing.pricing.statements.agreed import NOVEMBER, NOW
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


def block(customer: Customer, month: date = NOVEMBER, **facts: object) -> Blocker:
    facts = {"key": f"test:{customer.pk}", "kind": "anomaly", "opened_at": LATER} | facts
    return Blocker.objects.create(month=month, customer=customer, **facts)
