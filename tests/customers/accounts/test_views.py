"""An account's page says what it has, what runs, and what its state asks of people."""

from __future__ import annotations

import html
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from customers.models import Account, Connection, Operation
from customers.models.account import as_offerings
from customers.operations.commands import request_create
from portal.access.models import User
from portal.commands import Command
from portal.formats import clock_text
from portal.providers import Profile
from tests.customers.page_helpers import checked, fields, prose_of, text_of
from tests.support.factories import (
    ADDON,
    PACKAGE,
    PACKAGE_ROW,
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
    connection = ConnectionFactory()
    OfferingFactory(connection=connection)
    OfferingFactory(connection=connection, name=ADDON, type="addon", entitlements={"ip_count": 1})
    return connection


def page(client: Client, account: Any) -> str:
    response = client.get(f"/accounts/{account.public_id}/")
    assert response.status_code == 200
    return html.unescape(response.content.decode())


@pytest.mark.parametrize(
    ("state", "raw", "says"),
    [
        ("stopped_by_us", "deactivated", "This account is suspended."),
        ("stopped_by_provider", "suspended", "SendGrid blocked this account."),
        ("banned", "banned", "SendGrid permanently banned this account."),
        ("indeterminate", "indeterminate", "SendGrid doesn't report a clear state for this account."),
        ("unknown", "not found", "SendGrid no longer recognizes this account ID."),
        ("unknown", "frozen", "SendGrid reports an unrecognized state: frozen"),
        ("unknown", "", "This account's state hasn't been checked yet."),
    ],
)
def test_a_state_that_is_not_healthy_is_explained(
    client: Client, person: User, state: str, raw: str, says: str
) -> None:
    assert says in page(client, AccountFactory(state=state, state_raw=raw))


def test_who_suspended_an_account_is_said_where_it_is_known(client: Client, person: User) -> None:
    account = AccountFactory(state="stopped_by_us", state_raw="deactivated")
    outside = "It was suspended outside the portal."
    assert outside in page(client, account)
    facts = {"account": account, "state": "succeeded", "requested_by": person}
    OperationFactory(kind="suspend", reason="Unpaid", **facts)
    assert "Requested by Nadia Berg: Unpaid" in page(client, account)
    assert outside not in page(client, account)
    OperationFactory(kind="unsuspend", reason="Paid", **facts)
    assert outside in page(client, account)


def test_the_owner_of_an_account_has_a_row_of_its_own(client: Client, person: User) -> None:
    owned, nobodys = AccountFactory(customer__owner=person), AccountFactory(customer__owner=None)
    assert "<dt>Owner</dt> <dd> Nadia Berg </dd>" in " ".join(page(client, owned).split())
    row = '<dt>Owner</dt> <dd> <span class="pk-mute">Unassigned</span> </dd>'
    assert row in " ".join(page(client, nobodys).split())


def test_a_healthy_account_is_quiet(client: Client, person: User) -> None:
    assert "pk-notice" not in page(client, AccountFactory())


@pytest.mark.parametrize(
    ("state", "suspend", "unsuspend"),
    [
        ("active", True, False), ("indeterminate", True, False), ("stopped_by_us", False, True),
        ("stopped_by_provider", False, False), ("banned", False, False), ("deleted", False, False),
    ],
)  # fmt: skip
def test_only_what_the_state_allows_is_offered(
    client: Client, person: User, state: str, suspend: bool, unsuspend: bool
) -> None:
    account = AccountFactory(state=state)
    shown = page(client, account)
    assert (f"/accounts/{account.public_id}/suspend/" in shown) is suspend
    assert (f"/accounts/{account.public_id}/unsuspend/" in shown) is unsuspend
    assert (f"/accounts/{account.public_id}/offerings/" in shown) is (state != "deleted")


@pytest.mark.parametrize("role", ["finance", "auditor"])
def test_who_may_change_nothing_is_offered_nothing(client: Client, role: str) -> None:
    sign_in(client, UserFactory(role=role))
    account = AccountFactory()
    shown = page(client, account) + client.get(f"/customers/{account.customer.public_id}/").content.decode()
    for part in ("suspend/", "sign-in-as/", "offerings/", "delete/", "refresh/", "notes/", "edit/", "archive/"):
        assert part not in shown


def test_what_runs_shows_its_steps_and_asks_again(client: Client, person: User) -> None:
    operation = OperationFactory(state="sending", requested_by=person)
    shown = page(client, operation.account)
    assert f"/operations/{operation.public_id}/progress/" in shown
    assert "Requested by Nadia Berg." in shown


def test_a_change_that_runs_stands_beside_what_is(client: Client, person: User, connection: Connection) -> None:
    account = AccountFactory(connection=connection)
    payload = {"base": [PACKAGE_ROW], "offerings": [PACKAGE_ROW, {"name": ADDON, "type": "addon", "quantity": 3}]}
    OperationFactory(account=account, kind="offerings", state="queued", payload=payload)
    response = client.get(f"/accounts/{account.public_id}/")
    lines = {line.name: (line.quantity, line.asked) for line in response.context["found"].lines}
    assert lines == {PACKAGE: (1, None), ADDON: (0, 3)}


def test_an_offering_missing_from_the_catalog_is_marked(client: Client, person: User) -> None:
    rows = [PACKAGE_ROW, {"name": "old.thing", "type": "addon", "quantity": 1}]
    assert "Not in the catalog" in page(client, AccountFactory(offerings=rows))


def test_an_unknown_create_says_what_we_do_not_know(client: Client, person: User) -> None:
    operation = OperationFactory(account=AccountFactory(pending=True), kind="create", state="unknown")
    assert "We don't know if SendGrid created this account." in page(client, operation.account)
    Operation.objects.filter(pk=operation.pk).update(unknown_at=datetime(2026, 11, 18, 14, 21, tzinfo=UTC))
    shown = prose_of(client.get(f"/operations/{operation.public_id}/"))
    assert "Outcome unknown since 18 Nov 2026 14:21 UTC" in shown


def refused(connection: Connection) -> Operation:
    account = AccountFactory(pending=True, connection=connection, customer__phone="+4930999")
    profile = {"email": "mail@larkfield.example", "phone": "+49301234567", "company_name": "Larkfield"}
    return OperationFactory(
        account=account, kind="create", state="failed", error_kind="rejected", summary="SendGrid said no.",
        field_errors=[
            {"field": "phone", "message": "phone is not valid", "code": ""},
            {"field": "offerings", "message": "package is not for sale", "code": ""},
        ],
        payload={"profile": profile, "offerings": [PACKAGE_ROW], "is_test": True},
    )  # fmt: skip


def test_a_refused_create_can_be_corrected(client: Client, person: User, connection: Connection) -> None:
    operation = refused(connection)
    address = f"/customers/{operation.account.customer.public_id}/accounts/new/"
    shown = page(client, operation.account)
    assert f"{address}?from={operation.public_id}" in shown
    assert "phone is not valid" in shown

    response = client.get(f"{address}?from={operation.public_id}")
    form = response.context["profile_form"]
    assert form["email"].value() == "mail@larkfield.example"
    assert form.errors["phone"] == ["phone is not valid"]
    assert response.context["other_errors"] == ["package is not for sale"]
    assert response.context["offerings_form"]["package"].value() == PACKAGE
    assert response.context["account_form"]["is_test"].value() is True

    typed = {
        "from": str(operation.public_id), "connection": str(connection.public_id), "package": PACKAGE,
        "email": "mail@larkfield.example", "phone": "+4930123456", "client_token": uuid4().hex, "take_over": "on",
    }  # fmt: skip
    sent = client.post(address, typed)
    assert sent["Location"] == f"/accounts/{operation.account.public_id}/"
    again = Operation.objects.get(retry_of=operation)
    assert (again.account, again.payload["profile"]["phone"]) == (operation.account, "+4930123456")
    operation.account.customer.refresh_from_db()
    assert operation.account.customer.phone == "+4930123456"


@pytest.mark.parametrize("ticked", [True, False])
def test_boxes_stay_when_another_connection_is_selected(
    client: Client, person: User, connection: Connection, ticked: bool
) -> None:
    operation = refused(connection)
    address = f"/customers/{operation.account.customer.public_id}/accounts/new/"
    start = f"?from={operation.public_id}" if not ticked else ""  # a correction starts with both checked
    shown = client.get(f"{address}{start}")
    assert [checked(shown, name) for name in ("take_over", "is_test")] == [not ticked] * 2
    typed = fields(shown) | {"email": "mail@larkfield.example", "show": "part"}
    typed |= {"connection": str(ConnectionFactory(name="Other").public_id)}
    typed |= dict.fromkeys(["take_over", "is_test"], "on") if ticked else {}
    answer = client.post(address, typed, headers=HTMX)
    assert [checked(answer, name) for name in ("take_over", "is_test")] == [ticked] * 2


def test_a_test_account_stays_one_past_another_connection(client: Client, person: User, connection: Connection) -> None:
    operation = refused(connection)
    address = f"/customers/{operation.account.customer.public_id}/accounts/new/"
    typed = {"from": str(operation.public_id), "connection": str(connection.public_id), "show": "part"}
    assert checked(client.post(address, typed, headers=HTMX), "is_test")


def test_a_correction_with_new_errors_keeps_what_was_typed(
    client: Client, person: User, connection: Connection
) -> None:
    operation = refused(connection)
    address = f"/customers/{operation.account.customer.public_id}/accounts/new/"
    typed = {
        "from": str(operation.public_id), "connection": str(connection.public_id), "email": "typed@larkfield.example",
        "phone": "wrong", "client_token": uuid4().hex,
    }  # fmt: skip
    response = client.post(address, typed)
    assert response.status_code == 422
    assert response.context["profile_form"]["email"].value() == "typed@larkfield.example"
    assert {"phone"} == set(response.context["profile_form"].errors)
    assert "package" in response.context["offerings_form"].errors


def _corrections(client: Client, operation: Operation, connection: Connection) -> Callable[[], Any]:
    """Open the form; what is returned sends it, as often as it is called, with what the page says then."""
    address = f"/customers/{operation.account.customer.public_id}/accounts/new/"
    shown = [client.get(f"{address}?from={operation.public_id}")]
    typed = {"connection": str(connection.public_id), "package": PACKAGE, "email": "typed@larkfield.example"}

    def send() -> Any:
        shown.append(client.post(address, fields(shown[-1]) | typed))
        return shown[-1]

    return send


def _correct(operation: Operation) -> Operation:
    """A colleague corrects the create meanwhile."""
    payload = operation.payload
    return request_create(
        Command(UserFactory(name="Finance lead", role="admin"), timezone.now(), token=uuid4().hex, retry_of=operation),
        customer=operation.account.customer,
        connection=operation.connection,
        profile=Profile("other@larkfield.example"),
        offerings=as_offerings(payload["offerings"]),
        is_test=False,
    )


@pytest.mark.parametrize("state", ["queued", "succeeded"])
def test_a_create_a_colleague_corrected_is_not_corrected_again(
    client: Client, person: User, connection: Connection, state: str
) -> None:
    operation = refused(connection)
    send = _corrections(client, operation, connection)
    theirs = _correct(operation)
    if state == "succeeded":
        Operation.objects.filter(pk=theirs.pk).update(state=state, finished_at=timezone.now())
        Account.objects.filter(pk=theirs.account_id).update(provider_id="sg-1", state="active")
    for _ in range(2):
        answer = send()
        assert answer.status_code == 422
        said = f"Finance lead already retried this account creation at {clock_text(theirs.created_at)}"
        assert said in prose_of(answer)
        assert theirs.get_absolute_url() in text_of(answer)
        assert "typed@larkfield.example" in text_of(answer)
        assert "didn't create th" not in text_of(answer)
    assert Account.objects.get().email == "other@larkfield.example"
    assert Operation.objects.count() == 2


@pytest.mark.parametrize(("state", "said"), [("failed", "It also failed."), ("cancelled", "It was canceled.")])
def test_a_second_correction_is_sent_if_the_first_had_no_effect(
    client: Client, person: User, connection: Connection, state: str, said: str
) -> None:
    operation = refused(connection)
    send = _corrections(client, operation, connection)
    theirs = _correct(operation)
    Operation.objects.filter(pk=theirs.pk).update(state=state, finished_at=timezone.now())
    assert said in prose_of(send())
    assert send().status_code == 303
    mine = Operation.objects.get(state="queued")
    assert mine.payload["profile"]["email"] == "typed@larkfield.example"
    assert mine.retry_of == (theirs if state == "failed" else operation)
    assert (mine.account, mine.account.version) == (operation.account, 3)


def test_retrying_a_corrected_create_links_to_the_later_failure(
    client: Client, person: User, connection: Connection
) -> None:
    operation = refused(connection)
    theirs = _correct(operation)
    Operation.objects.filter(pk=theirs.pk).update(state="failed", finished_at=timezone.now())
    answer = client.post(
        reverse("customers:operation-retry", args=[operation.public_id]), {"client_token": uuid4().hex}, follow=True
    )
    assert "It also failed. Open it, then correct or retry it." in prose_of(answer)
    assert theirs.get_absolute_url() in text_of(answer)


def test_the_database_keeps_one_open_create_of_an_account(connection: Connection) -> None:
    account = AccountFactory(pending=True, connection=connection)
    OperationFactory(account=account, kind="create", identity="one")
    with pytest.raises(IntegrityError), transaction.atomic():
        OperationFactory(account=account, kind="create", identity="two")


def test_only_a_failed_create_of_this_customer_is_a_start(client: Client, person: User, connection: Connection) -> None:
    operation = refused(connection)
    response = client.get(f"/customers/{CustomerFactory().public_id}/accounts/new/?from={operation.public_id}")
    assert response.context["failed"] is None


def test_a_further_account_starts_from_the_customers_facts(
    client: Client, person: User, connection: Connection
) -> None:
    customer = AccountFactory(connection=connection).customer
    response = client.get(f"/customers/{customer.public_id}/accounts/new/")
    assert response.context["profile_form"]["email"].value() == customer.email
    typed = {
        "connection": str(connection.public_id),
        "package": PACKAGE,
        "email": customer.email,
        "client_token": uuid4().hex,
    }
    assert client.post(f"/customers/{customer.public_id}/accounts/new/", typed).status_code == 303
    _first, further = customer.accounts.order_by("pk")
    operation = Operation.objects.get(account=further)
    assert (further.connection, further.state, further.email) == (connection, "pending", customer.email)
    assert (operation.kind, operation.requested_by) == ("create", person)
    assert operation.payload["profile"]["email"] == customer.email
    assert operation.payload["offerings"] == further.desired_offerings == [PACKAGE_ROW]


def test_a_second_create_for_the_same_email_is_a_field_error(
    client: Client, person: User, connection: Connection
) -> None:
    customer = CustomerFactory()
    address = f"/customers/{customer.public_id}/accounts/new/"
    typed = {
        "connection": str(connection.public_id),
        "package": PACKAGE,
        "email": customer.email,
        "client_token": uuid4().hex,
    }
    client.post(address, typed)
    response = client.post(address, typed | {"client_token": uuid4().hex})
    assert response.status_code == 422
    assert "is already being created on this connection" in response.context["profile_form"].errors["email"][0]


def test_no_connection_no_account(client: Client, person: User, connection: Connection) -> None:
    ConnectionFactory()
    customer = CustomerFactory()
    response = client.post(
        f"/customers/{customer.public_id}/accounts/new/", {"email": "a@b.example", "client_token": "x" * 32}
    )
    assert response.status_code == 422
    assert response.context["account_form"].errors["connection"] == ["Choose a connection."]


def test_the_operations_of_an_account(client: Client, person: User) -> None:
    operation = OperationFactory(state="failed", summary="SendGrid said no.")
    OperationFactory()
    shown = client.get(f"/accounts/{operation.account.public_id}/operations/")
    assert [each.pk for each in shown.context["page"].object_list] == [operation.pk]
    assert "<html" not in client.get(shown.request["PATH_INFO"], headers=HTMX).content.decode()


def test_the_page_costs_the_same_after_a_long_life(
    client: Client, person: User, connection: Connection, django_assert_max_num_queries: Any
) -> None:
    account = AccountFactory(connection=connection)

    def queries() -> int:
        with django_assert_max_num_queries(40) as counted:
            page(client, account)
        return len(counted)

    OperationFactory(account=account, state="succeeded", requested_by=person)
    queries()  # the first request of a session notes that the person was seen
    few = queries()
    for _ in range(30):
        OperationFactory(account=account, state="succeeded", requested_by=person)
        client.post(f"/customers/{account.customer.public_id}/notes/", {"text": "A note"})
    assert queries() == few


def test_the_frame_counts_what_runs_and_what_waits(client: Client, person: User) -> None:
    assert "in progress" not in client.get("/rail/operations/").content.decode()
    OperationFactory(state="sending")
    OperationFactory(account=AccountFactory(pending=True), kind="create", state="unknown")
    shown = client.get("/rail/operations/").content.decode()
    assert "1 operation in progress" in shown
    assert 'id="rail-attention"' in shown


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"paused": "person"}, "paused"),
        ({"paused": "auth"}, "key rejected"),
        ({"last_answer_at": None}, "not tested yet"),
    ],
)
def test_the_frame_says_how_each_connection_does(
    client: Client, person: User, facts: dict[str, Any], says: str
) -> None:
    ConnectionFactory(name="SendGrid EU", **facts)
    shown = client.get("/rail/connections/").content.decode()
    assert "SendGrid EU" in shown
    assert says in shown


def test_the_frame_says_when_a_connection_last_answered(client: Client, person: User) -> None:
    ConnectionFactory(last_answer_at=timezone.now() - timedelta(minutes=5, seconds=30))
    assert "5 min ago" in client.get("/rail/connections/").content.decode()


def test_the_page_polls_until_the_operations_effect_is_read(client: Client, person: User) -> None:
    account = AccountFactory(state_read_at=timezone.now() - timedelta(hours=2))
    ended = OperationFactory(account=account, state="succeeded", finished_at=timezone.now())
    again = f'id="read-back" hx-get="/accounts/{account.public_id}/" hx-trigger="poll"'

    def shown() -> str:
        return text_of(client.get(f"/accounts/{account.public_id}/"))

    assert shown().count(again) == 1
    Account.objects.filter(pk=account.pk).update(state_read_at=ended.finished_at + timedelta(seconds=1))
    assert again not in shown()
    Account.objects.filter(pk=account.pk).update(state_read_at=None)
    Operation.objects.filter(pk=ended.pk).update(finished_at=timezone.now() - timedelta(minutes=5))
    assert again not in shown(), "a reading that fails is not asked for for ever"
