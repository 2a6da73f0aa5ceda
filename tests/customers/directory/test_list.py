"""What the list finds, in which order, and that it costs the same for ten rows and for many."""

from __future__ import annotations

import unicodedata
from datetime import timedelta
from random import Random
from urllib.parse import urlencode

import pytest
from django.http import QueryDict
from django.utils import timezone

from customers.directory import list as customer_list
from customers.directory.export import HEADER, customer_export_rows
from customers.directory.filters import CustomerFilters
from customers.directory.list import CustomerRow, Lines, list_page
from customers.directory.queries import lookalikes
from customers.directory.tabs import tabs_of
from customers.models import Account, RemoteAccount
from customers.reconcile.queries import customers_like
from portal import paging
from portal.access.models import User
from tests.support.factories import (
    PACKAGE,
    SMALLER,
    AccountFactory,
    ConnectionFactory,
    CustomerFactory,
    OperationFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def person() -> User:
    return UserFactory()


def filters(person: User, query: str = "") -> CustomerFilters:
    return CustomerFilters(QueryDict(query), person)


def found(person: User, query: str = "") -> list[str]:
    return [row.company for row in list_page(filters(person, query), "1").object_list]


def every_row(asked: CustomerFilters) -> list[CustomerRow]:
    return Lines(asked)[0:1000]


def test_one_row_for_each_account_and_one_for_a_customer_without(person: User) -> None:
    both = CustomerFactory(company_name="Both")
    AccountFactory(customer=both)
    AccountFactory(customer=both)
    CustomerFactory(company_name="Bare")
    assert sorted(found(person)) == ["Bare", "Both", "Both"]


def test_archived_customers_stand_in_their_own_view(person: User) -> None:
    AccountFactory(customer__company_name="Here")
    AccountFactory(customer__company_name="Gone", customer__archived_at=timezone.now(), state="deleted")
    CustomerFactory(company_name="Gone bare", archived_at=timezone.now())
    assert found(person) == ["Here"]
    assert sorted(found(person, "view=archived")) == ["Gone", "Gone bare"]


def test_each_view_holds_what_it_says(person: User) -> None:
    AccountFactory(customer__company_name="Quiet", usage_used=79_999)
    AccountFactory(customer__company_name="Near", usage_used=80_000, customer__owner=person)
    AccountFactory(customer__company_name="Over", usage_used=113_000)
    AccountFactory(customer__company_name="Suspended", state="stopped_by_us")
    AccountFactory(customer__company_name="Held", state="stopped_by_provider")
    AccountFactory(customer__company_name="Unread", usage_read_at=None, usage_used=None)
    AccountFactory(customer__company_name="Missing", usage_missing_since=timezone.now())
    OperationFactory(
        account=AccountFactory(customer__company_name="Unsure", pending=True), kind="create", state="unknown"
    )
    OperationFactory(account=AccountFactory(customer__company_name="Reading back"), kind="suspend", state="unknown")
    views = {key: set(found(person, f"view={key}")) for key in ("near", "stopped", "mine", "no-reading", "attention")}
    assert views == {
        "near": {"Near", "Over"},
        "stopped": {"Suspended", "Held"},
        "mine": {"Near"},
        "no-reading": {"Unread", "Missing"},
        "attention": {"Unsure"},
    }
    expected = {
        "all": "9", "near": "2", "stopped": "2", "mine": "1", "no-reading": "2", "attention": "1", "archived": "0",
    }  # fmt: skip
    for query in ("", "view=near", "view=attention", "view=near&q=Over", "state=active"):
        asked = filters(person, query)
        tabs = tabs_of(asked, list_page(asked, "1").paginator.count)
        assert {tab.key: tab.count for tab in tabs} == expected, query


def test_a_missing_reading_is_never_a_number(person: User) -> None:
    AccountFactory(usage_missing_since=timezone.now() - timedelta(days=2), usage_used=5)
    [row] = list_page(filters(person), "1").object_list
    assert row.used is None
    assert row.since is not None


def test_a_real_zero_is_a_zero(person: User) -> None:
    AccountFactory(usage_used=0)
    [row] = list_page(filters(person), "1").object_list
    assert (row.used, row.allowed) == (0, 100_000)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=halden", {"Halden Optics"}),
        ("q=HALDEN+optics", {"Halden Optics"}),
        ("q=IT%40halden.example", {"Halden Optics"}),
        ("q=K-77", {"Halden Optics"}),
        ("q=M%C3%BChle", {"Mühle & Söhne"}),
        ("q=100%25", {"100% Wool"}),
        ("q=sgabc123def", {"Kestrel Ledger"}),
        ("q=sgabc123", {"Kestrel Ledger"}),
        ("q=nobody+has+this", set()),
        ("q=_", set()),
        ("q=%00", {"Halden Optics", "Kestrel Ledger", "Mühle & Söhne", "100% Wool"}),
    ],
)
def test_the_search_looks_where_people_expect(person: User, query: str, expected: set[str]) -> None:
    AccountFactory(
        customer=CustomerFactory(company_name="Halden Optics", email="it@halden.example", external_reference="K-77")
    )
    AccountFactory(customer__company_name="Kestrel Ledger", provider_id="sgabc123def")
    CustomerFactory(company_name="Mühle & Söhne")
    CustomerFactory(company_name="100% Wool")
    assert set(found(person, query)) == expected


def test_an_operations_code_finds_its_account(person: User) -> None:
    operation = OperationFactory(account__customer__company_name="Osier", state="succeeded")
    OperationFactory(account__customer__company_name="Other", state="succeeded")
    assert found(person, f"q={operation.code}") == ["Osier"]
    assert found(person, f"q={operation.code.lower()}") == ["Osier"]


def test_filters_narrow_and_combine(person: User) -> None:
    eu, us = ConnectionFactory(name="EU"), ConnectionFactory(name="US")
    AccountFactory(customer__company_name="A", connection=eu, package=PACKAGE, customer__owner=person)
    AccountFactory(customer__company_name="B", connection=us, package=PACKAGE, state="banned")
    AccountFactory(customer__company_name="C", connection=us, package=SMALLER)
    CustomerFactory(company_name="D")
    assert set(found(person, f"connection={us.public_id}")) == {"B", "C"}
    assert set(found(person, f"package={PACKAGE}")) == {"A", "B"}
    assert found(person, f"connection={us.public_id}&package={PACKAGE}") == ["B"]
    assert found(person, "state=banned") == ["B"]
    assert found(person, "state=none") == ["D"]
    assert found(person, f"owner={person.public_id}") == ["A"]
    assert set(found(person, "owner=nobody")) == {"B", "C", "D"}


@pytest.mark.parametrize("query", ["state=x", "connection=x", "provider=x", "owner=x", "view=x"])
def test_a_filter_that_is_not_known_is_refused(person: User, query: str) -> None:
    AccountFactory()
    CustomerFactory()
    asked = filters(person, query)
    assert list(asked.refused) == [query.partition("=")[0]]
    assert every_row(asked) == []


@pytest.mark.parametrize("query", ["sort=x", "size=7", "page=x", "page=-1", "page=99999999999"])
def test_an_order_or_page_that_is_not_known_hides_no_row(person: User, query: str) -> None:
    AccountFactory()
    asked = filters(person, query)
    assert len(list_page(asked, QueryDict(query).get("page", "")).object_list) == 1
    assert list(asked.refused) == [name for name in ("sort", "size") if query.startswith(name)]


def mixed(count: int, seed: int = 7) -> None:
    """Customers with none, one or two accounts, changed at random moments, some at the same one."""
    random, now, connection = Random(seed), timezone.now(), ConnectionFactory()
    for n in range(count):
        customer = CustomerFactory(company_name=f"{random.choice('abcXYZ')} {n}")
        at = now - timedelta(minutes=random.randrange(count // 2 + 1))
        type(customer).objects.filter(pk=customer.pk).update(changed_at=at)
        for _ in range(random.choice((0, 1, 1, 2))):
            AccountFactory(
                customer=customer, connection=connection, changed_at=at, usage_used=random.choice((None, 5, 90_000))
            )


@pytest.mark.parametrize("sort", ["-changed", "changed", "name", "-name", "state", "-use", "use", "package"])
def test_every_row_stands_on_exactly_one_page_in_any_order(person: User, sort: str) -> None:
    mixed(40)
    asked = filters(person, f"sort={sort}")
    whole = Lines(asked).keys(0, 1000)
    assert len(set(whole)) == len(whole) == Lines(asked).count()
    paged = [key for start in range(0, len(whole), 7) for key in Lines(asked).keys(start, start + 7)]
    assert paged == whole


def test_the_order_is_the_one_that_was_asked_for(person: User) -> None:
    mixed(40)
    rows = every_row(filters(person))
    times = [row.changed_at for row in rows if row.changed_at]
    assert times == sorted(times, reverse=True)
    assert len({bool(row.state) for row in rows[:30]}) == 2, "customers without an account stand among the others"
    names = [row.company.lower() for row in every_row(filters(person, "sort=name"))]
    assert names == sorted(names)
    used = [row.used for row in every_row(filters(person, "sort=-use")) if row.used is not None]
    assert used == sorted(used, reverse=True)


def test_a_list_too_long_to_count_still_goes_on(person: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(customer_list, "COUNTED", 30)
    monkeypatch.setattr(paging, "COUNTED", 30)
    connection = ConnectionFactory()
    AccountFactory.create_batch(60, connection=connection)
    asked = filters(person, "size=25")
    first, second, third, beyond = (list_page(asked, number) for number in ("1", "2", "3", "9"))
    assert first.paginator.count_text == "30+"
    assert [len(page) for page in (first, second, third)] == [25, 25, 10]
    assert [page.has_next() for page in (first, second, third)] == [True, True, False]
    assert len(beyond) > 0


@pytest.mark.long
def test_the_number_of_queries_does_not_grow(person: User, django_assert_max_num_queries: object) -> None:
    def queries(rows: int) -> int:
        with django_assert_max_num_queries(40) as counted:  # type: ignore[operator]
            page = list_page(filters(person, "size=200"), "1")
            assert len(page.object_list) == rows
            tabs_of(filters(person), page.paginator.count)
        return len(counted)

    connection = ConnectionFactory()
    for account in AccountFactory.create_batch(10, connection=connection, customer__owner=person):
        OperationFactory(account=account)
    few = queries(10)
    for account in AccountFactory.create_batch(150, connection=connection, customer__owner=UserFactory()):
        OperationFactory(account=account)
    assert queries(160) == few


def test_a_running_operation_says_so_in_its_row(person: User) -> None:
    account = AccountFactory(changed_what="Note added")
    OperationFactory(account=account, kind="suspend", state="sending")
    [row] = list_page(filters(person), "1").object_list
    assert (row.changed_what, row.moves) == ("Suspend, sending", 2)
    assert Account.objects.get().changed_what == "Note added"


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_create_that_came_to_nothing_is_not_pending_any_more(person: User, end: str) -> None:
    refused = AccountFactory(customer__company_name="Refused", pending=True)
    OperationFactory(account=refused, kind="create", state=end)
    waiting = AccountFactory(customer__company_name="Waiting", pending=True)
    OperationFactory(account=waiting, kind="create", state="unknown")
    AccountFactory(customer__company_name="Well")

    states = {row.company: row.state for row in every_row(filters(person))}
    assert states == {"Refused": "not_created", "Waiting": "pending", "Well": "active"}
    assert found(person, "state=not_created") == ["Refused"]
    assert found(person, "state=pending") == ["Waiting"]
    exported = {row[0]: row[HEADER.index("state")] for row in customer_export_rows(filters(person))}
    assert exported == {"Refused": "Not created", "Waiting": "Pending", "Well": "Active"}
    assert (refused.shown_state, waiting.shown_state) == ("not_created", "pending")


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("typed", ["NFC", "NFD"])
def test_a_name_is_found_in_either_form(person: User, stored: str, typed: str) -> None:
    """Mac file names and some keyboards compose letters in another way; rows of earlier versions hold either."""
    name = "Caf\u00e9 M\u00fchle"
    customer = CustomerFactory(company_name=unicodedata.normalize(stored, name))
    query = unicodedata.normalize(typed, "caf\u00e9 m\u00fc")
    assert found(person, urlencode({"q": query})) == [customer.company_name]
    assert lookalikes(email="", company_name=unicodedata.normalize(typed, name)) == [customer]
    remote_account = RemoteAccount(
        connection=ConnectionFactory(), provider_id="x", name=unicodedata.normalize(typed, name)
    )
    assert list(customers_like(remote_account, text="")) == [customer]
    assert list(customers_like(remote_account, text=query)) == [customer]


@pytest.mark.parametrize(
    ("email", "company", "count"),
    [
        ("MAIL@larkfield.example", "", 1),
        ("", "  larkfield   outdoor ", 1),
        ("mail@larkfield.example", "Larkfield Outdoor", 1),
        ("other@larkfield.example", "Larkfield", 0),
        ("", "", 0),
    ],
)
def test_lookalikes_have_the_same_mail_or_name(email: str, company: str, count: int) -> None:
    customer = CustomerFactory(company_name="Larkfield Outdoor", email="Mail@Larkfield.example")
    assert len(lookalikes(email=email, company_name=company)) == count
    assert lookalikes(email=email, company_name=company, besides=customer.public_id) == []


def test_the_export_holds_every_row_of_the_list(person: User) -> None:
    mixed(30)
    asked = filters(person)
    exported = list(customer_export_rows(asked))
    assert {len(row) for row in exported} == {len(HEADER)}
    assert sorted((row[0], row[4] or "") for row in exported) == sorted(
        (row.company, row.provider_id) for row in every_row(asked)
    )
