"""One form token, one request: the same form again says so, other content is refused, everywhere a token is taken."""

from __future__ import annotations

import json
from dataclasses import replace
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
from customers.operations import submissions
from customers.operations.submissions import AlreadySubmitted
from customers.schedules import commands as schedule_commands
from portal.access.models import User
from portal.commands import Command
from portal.providers import NewKey, Profile, ProviderOffering
from portal.refusals import Refusal
from tests.customers.page_helpers import HTMX, hidden, prose_of
from tests.support.factories import AccountFactory, ConnectionFactory, CustomerFactory, OfferingFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
PACKAGE = "postkeeper.ei.pro-100k.v1"
REPEATED = "Nothing new was requested"
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
        account, command = AccountFactory(), Command(person, reason="Unpaid", token="d" * 32)
        operation_commands.request_suspend(command, account=account)
        day = timezone.now() + timedelta(days=1)
        with pytest.raises(AlreadySubmitted):
            schedule_commands.schedule_change(command, account=account, kind="suspend", due_at=day)
        assert not Schedule.objects.exists()

    @pytest.mark.parametrize("changed", ["due_at", "reason", "kind", "account"])
    def test_a_schedule_with_other_content_is_refused(self, person: User, changed: str) -> None:
        account, day = AccountFactory(), timezone.now() + timedelta(days=1)
        other = {"due_at": day + timedelta(days=1), "reason": "Left", "kind": "unsuspend", "account": None}[changed]

        def submit(reason: str = "Unpaid", **changes: Any) -> Schedule:
            command = Command(person, reason=reason, token="e" * 32)
            return schedule_commands.schedule_change(
                command, **{"account": account, "kind": "suspend", "due_at": day} | changes
            )

        first = submit()
        assert submit() == first
        with pytest.raises(AlreadySubmitted):
            submit(**{changed: other or AccountFactory()})
        assert Schedule.objects.count() == 1

    def test_a_repeated_schedule_is_reported_even_after_an_edit(self, client: Client, person: User) -> None:
        account = AccountFactory()
        url = reverse("customers:schedule-new", args=[account.public_id])
        sent = {"kind": "suspend", "when": "day", "on": f"{timezone.now() + timedelta(days=9):%Y-%m-%d}",
                "at": "09:00", "reason": "Unpaid", "client_token": "e" * 32}  # fmt: skip
        assert REPEATED not in landed(client, client.post(url, sent))
        schedule, other = Schedule.objects.get(), UserFactory()
        schedule_commands.edit_schedule(
            Command(other, timezone.now(), reason="Mine now"), schedule=schedule, version=1, due_at=schedule.due_at
        )
        assert REPEATED in landed(client, client.post(url, sent))
        assert Schedule.objects.get().requested_by == other

    def test_other_offerings_are_refused(self, person: User) -> None:
        account = AccountFactory()

        def submit(name: str) -> Operation:
            offerings, version = [ProviderOffering(name, "package", 1)], account.version
            return operation_commands.request_offerings(
                Command(person, token="f" * 32), account=account, base=[], version=version, offerings=offerings
            )

        first = submit("one")
        assert submit("one") == first
        with pytest.raises(AlreadySubmitted):
            submit("two")

    def test_a_key_with_other_scopes_is_refused(self, person: User) -> None:
        account = AccountFactory(connection__kind="ahasend")

        def submit(*scopes: str) -> Operation:
            command = Command(person, token="f" * 32)
            return operation_commands.request_key_create(
                command, account=account, new=NewKey("Shop", scopes), keep=False
            )

        first = submit("messages:send:all")
        assert submit("messages:send:all") == first
        with pytest.raises(AlreadySubmitted):
            submit("messages:send:all", "domains:read")


class TestBulk:
    def plan(self, person: User, accounts: list[Account], reason: str = "Unpaid", **more: Any) -> ChangeSet:
        sent = {"kind": "suspend", "wanted": {}, "account_ids": [each.pk for each in accounts]} | more
        return bulk_commands.plan_bulk_change(Command(person, reason=reason, token="a" * 32), **sent)

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
        refused = client.post("/changes/new/", sent | {"reason": "Other reason"})
        assert refused.status_code == 422
        assert REFUSED in prose_of(refused)
        assert hidden(refused, "client_token") != sent["client_token"]


def test_a_retry_under_the_token_of_another_retry_is_refused(client: Client, person: User) -> None:
    failed = []
    for _ in range(2):
        operation = operation_commands.request_suspend(
            Command(person, timezone.now(), reason="Unpaid", token=uuid4().hex), account=AccountFactory()
        )
        Operation.objects.filter(pk=operation.pk).update(state="failed", finished_at=timezone.now())
        failed.append(reverse("customers:operation-retry", args=[operation.public_id]))
    assert REPEATED not in landed(client, client.post(failed[0], {"client_token": "g" * 32}))
    assert REPEATED in landed(client, client.post(failed[0], {"client_token": "g" * 32}))
    assert REFUSED in landed(client, client.post(failed[1], {"client_token": "g" * 32}))
    assert Operation.objects.exclude(retry_of=None).count() == 1


def test_what_was_asked_before_the_upgrade_is_never_asked_again(person: User) -> None:
    """Rows without a submission: their token is used up, whatever the content."""
    account, command = AccountFactory(), Command(person, reason="Unpaid", token="h" * 32)
    first = operation_commands.request_suspend(command, account=account)
    Submission.objects.all().delete()
    Operation.objects.update(state="succeeded", finished_at=timezone.now())
    with pytest.raises(AlreadySubmitted) as refusal:
        operation_commands.request_unsuspend(replace(command, reason="Paid"), account=account)
    assert first.code in str(refusal.value)
    customer = create_commands.create_customer(
        Command(person, timezone.now(), token="i" * 32), facts={"company_name": "Halden", "email": "a@halden.example"}
    )
    Submission.objects.all().delete()
    with pytest.raises(AlreadySubmitted):
        create_commands.create_customer(
            Command(person, timezone.now(), token="i" * 32), facts={"company_name": "Other", "email": "a@other.example"}
        )
    assert Customer.objects.filter(company_name__in=["Halden", "Other"]).get() == customer


def test_a_refused_form_does_not_use_up_its_token(person: User, connection: Connection) -> None:
    customer = CustomerFactory()
    sent: dict[str, Any] = {
        "customer": customer, "connection": connection, "is_test": False,
        "profile": Profile(email="mail@larkfield.example"), "offerings": [ProviderOffering(PACKAGE, "package", 1)],
    }  # fmt: skip
    command = Command(person, token="j" * 32)
    busy = operation_commands.request_create(replace(command, token="k" * 32), **sent)
    with pytest.raises(Refusal, match=busy.code):
        operation_commands.request_create(command, **sent)
    assert operation_commands.request_create(command, **sent | {"profile": Profile(email="two@larkfield.example")})


def test_what_is_stored_does_not_tell_the_content(person: User) -> None:
    account = AccountFactory()
    for token in ("l" * 32, "m" * 32):
        Operation.objects.update(state="cancelled", finished_at=timezone.now())
        operation_commands.request_suspend(
            Command(person, timezone.now(), reason="Unpaid", token=token), account=account
        )
    one, other = Submission.objects.order_by("pk")
    assert one.digest == other.digest  # of the content alone, and only with our key
    assert "Unpaid" not in str(vars(one))


def test_a_replaced_secret_key_still_knows_what_was_submitted(person: User, settings: Any) -> None:
    account, command = AccountFactory(), Command(person, reason="Unpaid", token="n" * 32)
    first = operation_commands.request_suspend(command, account=account)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another-key-" * 6
    assert operation_commands.request_suspend(command, account=account) == first


@pytest.mark.parametrize("left_out", [("reason",), ("retry_of",), ("reason", "retry_of")])
def test_a_form_submitted_before_an_upgrade_is_known(person: User, left_out: tuple[str, ...]) -> None:
    """Release 0.1 took the digest of some forms without their reason, or without what is tried again."""
    command, account = Command(person, reason="Unpaid", token="o" * 32), AccountFactory()
    first = operation_commands.request_suspend(command, account=account)
    content = {"payload": None, "reason": "Unpaid", "retry_of": None}
    told = {name: value for name, value in content.items() if name not in left_out}
    said = json.dumps([person, "suspend", account, told], sort_keys=True, cls=submissions._Encoder)
    Submission.objects.update(digest=submissions._digest(said))
    assert operation_commands.request_suspend(command, account=account) == first
    with pytest.raises(AlreadySubmitted):
        operation_commands.request_unsuspend(command, account=account)
