"""Many rows updated with values of their own in one statement."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from django.db import DataError, connection, transaction
from django.test.utils import CaptureQueriesContext

from customers.models import Account
from portal.row_updates import update_rows
from tests.support.factories import AccountFactory, CustomerFactory

pytestmark = pytest.mark.django_db
AT = datetime(2026, 11, 18, 12, 0, 1, 250_000, tzinfo=UTC)
FIELDS = ("usage_used", "usage_start_on", "usage_read_at", "package", "customer", "usage_due_at")


def test_each_row_gets_its_own_values() -> None:
    rows = AccountFactory.create_batch(3)
    other, customer = AccountFactory(), CustomerFactory(may_be_bare=True)
    for n, row in enumerate(rows):
        row.usage_used, row.usage_start_on, row.usage_read_at = n, date(2026, 11, 1 + n), AT
        row.package, row.customer, row.usage_due_at = f'it\'s {n}, {{\\}} "\u00e9"', customer, AT if n else None
        row.email = "not stored"
    with CaptureQueriesContext(connection) as ran:
        update_rows(rows, FIELDS)
    if connection.vendor == "postgresql":
        assert len(ran) == 1
    stored = list(Account.objects.filter(pk__in=[row.pk for row in rows]).order_by("pk"))
    names = ("usage_used", "usage_start_on", "usage_read_at", "package", "customer_id", "usage_due_at")
    assert [[getattr(row, name) for name in names] for row in stored] == [
        [getattr(row, name) for name in names] for row in rows
    ]
    assert "not stored" not in {row.email for row in stored}
    before = other.package
    other.refresh_from_db()
    assert other.package == before


def test_a_row_that_is_gone_is_left_out() -> None:
    rows = AccountFactory.create_batch(2)
    Account.objects.filter(pk=rows[0].pk).delete()
    for row in rows:
        row.usage_used = 7
    update_rows(rows, ["usage_used"])
    assert list(Account.objects.values_list("usage_used", flat=True)) == [7]


def test_no_rows_need_no_statement() -> None:
    with CaptureQueriesContext(connection) as ran:
        update_rows([], ["usage_used"])
    assert len(ran) == 0


def test_a_text_that_is_too_long_is_refused_and_not_cut() -> None:
    if connection.vendor != "postgresql":
        return  # SQLite has no longest text
    row = AccountFactory()
    row.package = "p" * 201
    with pytest.raises(DataError), transaction.atomic():
        update_rows([row], ["package"])
