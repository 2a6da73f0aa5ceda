"""What the list costs the database with many accounts, whatever is filtered and sorted: rows read, not seconds."""

from __future__ import annotations

from datetime import date

import pytest
from django.db import connection
from django.http import QueryDict

from customers.directory.filters import DEFAULT_SIZE, SORTS, VIEWS, CustomerFilters
from customers.directory.list import Lines
from customers.models import Customer
from portal.access.models import User
from portal.demo.seed.customers import store_customers
from portal.demo.seed.plan import Plan
from portal.demo.seed.rows import Rows
from tests.support.work import work_of

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.long,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="the plans are PostgreSQL's"),
]
ACCOUNTS = 20_000
# Rows through all nodes of a plan: a page is read, ordered by a few of its neighbors, and cut.
PAGE = 20 * DEFAULT_SIZE


def lines(query: str) -> Lines:
    return Lines(CustomerFilters(QueryDict(query), User.objects.filter(role="admin").order_by("pk")[0]))


def test_no_list_reads_the_table() -> None:
    with Rows(lambda _text: None) as rows:
        store_customers(rows, Plan(accounts=ACCOUNTS, months=1, last=date(2026, 11, 1)))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE customers_account SET usage_used = id % 117 * 1000, usage_allowed = 100000")
    costs = {}
    for sort in SORTS:
        for order in (sort, f"-{sort}"):
            costs[order] = work_of(lines(f"sort={order}").ordered()[: DEFAULT_SIZE + 1])
    for view in VIEWS.keys() - {"attention"}:  # no operations here
        costs[view] = work_of(lines(f"view={view}").ordered()[: DEFAULT_SIZE + 1])
    # A level of the quota is sorted as a whole: a tenth of the accounts.
    by_use = {key: costs.pop(key) for key in ("use", "-use")}
    assert {key: cost for key, cost in costs.items() if cost > PAGE} == {}
    assert all(cost < ACCOUNTS / 2 for cost in by_use.values()), by_use


def test_a_broad_search_in_another_order() -> None:
    """The order's index alone would be walked through all accounts that do not match."""
    with Rows(lambda _text: None) as rows:
        store_customers(rows, Plan(accounts=ACCOUNTS, months=1, last=date(2026, 11, 1)))
    word = Customer.objects.order_by("pk").values_list("company_name", flat=True)[0].split()[0].lower()
    matches = Customer.objects.filter(search__contains=word).count()
    assert 500 < matches < ACCOUNTS / 5
    for sort in SORTS:
        cost = work_of(lines(f"q={word}&sort={sort}").ordered()[: DEFAULT_SIZE + 1])
        assert cost < 12 * matches, (sort, cost, matches)
