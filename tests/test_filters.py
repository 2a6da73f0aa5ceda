"""Filters of lists: a value that is not known is said, and the list is empty. Never another list."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import QueryDict
from django.test import Client
from django.urls import reverse

from customers.models import Operation
from portal.access.models import User
from portal.filters import Filter, ListFilters, one_of, search_filter, size_filter, sort_filter
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
        assert answer.status_code == 200
        assert "unknown value “&lt;x&gt;”" in answer.content.decode()
        assert f'href="{page}?q=lark"' in answer.content.decode()
        assert "Invalid filter" not in client.get(page, **htmx).content.decode()

    def test_an_export_holds_no_more_than_the_list(self, client: Client) -> None:
        AccountFactory()
        for name, query in (("customers:export", "state=x"), ("customers:drift-export", "view=x"),
                            ("audit:export", "account=x"), ("billing:usage-export", "state=x")):  # fmt: skip
            answer: Any = client.get(f"{reverse(name)}?{query}")
            assert len(b"".join(answer.streaming_content).decode().splitlines()) == 1, name

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
