"""Filters of lists: a value that is not known is said, and the list is empty. Never another list."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.paginator import Paginator
from django.http import QueryDict
from django.test import Client
from django.urls import reverse

from customers.models import Operation
from portal.access.models import User
from portal.filters import Filter, ListFilters, one_of, page_filter, search_filter, size_filter, sort_filter
from portal.query_params import day_or_none
from tests.customers.page_helpers import HTMX
from tests.support.factories import AccountFactory, OperationFactory, UserFactory
from tests.support.people import sign_in

# A filter of each list that has fixed values.
LISTS = {
    "customers:list": "state",
    "customers:operations": "kind",
    "customers:coming": "kind",
    "customers:drift": "view",
    "customers:orphans": "connection",
    "audit:list": "account",
    "audit:access": "kind",
    "access:staff": "role",
    "billing:usage": "only",
}


class Filters(ListFilters):
    state = Filter("State", one_of(("failed",)), lookup="state")
    connection = Filter("Connection", one_of(()))
    start_on = Filter("From", day_or_none, param="from")
    q = search_filter()
    sort = sort_filter(("name", "use"), "-use")
    size = size_filter((25, 50), 50)


def read(query: str) -> Filters:
    return Filters(QueryDict(query), connection=one_of(["c1"]))


def test_values_are_those_of_the_address_or_the_default() -> None:
    assert read("").values == {
        "state": "", "connection": "", "start_on": "", "q": "", "sort": "-use", "size": 50,
    }  # fmt: skip
    asked = read("state=failed&connection=c1&from=2026-11-18&q=+Lark%00field++&sort=-name&size=25")
    assert asked.refused == {}
    assert (asked.q, asked.size, asked.sort) == ("Larkfield", 25, "-name")
    assert asked.start_on.isoformat() == "2026-11-18"
    assert asked.kept() == [
        ("state", "failed"), ("connection", "c1"), ("from", "2026-11-18"), ("sort", "-name"), ("size", "25"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("state=done", "State: unknown value “done”. Clear it to see results."),
        ("connection=c2", "Connection: unknown value “c2”. Clear it to see results."),
        ("from=never", "From: unknown value “never”. Clear it to see results."),
        ("sort=cost", "Sort: unknown value “cost”. The default is used instead."),
        ("size=7", "Rows: unknown value “7”. The default is used instead."),
        (f"state={'x' * 400}", f"State: unknown value “{'x' * 60}”. Clear it to see results."),
    ],
)
def test_a_value_that_is_not_known_is_said(query: str, text: str) -> None:
    asked = read(query)
    assert asked.refused == {query.partition("=")[0]: text}
    assert asked.lists_nothing == (query[:4] not in ("sort", "size"))
    assert (asked.sort, asked.size, asked.state) == ("-use", 50, "")


class Pages(Filters):
    page = page_filter()


@pytest.mark.parametrize(("number", "rows"), [("", [0, 1]), ("1", [0, 1]), ("3", [4])])
def test_a_page_is_one_of_the_list(number: str, rows: list[int]) -> None:
    asked = Pages(QueryDict(f"q=x&state=failed&page={number}"))
    assert list(asked.page_of(Paginator(range(5), 2))) == rows
    assert asked.refused == {}
    assert asked.kept() == [("state", "failed")], "another list begins with its first page"


@pytest.mark.parametrize("number", ["4", "0", "-1", "x", "1.0", "٣", "9" * 20])
def test_a_page_that_the_list_does_not_have_is_refused(number: str) -> None:
    asked = Pages(QueryDict(f"page={number}"))
    found = asked.page_of(Paginator(range(5), 2))
    assert asked.refused == {"page": f"Page: unknown value “{number}”. Clear it to see results."}
    assert asked.lists_nothing
    assert number != "4" or list(found) == []


@pytest.mark.django_db
def test_narrowing_applies_the_lookups() -> None:
    failed, done = OperationFactory(state="failed"), OperationFactory(state="succeeded")
    every = Operation.objects.order_by("pk")
    assert list(read("").narrow(every)) == [failed, done]
    assert list(read("state=failed").narrow(every)) == [failed]
    assert list(read("q=suspend").narrow(every, q="kind")) == [each for each in every if each.kind == "suspend"]
    assert list(read("from=never").narrow(every)) == []


@pytest.mark.django_db
class TestPages:
    @pytest.fixture
    def client(self) -> Client:
        admin: User = UserFactory(role="admin")
        return sign_in(Client(), admin)

    @pytest.mark.parametrize("htmx", [{}, HTMX])
    @pytest.mark.parametrize("name", LISTS)
    def test_every_list_says_it_and_offers_to_clear_it(self, client: Client, name: str, htmx: dict[str, Any]) -> None:
        AccountFactory()
        page = reverse(name)
        answer = client.get(page, {LISTS[name]: "<x>", "q": "lark", "page": "2"}, **htmx)
        assert (answer.status_code, answer["X-Refused-Filters"]) == (400, LISTS[name])
        assert "unknown value “&lt;x&gt;”" in answer.content.decode()
        assert f'href="{page}?q=lark"' in answer.content.decode()
        known = client.get(page, **htmx)
        assert known.status_code == 200
        assert "Invalid filter" not in known.content.decode()

    @pytest.mark.parametrize(
        ("name", "query", "label"),
        [
            ("customers:export", "state=x", "State"),
            ("customers:drift-export", "view=x", "View"),
            ("audit:export", "account=x", "Account"),
            ("audit:access-export", "customer=x", "Customer"),
        ],
    )
    def test_an_export_with_unknown_filters_is_no_file(self, client: Client, name: str, query: str, label: str) -> None:
        AccountFactory()
        answer = client.get(f"{reverse(name)}?{query}")
        assert (answer.status_code, answer["Content-Type"]) == (400, "text/plain; charset=utf-8")
        assert "Content-Disposition" not in answer
        assert answer.content.decode() == f"{label}: unknown value “x”. Clear it to see results.\n"
        assert client.get(reverse(name))["Content-Type"].startswith("text/csv")

    def test_a_bulk_change_of_a_misread_list_changes_nothing(self, client: Client) -> None:
        AccountFactory()
        assert client.get(reverse("customers:bulk-new")).status_code == 200
        answer = client.get(reverse("customers:bulk-new"), {"state": "x"})
        assert answer.headers["Location"] == f"{reverse('customers:list')}?state=x"

    @pytest.mark.parametrize("query", ["who=x", "connection=x", "state=x", "kind=x", "view=x"])
    def test_no_operation_is_listed(self, client: Client, query: str) -> None:
        OperationFactory()
        assert len(client.get(reverse("customers:operations")).context["page"]) == 1
        assert len(client.get(f"{reverse('customers:operations')}?{query}").context["page"]) == 0
