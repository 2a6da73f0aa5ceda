"""One form token, one request: the same form again says so, other content is refused, everywhere a token is taken."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from customers.accounts.create import commands as create_commands
from customers.bulk import commands as bulk_commands
from customers.models import Account, ChangeSet, Connection, Customer, Operation, Schedule, Submission
from customers.operations import commands as operation_commands
from customers.operations.commands import UnableToAsk
from customers.operations.submissions import AlreadySubmitted
from customers.schedules import commands as schedule_commands
from portal.access.models import User
from portal.providers import NewKey, Profile, ProviderOffering
from tests.customers.page_helpers import HTMX, hidden, prose_of
from tests.support.factories import AccountFactory, ConnectionFactory, CustomerFactory, OfferingFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
PACKAGE = "postkeeper.ei.pro-100k.v1"
REPEATED = "nothing new was requested"
REFUSED = "This form was already submitted"


@pytest.fixture
def person(client: Client) -> User:
    user: User = UserFactory(name="Customer success", timezone="Asia/Tokyo")
    sign_in(client, user)
    return user


@pytest.fixture
def connection() -> Connection:
    connection: Connection = ConnectionFactory(name="SendGrid EU")
    OfferingFactory(connection=connection, name=PACKAGE)
    return connection


def new_customer(connection: Connection | None, **changes: str) -> dict[str, str]:
    typed = {
        "company_name": "Larkfield Outdoor", "email": "mail@larkfield.example", "phone": "", "website": "",
        "client_token": "a" * 32,
    }  # fmt: skip
    if connection:
        typed |= {"connection": str(connection.public_id), "package": PACKAGE}
    return typed | changes


def landed(client: Client, answer: Any) -> str:
    """What the page says that a form led to."""
    assert answer.status_code == 303
    return prose_of(client.get(answer.headers["Location"]))


def suspend_url(account: Account) -> str:
    return reverse("customers:account-suspend", args=[account.public_id])


class TestNewCustomer:
    @pytest.mark.parametrize("with_account", [True, False])
    def test_another_company_is_refused_and_can_then_be_submitted(
        self, client: Client, person: User, connection: Connection, with_account: bool
    ) -> None:
        at = connection if with_account else None
        assert client.post("/customers/new/", new_customer(at)).status_code == 303
        other = new_customer(at, company_name="Halden Optics", email="ops@halden.example")
        refused = client.post("/customers/new/", other)
        assert refused.status_code == 422
        assert REFUSED in prose_of(refused)
        assert 'value="Halden Optics"' in refused.content.decode()
        assert Customer.objects.count() == 1
        fresh = hidden(refused, "client_token")
        assert fresh != other["client_token"]
        assert client.post("/customers/new/", other | {"client_token": fresh}).status_code == 303
        assert set(Customer.objects.values_list("company_name", flat=True)) == {"Larkfield Outdoor", "Halden Optics"}
        assert Operation.objects.count() == (2 if with_account else 0)

    def test_an_account_added_to_a_used_form_is_refused(
        self, client: Client, person: User, connection: Connection
    ) -> None:
        client.post("/customers/new/", new_customer(None))
        assert client.post("/customers/new/", new_customer(connection)).status_code == 422
        assert not Operation.objects.exists()

    @pytest.mark.parametrize("with_account", [True, False])
    def test_the_same_again_says_so(
        self, client: Client, person: User, connection: Connection, with_account: bool
    ) -> None:
        sent = new_customer(connection if with_account else None)
        assert REPEATED not in landed(client, client.post("/customers/new/", sent))
        said = landed(client, client.post("/customers/new/", sent))
        assert REPEATED in said
        if with_account:
            assert f"as {Operation.objects.get().code}" in said
        assert Customer.objects.count() == 1

    def test_a_further_account_for_another_customer_is_refused(
        self, client: Client, person: User, connection: Connection
    ) -> None:
        one, other = CustomerFactory(), CustomerFactory()
        sent = {"connection": str(connection.public_id), "package": PACKAGE, "email": "mail@larkfield.example",
                "client_token": "b" * 32}  # fmt: skip
        first = client.post(f"/customers/{one.public_id}/accounts/new/", sent)
        assert REPEATED not in landed(client, first)
        refused = client.post(f"/customers/{other.public_id}/accounts/new/", sent)
        assert refused.status_code == 422
        assert REFUSED in prose_of(refused)
        assert hidden(refused, "client_token") != sent["client_token"]
        assert REPEATED in landed(client, client.post(f"/customers/{one.public_id}/accounts/new/", sent))
        assert Operation.objects.count() == 1

    def test_a_repeated_form_does_not_overwrite_the_customer_again(
        self, client: Client, person: User, connection: Connection
    ) -> None:
        customer = CustomerFactory(company_name="Before")
        sent = {"connection": str(connection.public_id), "package": PACKAGE, "email": "mail@larkfield.example",
                "company_name": "From the form", "take_over": "on", "client_token": "b" * 32}  # fmt: skip
        client.post(f"/customers/{customer.public_id}/accounts/new/", sent)
        Customer.objects.update(company_name="Renamed since")
        client.post(f"/customers/{customer.public_id}/accounts/new/", sent)
        customer.refresh_from_db()
        assert customer.company_name == "Renamed since"


class TestOneAccount:
    def test_another_accounts_page_is_refused(self, client: Client, person: User) -> None:
        one, other = AccountFactory(), AccountFactory()
        sent = {"reason": "Unpaid", "why": "unpaid", "client_token": "c" * 32}
        assert client.post(suspend_url(one), sent).status_code == 303
        refused = client.post(suspend_url(other), sent, **HTMX)
        assert refused.status_code == 422
        said = prose_of(refused)
        assert REFUSED in said
        assert Operation.objects.get().code in said
        assert reverse("customers:operation", args=[Operation.objects.get().public_id]) in refused.content.decode()
        assert "Unpaid</textarea>" in refused.content.decode()
        assert not other.operations.exists()

    def test_another_act_on_the_same_account_is_refused(self, client: Client, person: User) -> None:
        account = AccountFactory()
        sent = {"reason": "Unpaid", "client_token": "c" * 32}
        client.post(suspend_url(account), sent)
        other = reverse("customers:account-unsuspend", args=[account.public_id])
        assert REFUSED in prose_of(client.post(other, sent))
        assert Operation.objects.count() == 1

    def test_a_resubmitted_form_says_when_it_was_first_submitted(self, client: Client, person: User) -> None:
        account = AccountFactory()
        sent = {"reason": "Unpaid", "client_token": "c" * 32}
        client.post(suspend_url(account), sent)
        operation = Operation.objects.get()
        asked_at = timezone.now() - timedelta(days=3)
        Submission.objects.update(submitted_at=asked_at)
        Operation.objects.update(state="succeeded", finished_at=timezone.now())
        said = landed(client, client.post(suspend_url(account), sent))
        assert REPEATED in said
        assert f"as {operation.code}" in said
        assert " JST" in said  # the reader's own zone
        assert Operation.objects.count() == 1

    def test_one_form_is_one_request_over_operations_and_schedules(self, person: User) -> None:
        account, common = AccountFactory(), {"actor": person, "reason": "Unpaid", "client_token": "d" * 32}
        operation_commands.request_suspend(account=account, now=timezone.now(), **common)
        with pytest.raises(AlreadySubmitted):
            schedule_commands.schedule_change(
                account=account, kind="suspend", due_at=timezone.now() + timedelta(days=1), now=timezone.now(), **common
            )
        assert not Schedule.objects.exists()

    @pytest.mark.parametrize("changed", ["due_at", "reason", "kind", "account"])
    def test_a_schedule_with_other_content_is_refused(self, person: User, changed: str) -> None:
        account, day = AccountFactory(), timezone.now() + timedelta(days=1)
        sent: dict[str, Any] = {
            "actor": person, "account": account, "kind": "suspend", "due_at": day, "reason": "Unpaid",
            "client_token": "e" * 32, "now": timezone.now(),
        }  # fmt: skip
        other = {"due_at": day + timedelta(days=1), "reason": "Left", "kind": "unsuspend", "account": None}[changed]
        first = schedule_commands.schedule_change(**sent)
        assert schedule_commands.schedule_change(**sent) == first
        with pytest.raises(AlreadySubmitted):
            schedule_commands.schedule_change(**sent | {changed: other or AccountFactory()})
        assert Schedule.objects.count() == 1

    def test_a_repeated_schedule_is_reported_even_after_an_edit(self, client: Client, person: User) -> None:
        account = AccountFactory()
        url = reverse("customers:schedule-new", args=[account.public_id])
        sent = {"kind": "suspend", "when": "day", "on": f"{timezone.now() + timedelta(days=9):%Y-%m-%d}",
                "at": "09:00", "reason": "Unpaid", "client_token": "e" * 32}  # fmt: skip
        assert REPEATED not in landed(client, client.post(url, sent))
        schedule, other = Schedule.objects.get(), UserFactory()
        schedule_commands.edit_schedule(
            actor=other, schedule=schedule, version=1, due_at=schedule.due_at, reason="Mine now", now=timezone.now()
        )
        assert REPEATED in landed(client, client.post(url, sent))
        assert Schedule.objects.get().requested_by == other

    def test_other_offerings_are_refused(self, person: User) -> None:
        account = AccountFactory()
        sent: dict[str, Any] = {
            "actor": person, "account": account, "base": [], "version": account.version, "reason": "",
            "client_token": "f" * 32, "now": timezone.now(),
        }  # fmt: skip
        first = operation_commands.request_offerings(offerings=[ProviderOffering("one", "package", 1)], **sent)
        assert operation_commands.request_offerings(offerings=[ProviderOffering("one", "package", 1)], **sent) == first
        with pytest.raises(AlreadySubmitted):
            operation_commands.request_offerings(offerings=[ProviderOffering("two", "package", 1)], **sent)

    def test_a_key_with_other_scopes_is_refused(self, person: User) -> None:
        account = AccountFactory(connection__kind="ahasend")
        sent: dict[str, Any] = {
            "actor": person, "account": account, "keep": False, "client_token": "f" * 32, "now": timezone.now(),
        }  # fmt: skip
        first = operation_commands.request_key_create(new=NewKey("Shop", ("messages:send:all",)), **sent)
        assert operation_commands.request_key_create(new=NewKey("Shop", ("messages:send:all",)), **sent) == first
        with pytest.raises(AlreadySubmitted):
            operation_commands.request_key_create(new=NewKey("Shop", ("messages:send:all", "domains:read")), **sent)


class TestBulk:
    def plan(self, person: User, accounts: list[Account], **more: Any) -> ChangeSet:
        sent: dict[str, Any] = {
            "actor": person, "kind": "suspend", "wanted": {}, "account_ids": [each.pk for each in accounts],
            "reason": "Unpaid", "client_token": "a" * 32, "now": timezone.now(),
        }  # fmt: skip
        return bulk_commands.plan_bulk_change(**sent | more)

    def test_other_accounts_or_another_change_are_refused(self, person: User) -> None:
        one, other = AccountFactory(), AccountFactory()
        first = self.plan(person, [one, other])
        assert self.plan(person, [other, one]) == first
        for changed in ({"kind": "unsuspend"}, {"reason": "Left"}, {"account_ids": [one.pk]}):
            with pytest.raises(AlreadySubmitted):
                self.plan(person, [one, other], **changed)
        assert ChangeSet.objects.count() == 1

    def test_the_same_again_says_so(self, client: Client, person: User) -> None:
        account = AccountFactory()
        sent = {"by": "ticks", "ticked": [str(account.public_id)], "kind": "suspend", "reason": "Unpaid",
                "client_token": "b" * 32}  # fmt: skip
        assert REPEATED not in landed(client, client.post("/changes/new/", sent))
        assert REPEATED in landed(client, client.post("/changes/new/", sent))
        refused = client.post("/changes/new/", sent | {"reason": "Another reason"})
        assert refused.status_code == 422
        assert REFUSED in prose_of(refused)
        assert hidden(refused, "client_token") != sent["client_token"]


def test_a_retry_under_the_token_of_another_retry_is_refused(client: Client, person: User) -> None:
    failed = []
    for _ in range(2):
        operation = operation_commands.request_suspend(
            actor=person, account=AccountFactory(), reason="Unpaid", client_token=uuid4().hex, now=timezone.now()
        )
        Operation.objects.filter(pk=operation.pk).update(state="failed", finished_at=timezone.now())
        failed.append(reverse("customers:operation-retry", args=[operation.public_id]))
    assert REPEATED not in landed(client, client.post(failed[0], {"client_token": "g" * 32}))
    assert REPEATED in landed(client, client.post(failed[0], {"client_token": "g" * 32}))
    assert REFUSED in landed(client, client.post(failed[1], {"client_token": "g" * 32}))
    assert Operation.objects.exclude(retry_of=None).count() == 1


def test_what_was_asked_before_the_upgrade_is_never_asked_again(person: User) -> None:
    """Rows without a submission: their token is used up, whatever the content."""
    account, sent = AccountFactory(), {"actor": person, "client_token": "h" * 32, "now": timezone.now()}
    first = operation_commands.request_suspend(account=account, reason="Unpaid", **sent)
    Submission.objects.all().delete()
    Operation.objects.update(state="succeeded", finished_at=timezone.now())
    with pytest.raises(AlreadySubmitted) as refusal:
        operation_commands.request_unsuspend(account=account, reason="Paid", **sent)
    assert first.code in str(refusal.value)
    customer = create_commands.create_customer(
        actor=person,
        facts={"company_name": "Halden", "email": "a@halden.example"},
        client_token="i" * 32,
        now=timezone.now(),
    )
    Submission.objects.all().delete()
    with pytest.raises(AlreadySubmitted):
        create_commands.create_customer(actor=person, facts={"company_name": "Other", "email": "a@other.example"},
                               client_token="i" * 32, now=timezone.now())  # fmt: skip
    assert Customer.objects.filter(company_name__in=["Halden", "Other"]).get() == customer


def test_a_refused_form_does_not_use_up_its_token(person: User, connection: Connection) -> None:
    customer = CustomerFactory()
    sent: dict[str, Any] = {
        "actor": person, "customer": customer, "connection": connection, "is_test": False, "now": timezone.now(),
        "profile": Profile(email="mail@larkfield.example"), "client_token": "j" * 32,
        "offerings": [ProviderOffering(PACKAGE, "package", 1)],
    }  # fmt: skip
    busy = operation_commands.request_create(**sent | {"client_token": "k" * 32})
    with pytest.raises(UnableToAsk, match=busy.code):
        operation_commands.request_create(**sent)
    assert operation_commands.request_create(**sent | {"profile": Profile(email="two@larkfield.example")})


def test_what_is_stored_does_not_tell_the_content(person: User) -> None:
    account = AccountFactory()
    for token in ("l" * 32, "m" * 32):
        Operation.objects.update(state="cancelled", finished_at=timezone.now())
        operation_commands.request_suspend(
            actor=person, account=account, reason="Unpaid", client_token=token, now=timezone.now()
        )
    one, other = Submission.objects.order_by("pk")
    assert one.digest == other.digest  # of the content alone, and only with our key
    assert "Unpaid" not in str(vars(one))


def test_a_replaced_secret_key_still_knows_what_was_submitted(person: User, settings: Any) -> None:
    account, sent = AccountFactory(), {"actor": person, "client_token": "n" * 32, "now": timezone.now()}
    first = operation_commands.request_suspend(account=account, reason="Unpaid", **sent)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another-key-" * 6
    assert operation_commands.request_suspend(account=account, reason="Unpaid", **sent) == first
