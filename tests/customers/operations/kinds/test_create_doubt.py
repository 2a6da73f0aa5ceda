"""What must never end in a second paid account: each test is a way in which one was made, or an account forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from customers.connections import commands as connection_commands
from customers.models import Connection, Operation, RemoteAccount
from customers.observed import account_list
from customers.operations import commands as operation_commands
from customers.operations import conclusions, executor, resolve
from customers.operations.forms import choices_of
from portal.commands import Command
from portal.encryption import DecryptionError
from portal.notices.models import Notice
from portal.providers import Profile, Provider, http
from portal.providers.ahasend import client as ahasend_client
from portal.providers.sendgrid import client as sendgrid_client
from portal.refusals import Refusal
from tests.customers.conftest import ADDON, PACKAGE, Desk
from tests.customers.operations.test_create_search import console, creates, later, unknown
from tests.customers.sub_accounts import sub_desk
from tests.support.sandbox import KEY, SandboxProcess


def scan(desk: Desk, slot: str) -> None:
    walk, _ = account_list.begin_scan(connection=desk.connection, kind="asked", slot=slot, now=timezone.now())
    account_list.read_account_list(walk, desk.connect(desk.connection))


def test_an_unknown_create_waits_if_the_key_does_not_decrypt(desk: Desk) -> None:
    """Nothing was looked for, so a person who retries it would have it sent again unproven."""
    desk.sandbox.admin.switch("list_lag_seconds", 600)
    operation = unknown(desk, "create-then-504")

    def closed(connection: Connection) -> Provider:
        raise DecryptionError("A stored secret does not open.")

    at = operation.unknown_at + timedelta(seconds=11)
    executor.perform(operation.pk, clock=lambda: at, connect=closed)
    operation.refresh_from_db()
    assert (operation.state, operation.summary) == ("unknown", "A stored secret does not open.")
    assert operation.not_before > at
    desk.sandbox.admin.move_clock(seconds=700)
    desk.drain(operation)
    assert (operation.state, creates(desk)) == ("succeeded", 1)


def test_retrying_an_unproven_create_needs_the_reviewers_answer(desk: Desk) -> None:
    """A review of before this rule: the key did not decrypt while the outcome was looked for."""
    operation = unknown(desk, "create-then-504")
    operation = executor.transitions.claim_for_verification(
        operation.pk, now=operation.unknown_at + timedelta(seconds=11)
    )
    executor.transitions.move(operation, "needs_attention", now=timezone.now(), error_kind="poison")
    operation.refresh_from_db()
    assert choices_of(operation) == ("link", "send_again", "stop")
    with pytest.raises(Refusal, match="whether the account was created"):
        resolve.resolve_retry(Command(desk.person, timezone.now(), reason="Try"), operation=operation)


def test_a_repeat_that_is_refused_is_looked_for_before_it_fails(desk: Desk) -> None:
    """The list lagged longer than a quarter of an hour, and the provider refuses the address as taken."""
    desk.sandbox.admin.switch("list_lag_seconds", 1_800)
    operation = unknown(desk, "create-then-504")
    for seconds in (121, 550, 980):
        later(desk, operation, seconds=seconds)
    assert operation.state == "queued"
    desk.sandbox.admin.arm("status-400", "create")
    executor.perform(operation.pk, clock=lambda: timezone.now() + timedelta(seconds=1_000), connect=desk.connect)
    operation.refresh_from_db()
    assert (operation.state, operation.error_kind, creates(desk)) == ("unknown", "rejected", 2)
    desk.sandbox.admin.move_clock(seconds=2_000)
    desk.drain(operation, hours=2)
    assert (operation.state, creates(desk)) == ("succeeded", 2)


@pytest.mark.long
def test_a_refused_resend_of_an_absent_account_fails(desk: Desk) -> None:
    operation = unknown(desk, "status-504")
    desk.sandbox.admin.arm("status-400", "create")
    desk.drain(operation, hours=3)
    assert (operation.state, operation.error_kind, creates(desk)) == ("failed", "rejected", 2)


@pytest.mark.parametrize("minutes", [4, 60])
@pytest.mark.long
def test_an_exact_match_with_an_unexpected_time_needs_review(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    """Another server answered the read before the send: an exact match is doubt, not absence."""
    monkeypatch.setattr(sendgrid_client.SendGrid, "clock_skew", lambda _: 0.0)
    desk.sandbox.admin.switch("clock_skew_seconds", -60 * minutes)
    operation = unknown(desk, "create-then-504")
    desk.drain(operation, hours=2)
    assert (operation.state, operation.error_kind, creates(desk)) == ("needs_attention", "doubtful", 1)


def test_an_earlier_account_of_the_same_address_is_no_match(desk: Desk) -> None:
    console(desk)
    scan(desk, "before")
    operation = unknown(desk, "create-then-504")
    later(desk, operation, seconds=121)
    assert (operation.state, creates(desk)) == ("succeeded", 1)


@pytest.mark.parametrize("through", ["replace", "edit"])
@pytest.mark.long
def test_a_key_of_another_reseller_proves_no_absence(desk: Desk, through: str) -> None:
    ours = desk.created("old@northwind.example")
    Operation.objects.update(finished_at=timezone.now() - timedelta(hours=1))
    scan(desk, "before")
    operation = unknown(desk, "create-then-504")
    if through == "replace":
        connection_commands.replace_key(Command(None), connection=desk.connection, api_key="SG.another")
    else:
        connection_commands.edit_connection(Command(None), connection=desk.connection, facts={}, api_key="SG.another")
    for each in desk.sandbox.admin.accounts():  # the other reseller has none of them
        desk.sandbox.admin.delete_account(each["id"])
    connection = Connection.objects.get()  # the sandbox knows one key: it goes back in, unrecorded
    connection.seal("api_key_sealed", KEY)
    connection.save(update_fields=["api_key_sealed"])
    desk.drain(operation, hours=2)
    assert (operation.state, creates(desk)) == ("unknown", 2)
    assert ours.provider_id


@pytest.mark.long
def test_a_rotated_key_of_the_same_reseller_proves_absence(desk: Desk) -> None:
    desk.created("old@northwind.example")
    Operation.objects.update(finished_at=timezone.now() - timedelta(hours=1))
    operation = unknown(desk, "status-504")
    connection_commands.replace_key(Command(None), connection=desk.connection, api_key=KEY)
    desk.drain(operation, hours=2)
    assert (operation.state, creates(desk)) == ("succeeded", 3)


def test_changing_the_base_url_waits_for_unknown_creates(desk: Desk) -> None:
    operation = unknown(desk, "create-then-504")
    with pytest.raises(Refusal, match=operation.code):
        connection_commands.edit_connection(
            Command(None), connection=desk.connection, facts={"base_url": "https://api.sendgrid.com"}, api_key="SG.x"
        )


def test_an_account_appearing_after_a_manual_end_is_reported(desk: Desk) -> None:
    operation = unknown(desk, "late-create", seconds=600)
    resolve.resolve_not_created(
        Command(desk.person, timezone.now(), reason="Not in the console."), operation=operation, send_again=False
    )
    desk.sandbox.admin.move_clock(seconds=700)
    scan(desk, "later")
    orphan = RemoteAccount.objects.orphans().get()
    notice = Notice.objects.get(kind="account.possible_duplicate", ended_at=None)
    assert orphan.provider_id in notice.text
    assert operation.code in notice.text


def test_an_answer_arriving_after_a_manual_end_is_reported(desk: Desk) -> None:
    operation = desk.ask_create()
    held = executor.transitions.claim(operation.pk, now=timezone.now())
    attempt = executor.transitions.intend(held, call="create account", request="{}", now=timezone.now())
    made = console(desk, "somebody@changed.example")
    executor.transitions.expire_leases(now=timezone.now() + timedelta(seconds=100))
    operation.refresh_from_db()
    resolve.resolve_not_created(
        Command(desk.person, timezone.now(), reason="Not there."), operation=operation, send_again=False
    )
    conclusions.conclude(
        held, attempt, "applied", "succeeded", evidence=http.Evidence(), now=timezone.now(),
        result={"account_id": made}, account={"provider_id": made},
    )  # fmt: skip
    scan(desk, "later")
    assert made in Notice.objects.get(kind="account.possible_duplicate", ended_at=None).text


@pytest.mark.long
def test_a_possible_duplicate_without_a_time_is_reported(desk: Desk) -> None:
    operation = unknown(desk, "late-create", seconds=3600)
    desk.drain(operation, hours=1)
    assert operation.state == "succeeded"
    desk.sandbox.admin.move_clock(seconds=4000)
    rows = desk.connect(desk.connection).list_accounts
    walk, _ = account_list.begin_scan(connection=desk.connection, kind="asked", slot="l", now=timezone.now())
    provider = desk.connect(desk.connection)
    provider.list_accounts = lambda **_: (replace(each, created_at=None) for each in rows())
    account_list.read_account_list(walk, provider)
    assert Notice.objects.filter(kind="account.possible_duplicate", ended_at=None).exists()


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "Sat, 28 Nov 2026 05:26:10 +99999999999999",
        "Thu, 01 Jan 1970 00:00:00 GMT", "nonsense", "", "Sat, 28 Nov 2026 05:26:10", "2026-11-28T05:26:10Z", "0",
    ],
)  # fmt: skip
def test_a_date_that_cannot_be_is_no_measurement(date: str) -> None:
    assert http._clock_skew({"date": date}, timezone.now()) is None


def test_a_retry_takes_the_account_that_a_late_answer_named(desk: Desk) -> None:
    """The first request was ended by a person, and its answer came after all: nothing is sent a second time."""
    operation = desk.ask_create()
    held = executor.transitions.claim(operation.pk, now=timezone.now())
    attempt = executor.transitions.intend(held, call="create account", request="{}", now=timezone.now())
    executor.transitions.expire_leases(now=timezone.now() + timedelta(seconds=100))
    operation.refresh_from_db()
    resolve.resolve_not_created(
        Command(desk.person, timezone.now(), reason="Not there."), operation=operation, send_again=False
    )
    made = console(desk)
    conclusions.conclude(
        held, attempt, "applied", "succeeded", evidence=http.Evidence(), now=timezone.now(),
        result={"account_id": made}, account={"provider_id": made},
    )  # fmt: skip
    again = operation_commands.request_create(
        Command(desk.person, timezone.now(), token=uuid4().hex, retry_of=operation),
        customer=operation.account.customer,
        connection=desk.connection,
        profile=Profile(email="ops@northwind.example"),
        offerings=[PACKAGE, ADDON],
        is_test=False,
    )
    again = desk.perform(again)
    assert (again.state, desk.account(again).provider_id, creates(desk)) == ("succeeded", made, 0)


def test_with_an_idempotency_key_the_clock_is_not_trusted_either(
    db: None, sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 5xx gave the key free, so what is looked past is made twice."""
    desk = sub_desk(sandbox)
    monkeypatch.setattr(ahasend_client.AhaSend, "clock_skew", lambda _: 0.0)
    sandbox.admin.switch("clock_skew_seconds", -600)
    sandbox.admin.arm("after-status-500", "aha-create")
    operation = desk.perform(desk.ask_create())
    desk.drain(operation)
    assert (operation.state, operation.error_kind, len(desk.children())) == ("needs_attention", "several", 1)
