"""The file of the customer list: the same bytes, whichever way its lines are made."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import Value
from django.db.models.fields.json import JSONField
from django.http import QueryDict
from django.utils import timezone

from customers.directory.export import customer_export_lines, customer_export_rows
from customers.directory.filters import CustomerFilters
from customers.models import Account, Customer
from customers.models.account import AccountState
from portal.access.models import User
from portal.exports import csv_lines
from tests.support.factories import AccountFactory, ConnectionFactory, CustomerFactory, OperationFactory, UserFactory

pytestmark = [pytest.mark.django_db, pytest.mark.both]
HOSTILE = ("=HYPERLINK(1)", 'a "quoted" name', "a;=2", "\u3000@x", "two\r\nlines")


@pytest.fixture
def person() -> User:
    return UserFactory(name="Ada; =1")


def every_kind_of_row(person: User) -> None:
    now = timezone.now()
    plain, capped = ConnectionFactory(name="-Main"), ConnectionFactory(name="Pool", kind="ahasend")
    for name in HOSTILE:
        customer = CustomerFactory(owner=person)
        Customer.objects.filter(pk=customer.pk).update(company_name=name, external_reference=name)
        AccountFactory(customer=customer, connection=plain, changed_what=name, package=name[:5])
    for state in AccountState.values:
        if state != AccountState.PENDING:
            AccountFactory(connection=plain, state=state, is_test=True)
            AccountFactory(connection=capped, state=state)
    for settings, asked in (
        ({"monthly_cap": 250_000}, {}),
        ({"monthly_cap": 0}, {"monthly_cap": 9}),
        ({"monthly_cap": None}, {"monthly_cap": 9}),
        ({}, {"monthly_cap": 9}),
        (None, {"monthly_cap": 9}),
        (Value(None, JSONField()), {"monthly_cap": 9}),
        (None, {}),
    ):
        account = AccountFactory(connection=capped)
        Account.objects.filter(pk=account.pk).update(settings=settings, desired_settings=asked)
    account = AccountFactory(connection=plain, usage_used=0, usage_allowed=None, usage_read_at=None)
    Account.objects.filter(pk=account.pk).update(
        usage_missing_since=now - timedelta(days=2), settings={"monthly_cap": 5}
    )
    OperationFactory(account=AccountFactory(pending=True), kind="create", state="failed")
    OperationFactory(account=AccountFactory(pending=True), kind="create", state="unknown")
    CustomerFactory(company_name="Bare", may_be_bare=True, owner=None)


@pytest.mark.parametrize(
    "query", ["", "sort=name", "sort=-use", "state=stopped_by_us", "view=mine", "state=none", "q=zzz"]
)
def test_the_lines_are_those_of_the_rows(person: User, query: str) -> None:
    every_kind_of_row(person)
    filters = CustomerFilters(QueryDict(query), person)
    expected = list(csv_lines(customer_export_rows(filters)))
    assert list(customer_export_lines(filters)) == expected
    assert bool(expected) == (query != "q=zzz")
    if not query:
        assert sum('"No cap"' in line for line in expected) == 1
        assert {word for word in ("Not created", "Pending", "Suspended") if any(word in line for line in expected)} == {
            "Not created", "Pending", "Suspended"
        }  # fmt: skip
