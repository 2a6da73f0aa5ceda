"""The pages of customers: the list, adding one, and one customer's page."""

from __future__ import annotations

import csv
import io
import json
import threading
import uuid
from html import unescape
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from customers.directory.queries import ACCOUNTS_A_PAGE
from customers.models import Account, Connection, Customer, Note, Operation
from portal.access.models import User
from tests.support.edits import seen_at
from tests.support.factories import (
    ADDON,
    PACKAGE,
    AccountFactory,
    ConnectionFactory,
    CustomerFactory,
    OfferingFactory,
    OperationFactory,
    UserFactory,
)
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture
def person(client: Client) -> User:
    user = UserFactory(name="Nadia Berg")
    sign_in(client, user)
    return user


@pytest.fixture
def connection() -> Connection:
    connection = ConnectionFactory(name="SendGrid EU")
    OfferingFactory(connection=connection)
    OfferingFactory(connection=connection, name=ADDON, type="addon", entitlements={"ip_count": 1})
    return connection


def form(at: Connection | None, **changes: str) -> dict[str, str]:
    typed = {
        "company_name": "Larkfield Outdoor", "email": "mail@larkfield.example", "phone": "", "website": "",
        "client_token": uuid.uuid4().hex,
    }  # fmt: skip
    if at:
        typed |= {"connection": str(at.public_id), "package": PACKAGE, f"addon-{ADDON}": "2"}
    return typed | changes


def text(response: Any) -> str:
    return response.content.decode()


# -- the list ----------------------------------------------------------------------------------------------------


def test_a_new_installation_says_what_to_do(client: Client, person: User) -> None:
    assert "No customers yet" in text(client.get("/customers/"))


def test_htmx_gets_the_list_alone_and_back_in_history_the_page(client: Client, person: User) -> None:
    AccountFactory()
    fragment = client.get("/customers/", headers=HTMX)
    assert "<html" not in text(fragment)
    assert "HX-Request" in fragment["Vary"]
    again = client.get("/customers/", headers=HTMX | {"HX-History-Restore-Request": "true"})
    assert "<html" in text(again)


def test_rows_are_asked_for_until_their_operations_end(client: Client, person: User) -> None:
    operation = OperationFactory(state="sending")
    address = f"/customers/?rows={operation.account.public_id.hex}&part=0"
    assert address.replace("&", "&amp;") in client.get("/customers/").content.decode()
    rows = client.get(address, headers=HTMX).content.decode()
    assert f'<tr id="row-{operation.account.public_id}" hx-swap-oob="morph"' in rows
    assert address.replace("&", "&amp;") in rows
    Operation.objects.filter(pk=operation.pk).update(state="succeeded", finished_at=timezone.now())
    assert "hx-get" not in client.get(address, headers=HTMX).content.decode()


def test_editing_nothing_selected_keeps_the_filters(client: Client, person: User) -> None:
    AccountFactory()
    address = "/customers/?state=active&sort=name"
    bulk = client.get(address).content.decode().split('id="bulk"')[1].split("</form>")[0]
    action = unescape(bulk.split('action="')[1].split('"')[0])
    answer = client.post(action, {"by": "ticks"}, follow=True)
    assert answer.redirect_chain == [(address, 303)]
    assert "No accounts selected" in text(answer)
    assert client.post("/changes/new/", {"by": "ticks"}).headers["Location"] == "/customers/"


def test_the_export_is_the_filtered_list_with_formulas_escaped(client: Client, person: User) -> None:
    AccountFactory(customer__company_name="=HYPERLINK(1)", state="stopped_by_us", usage_used=0)
    AccountFactory(customer__company_name="Other")
    CustomerFactory(company_name="Bare")
    response = client.get("/customers/export/?state=stopped_by_us")
    rows = list(csv.reader(io.StringIO(b"".join(response.streaming_content).decode("utf-8-sig"))))  # type: ignore[attr-defined]
    assert [row[0] for row in rows] == ["customer", "'=HYPERLINK(1)"]
    assert (rows[1][6], rows[1][9]) == ("Suspended", "0")


def test_the_pages_of_hostile_names_stay_pages(client: Client, person: User) -> None:
    account = AccountFactory(customer__company_name="<script>alert(1)</script>", changed_what="<b>x</b>")
    for address in ("/customers/", f"/customers/{account.customer.public_id}/", f"/accounts/{account.public_id}/", "/"):
        assert "<script>alert" not in text(client.get(address))


# -- adding one --------------------------------------------------------------------------------------------------


def test_a_customer_with_an_account_leads_to_the_account(client: Client, person: User, connection: Connection) -> None:
    response = client.post("/customers/new/", form(connection, phone="+49 (30) 123-456", timezone="Europe/Berlin"))
    account = Account.objects.get()
    assert (response.status_code, response["Location"]) == (303, f"/accounts/{account.public_id}/")
    operation = Operation.objects.get()
    assert operation.payload["profile"] == {
        "email": "mail@larkfield.example", "first_name": "", "last_name": "", "company_name": "Larkfield Outdoor",
        "company_website": "", "phone": "+4930123456", "timezone": "Europe/Berlin",
    }  # fmt: skip
    assert [(row["name"], row["quantity"]) for row in operation.payload["offerings"]] == [(PACKAGE, 1), (ADDON, 2)]


def test_a_customer_without_an_account_leads_to_the_customer(client: Client, person: User) -> None:
    response = client.post("/customers/new/", form(None))
    customer = Customer.objects.get()
    assert response["Location"] == f"/customers/{customer.public_id}/"
    assert not Operation.objects.exists()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("sendgrid", "created at SendGrid immediately. Billing starts as soon as it exists."),
        ("ahasend", "created at AhaSend immediately. The emails it sends are billed to your AhaSend account."),
    ],
)
def test_a_create_says_what_is_billed(client: Client, person: User, kind: str, says: str) -> None:
    ConnectionFactory(kind=kind, account_id=str(uuid.uuid4()))
    assert says in " ".join(text(client.get("/customers/new/")).split())


def test_a_test_only_connection_always_creates_test_accounts(
    client: Client, person: User, connection: Connection
) -> None:
    Connection.objects.update(test_accounts_only=True)
    assert "This will be a test account" in text(client.get("/customers/new/"))
    client.post("/customers/new/", form(connection))
    assert Operation.objects.get().payload["is_test"] is True


@pytest.mark.parametrize(
    ("field", "typed"),
    [
        ("email", "not a mail"), ("email", ""), ("company_name", ""), ("phone", "030 123"),
        ("phone", "+49 30 12345678901234"), ("website", "no spaces here"), ("website", "javascript:alert(1)"),
        ("timezone", "Europe/Nowhere"), ("package", ""), ("package", "not.in.catalogue"), (f"addon-{ADDON}", "-1"),
        ("connection", "00000000-0000-0000-0000-000000000000"),
    ],
)  # fmt: skip
def test_what_is_wrong_comes_back_with_everything_typed(
    client: Client, person: User, connection: Connection, field: str, typed: str
) -> None:
    response = client.post("/customers/new/", form(connection, first_name="Jörg", **{field: typed}))
    assert response.status_code == 422
    page = text(response)
    assert 'value="Jörg"' in page
    assert "pk-errors" in page
    assert not Customer.objects.exists()


def test_what_a_request_claims_was_shown_is_checked(client: Client, person: User) -> None:
    wrong = {"email": "not an address", "website": "javascript:alert(1)"}
    answer = client.post("/customers/new/", form(None) | wrong | {"seen": json.dumps(wrong)})
    assert answer.status_code == 422
    assert not Customer.objects.exists()


@pytest.mark.parametrize(
    "website", ["www.example.com", "https://example.com/shop", "example.com:8443", "bücher.example"]
)
def test_a_website_may_leave_the_scheme_out(client: Client, person: User, website: str) -> None:
    client.post("/customers/new/", form(None, website=website))
    assert Customer.objects.get().website == website


def test_a_refusal_leaves_no_customer_and_keeps_what_was_typed(
    client: Client, person: User, connection: Connection
) -> None:
    Connection.objects.update(paused="person")
    response = client.post("/customers/new/", form(connection))
    assert response.status_code == 422
    assert "is paused" in text(response)
    assert not Customer.objects.exists()


def test_a_lookalike_must_be_looked_at_first(client: Client, person: User, connection: Connection) -> None:
    CustomerFactory(company_name="LARKFIELD outdoor", email="other@example.com")
    typed = form(connection)
    refused = client.post("/customers/new/", typed)
    assert refused.status_code == 422
    assert "LARKFIELD outdoor" in text(refused)
    assert Customer.objects.count() == 1
    agreed = client.post("/customers/new/", typed | {"seen": refused.context["fingerprint"]})
    assert agreed.status_code == 303


def test_the_tick_counts_only_for_those_that_were_shown(client: Client, person: User) -> None:
    CustomerFactory(email="mail@larkfield.example")
    seen = client.post("/customers/new/", form(None)).context["fingerprint"]
    CustomerFactory(company_name="Larkfield Outdoor")
    response = client.post("/customers/new/", form(None, seen=seen))
    assert (response.status_code, len(response.context["duplicates"])) == (422, 2)


def test_lookalikes_are_shown_while_typing(client: Client, person: User) -> None:
    CustomerFactory(company_name="Halden", email="it@halden.example")
    assert "Halden" in text(client.get("/customers/new/duplicates/?email=IT@halden.example&company_name="))
    assert "Halden" not in text(client.get("/customers/new/duplicates/?email=it@&company_name="))


def test_without_script_a_connections_packages_can_be_shown(
    client: Client, person: User, connection: Connection
) -> None:
    other = ConnectionFactory()
    OfferingFactory(connection=other, name="other.ei.big-1m.v1")
    response = client.post(
        "/customers/new/", form(None, connection=str(other.public_id), show="packages", phone="nonsense")
    )
    assert response.status_code == 200
    assert "other.ei.big-1m.v1" in text(response)
    assert 'value="nonsense"' in text(response)
    assert not Customer.objects.exists()


def test_the_form_sent_twice_leads_to_the_same_account(client: Client, person: User, connection: Connection) -> None:
    typed = form(connection, external_reference="K-1")
    assert client.post("/customers/new/", typed)["Location"] == client.post("/customers/new/", typed)["Location"]
    assert (Customer.objects.count(), Account.objects.count(), Operation.objects.count()) == (1, 1, 1)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("with_account", [True, False])
def test_twenty_identical_posts_at_once_make_one_of_each(with_account: bool) -> None:
    user, connection = UserFactory(), ConnectionFactory()
    OfferingFactory(connection=connection)
    typed = form(connection if with_account else None, external_reference="K-1")
    typed.pop(f"addon-{ADDON}", None)
    clients = [sign_in(Client(), user) for _ in range(20)]
    together, answers = threading.Barrier(20), []

    def post(client: Client) -> None:
        try:
            together.wait(20)
            response = client.post("/customers/new/", typed)
            answers.append((response.status_code, response.get("Location")))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=post, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    made = int(with_account)
    assert (Customer.objects.count(), Account.objects.count(), Operation.objects.count()) == (1, made, made)
    assert len(answers) == 20
    assert {status for status, _address in answers} == {303}
    assert len({address for _status, address in answers}) == 1


# -- one customer --------------------------------------------------------------------------------------------------


def test_a_customer_without_an_account_says_so(client: Client, person: User) -> None:
    page = text(client.get(f"/customers/{CustomerFactory().public_id}/"))
    assert "No account yet" in page


def test_the_edit_says_what_does_not_reach_the_provider(client: Client, person: User) -> None:
    customer = AccountFactory().customer
    page = text(client.get(f"/customers/{customer.public_id}/edit/"))
    assert "Stored in the portal only." in page
    response = client.post(
        f"/customers/{customer.public_id}/edit/",
        {"company_name": "New name", "email": customer.email, "owner": str(person.public_id), "tags": "a, b,a"}
        | seen_at(client, f"/customers/{customer.public_id}/edit/"),
    )
    assert response.status_code == 303
    customer.refresh_from_db()
    assert (customer.company_name, customer.owner, customer.tags) == ("New name", person, ["a", "b"])


def test_a_name_with_a_direction_mark_is_refused_and_kept(client: Client, person: User) -> None:
    answer = client.post("/customers/new/", form(None, company_name="Lark\u202efield", external_reference="K-7"))
    assert answer.status_code == 422
    assert "Remove the invisible character U+202E after \u201cLark\u201d." in text(answer)
    assert "Lark\u202efield" in text(answer)
    assert 'value="K-7"' in text(answer)
    assert not Customer.objects.exists()


def test_a_name_is_stored_composed(client: Client, person: User) -> None:
    client.post("/customers/new/", form(None, company_name="Cafe\u0301"))
    assert Customer.objects.get().company_name == "Caf\u00e9"


def test_a_reference_that_was_stored_decomposed_is_found(client: Client, person: User) -> None:
    CustomerFactory(external_reference="Cafe\u0301", company_name="First")
    answer = client.post("/customers/new/", form(None, external_reference="Caf\u00e9"))
    assert answer.status_code == 422
    assert "First already has this external reference." in text(answer)


def test_an_edit_with_errors_keeps_what_was_typed(client: Client, person: User) -> None:
    CustomerFactory(external_reference="K-1", company_name="First")
    customer = CustomerFactory()
    typed = {"company_name": "Typed", "email": "x", "external_reference": "K-1"}
    response = client.post(f"/customers/{customer.public_id}/edit/", typed)
    assert response.status_code == 422
    assert 'value="Typed"' in text(response)
    assert "First already has this external reference." in text(response)


def test_whoever_owns_it_stays_choosable_when_they_left(client: Client, person: User) -> None:
    gone = UserFactory(is_active=False, name="Gone Person")
    customer = CustomerFactory(owner=gone)
    assert "Gone Person" in text(client.get(f"/customers/{customer.public_id}/edit/"))
    assert "Gone Person" not in text(client.get("/customers/new/"))


def test_archive_and_restore(client: Client, person: User) -> None:
    customer = CustomerFactory()
    client.post(f"/customers/{customer.public_id}/archive/")
    assert "Archived" in text(client.get(f"/customers/{customer.public_id}/"))
    client.post(f"/customers/{customer.public_id}/restore/")
    customer.refresh_from_db()
    assert customer.archived_at is None


@pytest.mark.parametrize(
    ("state", "offered"), [("active", False), ("stopped_by_provider", False), ("banned", True), ("deleted", True)]
)
def test_archiving_is_offered_once_no_account_lives(client: Client, person: User, state: str, offered: bool) -> None:
    page = text(client.get(f"/customers/{AccountFactory(state=state).customer.public_id}/"))
    assert ("Archive customer" in page) is offered


def test_a_note_shows_in_the_timeline(client: Client, person: User) -> None:
    account = AccountFactory()
    address = f"/customers/{account.customer.public_id}/notes/"
    response = client.post(address, {"text": "They ring on Mondays.", "account": str(account.public_id)})
    assert response["Location"] == f"/accounts/{account.public_id}/"
    for page in (f"/accounts/{account.public_id}/", f"/customers/{account.customer.public_id}/?show=notes"):
        assert "They ring on Mondays." in text(client.get(page))


def test_adding_a_note_clears_the_field_and_updates_the_timeline(client: Client, person: User) -> None:
    customer = CustomerFactory()
    address = f"/customers/{customer.public_id}/notes/"
    response = client.post(address, {"text": "A note"}, headers=HTMX)
    assert json.loads(response["HX-Trigger"]) == {
        "timeline-changed": {},
        "toast": {"text": "Note added.", "kind": "good"},
    }
    assert "A note" not in text(response)
    refused = client.post(address, {"text": " "}, headers=HTMX)
    assert refused.status_code == 422
    assert "Enter a note." in text(refused)
    assert Note.objects.count() == 1


def test_the_timeline_goes_on_where_it_stopped(client: Client, person: User) -> None:
    customer = CustomerFactory()
    for n in range(45):
        client.post(f"/customers/{customer.public_id}/notes/", {"text": f"Note number {n:02}."})
    first = client.get(f"/customers/{customer.public_id}/timeline/", headers=HTMX)
    older = first.context["timeline"].older
    second = client.get(f"/customers/{customer.public_id}/timeline/?before={older}", headers=HTMX)
    shown = text(first) + text(second)
    assert [shown.count(f"Note number {n:02}.") for n in range(45)] == [1] * 45
    assert second.context["timeline"].older == ""


NO_EVENT = "11111111-2222-4333-8444-555555555555"


@pytest.mark.parametrize(("name", "value"), [("show", "nonsense"), ("before", "nonsense"), ("before", NO_EVENT)])
def test_the_timeline_refuses_what_it_does_not_know(client: Client, person: User, name: str, value: str) -> None:
    account = AccountFactory()
    client.post(f"/customers/{account.customer.public_id}/notes/", {"text": "A note of March."})
    for address in (f"/customers/{account.customer.public_id}/", f"/accounts/{account.public_id}/"):
        page = client.get(f"{address}?{name}={value}")
        assert f"unknown value “{value}”" in text(page)
        assert "A note of March." not in text(page)
        assert "No activity yet" not in text(page)
        assert "A note of March." in text(client.get(f"{address}?show=notes"))


def test_the_accounts_of_a_customer_are_paged(client: Client, person: User) -> None:
    customer = CustomerFactory()
    connection = ConnectionFactory()
    for n in range(ACCOUNTS_A_PAGE + 1):
        AccountFactory(customer=customer, connection=connection, provider_id=f"sg-{n:03}")
    first, second = (client.get(f"/customers/{customer.public_id}/{page}") for page in ("", "?page=2"))
    assert (first.content.count(b"sg-"), second.content.count(b"sg-")) == (ACCOUNTS_A_PAGE, 1)
    assert f"{ACCOUNTS_A_PAGE} of {ACCOUNTS_A_PAGE + 1}" in text(first)
    part = client.get(f"/customers/{customer.public_id}/?page=2", headers=HTMX)
    assert (first.content.count(b'id="customer-accounts"'), part.content.count(b"customer-accounts")) == (1, 1)
    assert b'hx-target="#customer-accounts"' in part.content, "the answer goes inside of what it names"
    assert part.content.count(b"sg-") == 1
