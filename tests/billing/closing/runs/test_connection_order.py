"""A connection's months are compared and closed in their order, so that what one leaves is carried into the next."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from billing.models import InvoiceComparison
from tests.billing.closing.closed import LATER, close, compared
from tests.billing.closing.invoiced import invoice, line
from tests.billing.pricing.adjustments.late import store_version
from tests.billing.pricing.statements.agreed import NOVEMBER, customer_with, figure

pytestmark = pytest.mark.django_db
DECEMBER, IN_JANUARY = date(2026, 12, 1), datetime(2027, 1, 10, 12, tzinfo=UTC)


def test_a_month_waits_for_the_one_that_was_held_back() -> None:
    _customer, one = customer_with(used=0)
    period = one.usage_periods.get()
    store_version(period, status="interval", high=900_000)
    figure(one, 0, start=DECEMBER, end=date(2026, 12, 31))
    compared(one.connection, 9000, 8000)
    december = line(one, minor=8000, start=DECEMBER, end=date(2026, 12, 31))
    invoice(one.connection, december, number="B", currency="USD", issued_on=date(2027, 1, 1))
    assert close(now=LATER).held_back == 2  # the customer, and the connection
    assert close(DECEMBER, now=IN_JANUARY).held_back == 1
    assert not InvoiceComparison.objects.filter(closing__isnull=False).exists()
    store_version(period, used=0, status="final")
    close(NOVEMBER, now=IN_JANUARY)
    close(DECEMBER, now=IN_JANUARY)
    found = InvoiceComparison.objects.filter(closing__isnull=False).order_by("month")
    assert [(row.month, row.invoice_minor, row.accumulated_minor) for row in found] == [
        (NOVEMBER, 9000, 9000 - 8000),
        (DECEMBER, 8000, 9000 - 8000),
    ]
