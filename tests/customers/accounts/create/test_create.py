"""Asking for an account that has settings and a first key: what is typed, what is refused, and what goes out."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.test import Client

from customers.accounts.settings.forms import SettingsForm
from customers.forms import host_of
from customers.models import Account, Connection, Customer, Operation
from portal.access.models import User
from portal.providers import CAPABILITIES
from tests.customers.keys import connection_with_keys
from tests.customers.page_helpers import HTMX, checked, hidden, text_of
from tests.support.factories import CustomerFactory, OfferingFactory, OperationFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
NEW = "/customers/new/"


@pytest.fixture
def person(client: Client) -> User:
    user = UserFactory(name="Nadia Berg")
    sign_in(client, user)
    return user


@pytest.fixture
def connection() -> Connection:
    return connection_with_keys(name="AhaSend")


def customer_facts(**changes: Any) -> dict[str, Any]:
    return {
        "company_name": "Larkfield Outdoor", "email": "mail@larkfield.example", "website": "", "phone": "",
        "client_token": uuid.uuid4().hex,
    } | changes  # fmt: skip


def account_facts(at: Connection, **changes: Any) -> dict[str, Any]:
    return {
        "connection": str(at.public_id), "account-name": "Larkfield", "account-website": "shop.larkfield.example",
        "account-cap": "cap", "account-monthly_cap": "250,000", "key-make": "on", "key-label": "Web shop",
        "key-rights": "send", "key-ip_allow_list": "",
    } | changes  # fmt: skip


def typed(at: Connection, **changes: Any) -> dict[str, Any]:
    return customer_facts() | account_facts(at) | changes


def create_and_key() -> tuple[Operation, Operation | None]:
    create = Operation.objects.get(kind="create")
    return create, create.followers.first()


def test_the_account_and_its_first_key_are_asked_for_together(
    client: Client, person: User, connection: Connection
) -> None:
    answer = client.post(NEW, typed(connection))
    account = Account.objects.get()
    assert (answer.status_code, answer["Location"]) == (303, f"/accounts/{account.public_id}/")
    create, key = create_and_key()
    assert create.payload["settings"] == {
        "name": "Larkfield", "website": "shop.larkfield.example", "monthly_cap": 250_000,
    }  # fmt: skip
    assert create.payload["offerings"] == []
    assert key is not None
    assert key.payload["key"] == {"label": "Web shop", "scopes": ["messages:send:all"], "ip_allow_list": []}
    assert key.payload["keep"] is False


def test_single_scopes_addresses_and_keeping_go_with_the_key(
    client: Client, person: User, connection: Connection
) -> None:
    more = {
        "key-rights": "single", "key-scopes": ["domains:read", "messages:send:all"],
        "key-ip_allow_list": "203.0.113.9\n198.51.100.77/24", "key-keep": "on",
    }  # fmt: skip
    answer = client.post(NEW, typed(connection, **more))
    key = create_and_key()[1]
    assert key is not None
    assert key.payload["key"]["scopes"] == ["messages:send:all", "domains:read"]
    assert key.payload["key"]["ip_allow_list"] == ["203.0.113.9/32", "198.51.100.0/24"]
    assert key.payload["keep"] is True
    assert "198.51.100.77/24 was saved as 198.51.100.0/24." in text_of(client.get(answer["Location"]))


def test_no_key_is_made_where_none_is_wanted(client: Client, person: User, connection: Connection) -> None:
    facts = typed(connection, **{"key-label": ""})
    del facts["key-make"]
    assert client.post(NEW, facts).status_code == 303
    assert create_and_key()[1] is None


def test_keeping_is_offered_only_where_the_connection_allows_it(client: Client, person: User) -> None:
    connection = connection_with_keys(keep_keys=False)
    assert "key-keep" not in text_of(client.get(NEW))
    client.post(NEW, typed(connection, **{"key-keep": "on"}))
    key = create_and_key()[1]
    assert key is not None
    assert key.payload["keep"] is False


@pytest.mark.parametrize("number", ["", " ", "0", "-1", "2.5", "1e6", "1.0000", "a lot", "1,000,000,001"])
def test_a_cap_without_a_valid_number_is_a_field_error(
    client: Client, person: User, connection: Connection, number: str
) -> None:
    answer = client.post(NEW, typed(connection, **{"account-monthly_cap": number}))
    assert answer.status_code == 422
    assert 'id="id_account-monthly_cap_error"' in text_of(answer)
    assert not Operation.objects.exists()
    assert not Customer.objects.exists()


@pytest.mark.parametrize(
    ("number", "cap"), [("1", 1), ("250000", 250_000), ("250,000", 250_000), ("250.000", 250_000), ("1 000 000", 10**6)]
)
def test_a_cap_may_be_written_as_people_write_it(number: str, cap: int) -> None:
    form = SettingsForm({"name": "a", "website": "a.example", "cap": "cap", "monthly_cap": number})
    assert form.is_valid(), form.errors
    assert form.chosen().monthly_cap == cap


def test_no_cap_is_0_and_a_choice_of_its_own(client: Client, person: User, connection: Connection) -> None:
    client.post(NEW, typed(connection, **{"account-cap": "none", "account-monthly_cap": "not a number"}))
    assert create_and_key()[0].payload["settings"]["monthly_cap"] == 0


def test_no_choice_of_a_cap_is_refused(client: Client, person: User, connection: Connection) -> None:
    answer = client.post(NEW, typed(connection, **{"account-cap": ""}))
    assert answer.status_code == 422
    assert "Choose “No cap” or “Set a cap”." in text_of(answer)


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("https://Shop.Larkfield.example/sale?x=1", "shop.larkfield.example"),
        ("larkfield.example.", "larkfield.example"),
        ("http://larkfield.example:8080", "larkfield.example"), ("bücher.example", "xn--bcher-kva.example"),
    ],
)  # fmt: skip
def test_a_website_becomes_a_bare_host_and_that_is_said(
    client: Client, person: User, connection: Connection, written: str, host: str
) -> None:
    answer = client.post(NEW, typed(connection, **{"account-website": written}))
    assert create_and_key()[0].payload["settings"]["website"] == host
    assert f"was saved as {host}." in text_of(client.get(answer["Location"]))


@pytest.mark.parametrize("website", ["localhost", "no spaces.example", "http://", "192.0.2.1", "-a.example", "[::1"])
def test_what_is_no_host_name_is_refused(client: Client, person: User, connection: Connection, website: str) -> None:
    answer = client.post(NEW, typed(connection, **{"account-website": website}))
    assert answer.status_code == 422
    assert 'id="id_account-website_error"' in text_of(answer)
    assert host_of(website) is not None


def test_left_empty_name_and_website_are_the_customers(client: Client, person: User, connection: Connection) -> None:
    empty = {"account-name": "", "account-website": "", "website": "https://www.larkfield.example/shop"}
    client.post(NEW, typed(connection, **empty))
    settings = create_and_key()[0].payload["settings"]
    assert (settings["name"], settings["website"]) == ("Larkfield Outdoor", "www.larkfield.example")


def test_without_any_website_it_is_asked_for(client: Client, person: User, connection: Connection) -> None:
    answer = client.post(NEW, typed(connection, **{"account-website": ""}))
    assert answer.status_code == 422
    page = text_of(answer)
    assert "Enter a website hostname, such as shop.example.com." in page
    label = re.search(r'<label[^>]*for="id_account-website"[^>]*>(.*?)</label>', page)
    assert label
    assert "optional" not in label[1]
    assert "Required, such as shop.example.com." in page


def test_what_is_wrong_comes_back_with_everything_typed(client: Client, person: User, connection: Connection) -> None:
    more = {
        "account-name": "Lárk", "account-monthly_cap": "", "key-label": "", "key-rights": "single",
        "key-scopes": ["domains:read"], "key-ip_allow_list": "not an address", "key-keep": "on",
    }  # fmt: skip
    answer = client.post(NEW, typed(connection, **more))
    page = text_of(answer)
    assert answer.status_code == 422
    assert hidden(answer, "account-name") == "Lárk"
    assert hidden(answer, "account-website") == "shop.larkfield.example"
    assert "not an address</textarea>" in page
    assert 'value="domains:read" checked' in page
    assert 'name="account-cap" value="cap" checked' in page
    for wrong in ("account-monthly_cap", "key-label", "key-ip_allow_list"):
        assert f'id="id_{wrong}_error"' in page, wrong
    assert not Customer.objects.exists()


def test_a_duplicate_name_and_website_is_an_error_on_the_name(
    client: Client, person: User, connection: Connection
) -> None:
    client.post(NEW, typed(connection))
    again = typed(connection, company_name="Another", email="another@customer.example")
    answer = client.post(NEW, again)
    assert answer.status_code == 422
    assert 'id="id_account-name_error"' in text_of(answer)
    assert Customer.objects.count() == 1


def test_selecting_a_connection_shows_its_fields_and_keeps_input(
    client: Client, person: User, connection: Connection
) -> None:
    facts = customer_facts(website="https://larkfield.example/") | {"connection": str(connection.public_id)}
    answer = client.post(NEW, facts | {"show": "part"}, **HTMX)
    page = text_of(answer)
    assert answer.status_code == 200
    assert "<html" not in page
    assert (hidden(answer, "account-name"), hidden(answer, "account-website")) == (
        "Larkfield Outdoor", "larkfield.example",
    )  # fmt: skip
    assert "pk-errors" not in page
    assert not Customer.objects.exists()


def test_without_script_the_whole_page_comes_back_with_all_of_it(
    client: Client, person: User, connection: Connection
) -> None:
    answer = client.post(NEW, typed(connection, show="part", **{"account-name": "Typed", "key-label": "Typed too"}))
    assert "<html" in text_of(answer)
    assert (hidden(answer, "account-name"), hidden(answer, "key-label")) == ("Typed", "Typed too")
    assert hidden(answer, "account-monthly_cap") == "250,000"
    assert not Customer.objects.exists()


def test_a_cleared_box_stays_cleared_at_another_connection(
    client: Client, person: User, connection: Connection
) -> None:
    other = connection_with_keys(name="AhaSend B")
    typed_at_first = typed(connection, connection=str(other.public_id), show="part")
    assert checked(client.post(NEW, typed_at_first, **HTMX), "key-make")
    del typed_at_first["key-make"]
    assert not checked(client.post(NEW, typed_at_first, **HTMX), "key-make")
    nothing_shown = customer_facts(connection=str(other.public_id), show="part")
    assert checked(client.post(NEW, nothing_shown, **HTMX), "key-make")


def test_a_connection_without_settings_asks_for_none(client: Client, person: User) -> None:
    OfferingFactory()
    page = text_of(client.get(NEW))
    assert "account-website" not in page
    assert "First API key" not in page


# -- a further account, and a refused one again ---------------------------------------------------------------------


def test_a_further_account_is_prefilled_from_the_customer(client: Client, person: User, connection: Connection) -> None:
    customer = CustomerFactory(company_name="Larkfield", website="https://www.larkfield.example/")
    address = f"/customers/{customer.public_id}/accounts/new/"
    answer = client.get(address)
    assert (hidden(answer, "account-name"), hidden(answer, "account-website")) == ("Larkfield", "www.larkfield.example")
    assert "first_name" not in text_of(answer)
    assert "take_over" not in text_of(answer)
    sent = client.post(address, account_facts(connection) | {"client_token": uuid.uuid4().hex})
    assert sent.status_code == 303
    create, key = create_and_key()
    assert (create.account.customer, create.account.email) == (customer, customer.email)
    assert key is not None


def refused(connection: Connection, **more: Any) -> Operation:
    customer = CustomerFactory(company_name="Larkfield", website="")
    settings = {"name": "Lark", "website": "lark.example", "monthly_cap": 5_000}
    account = Account.objects.create(
        customer=customer, connection=connection, email=customer.email, desired_settings=settings,
        changed_at=customer.created_at,
    )  # fmt: skip
    facts: dict[str, Any] = {
        "field_errors": [{"field": "", "message": "website is reserved", "code": ""}], "error_kind": "rejected",
        "payload": {
            "profile": {"email": customer.email}, "offerings": [], "is_test": False, "settings": settings,
        },
    }  # fmt: skip
    create: Operation = OperationFactory(account=account, kind="create", state="failed", **(facts | more))
    OperationFactory(
        account=account, kind="key_create", state="failed", error_kind="leader", follows=create,
        summary="The account was not created.",
        payload={
            "key": {"label": "Web shop", "scopes": ["messages:send:all"], "ip_allow_list": ["203.0.113.9/32"]},
            "keep": True, "replaces": "",
        },
    )  # fmt: skip
    return create


def test_a_refused_create_can_be_corrected_with_everything_kept(
    client: Client, person: User, connection: Connection
) -> None:
    create = refused(connection)
    shown = text_of(client.get(f"/accounts/{create.account.public_id}/"))
    address = f"/customers/{create.account.customer.public_id}/accounts/new/"
    assert "website is reserved" in shown, "the create is the news, not the key that had to fail with it"
    assert f"{address}?from={create.public_id}" in shown

    answer = client.get(f"{address}?from={create.public_id}")
    page = text_of(answer)
    assert "website is reserved" in page
    for name, value in (("account-name", "Lark"), ("account-website", "lark.example"), ("key-label", "Web shop")):
        assert hidden(answer, name) == value
    assert hidden(answer, "account-monthly_cap") == "5,000"
    assert "203.0.113.9/32</textarea>" in page
    assert re.search(r'<input[^>]*name="key-keep"[^>]* checked', page)

    facts = account_facts(connection, **{"account-website": "lark-shop.example"})
    sent = client.post(address, facts | {"from": str(create.public_id), "client_token": uuid.uuid4().hex})
    assert sent["Location"] == f"/accounts/{create.account.public_id}/"
    again = Operation.objects.get(retry_of=create)
    assert (again.account, again.payload["settings"]["website"]) == (create.account, "lark-shop.example")
    assert again.followers.count() == 1


def test_an_error_that_names_a_field_stands_beside_it(client: Client, person: User, connection: Connection) -> None:
    create = refused(connection, field_errors=[{"field": "website", "message": "not a host name", "code": ""}])
    answer = client.get(f"/customers/{create.account.customer.public_id}/accounts/new/?from={create.public_id}")
    assert 'id="id_account-website_error"' in text_of(answer)
    assert answer.context["other_errors"] == []


# -- a right that our own key lacks ---------------------------------------------------------------------------------


def lacking(*scopes: str) -> list[dict[str, Any]]:
    names = [scope.name for scope in CAPABILITIES["ahasend"].own_scopes]
    return [{"name": name, "ok": name not in scopes, "detail": ""} for name in names]


def test_without_the_scope_to_create_nothing_can_be_asked(client: Client, person: User) -> None:
    connection = connection_with_keys(checks=lacking("sub-accounts:write"))
    page = text_of(client.get(NEW))
    assert "lacks the scope sub-accounts:write" in page
    assert '<button class="pk-btn pk-primary" disabled>' in page
    answer = client.post(NEW, typed(connection))
    assert answer.status_code == 422
    assert not Operation.objects.exists()


def test_without_the_scope_for_keys_an_account_can_still_be_made(client: Client, person: User) -> None:
    connection = connection_with_keys(checks=lacking("sub-account-api-keys:write"))
    page = text_of(client.get(NEW))
    assert "lacks the scope sub-account-api-keys:write" in page
    assert "key-label" not in page
    assert client.post(NEW, typed(connection)).status_code == 303
    assert create_and_key()[1] is None
