"""Each row of the provider's idempotency table for a create, met over HTTP: the original crashed at every point, on its
side and on ours, with the clocks moved. Never is there a second account, and never is another body sent.
"""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from customers.connections import commands as connection_commands
from customers.models import Account, Operation
from customers.operations import commands as operation_commands
from customers.operations import create_search, resolve
from portal.commands import Command
from portal.providers import AccountSettings, IdempotentBody, NewAccount, Profile
from portal.refusals import Refusal
from tests.customers.sub_accounts import HOUR, NORTHWIND, SubDesk, sub_desk
from tests.support.sandbox import SandboxProcess

LAG = "aha_list_lag_seconds"  # with it the list says nothing of what was just made, so the stored answers are met
SETTLED, ABSENT = create_search.SETTLE.total_seconds() + 1, create_search.ABSENT_AFTER.total_seconds() + 1


@pytest.fixture
def desk(db: None, sandbox: SandboxProcess) -> SubDesk:
    return sub_desk(sandbox)


@pytest.fixture(autouse=True)
def _bodies_never_change(desk: SubDesk) -> object:
    """Whatever a test does: every send of a create carried the bytes that were stored with the first intent."""
    yield
    for operation in Operation.objects.filter(kind="create"):
        assert {each.request for each in operation.attempts.all()} <= {operation.body}


def _outcomes(operation: Operation) -> list[str]:
    return list(operation.attempts.order_by("n").values_list("outcome", flat=True))


def _adopted(desk: SubDesk, operation: Operation) -> None:
    (there,) = desk.children()
    account = desk.account(operation)
    assert (operation.state, account.provider_id) == ("succeeded", there.id), operation.summary
    assert operation.result["proof"]["by"] == "name, website and time"


# -- the first execution ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["after_claim", "before_intent", "after_intent", "after_answer"])
def test_a_worker_that_dies_at_any_point_leaves_one_account(desk: SubDesk, point: str) -> None:
    operation = desk.ask_create()
    with desk.dies_at(point):
        desk.perform(operation)
    desk.drain(operation)
    assert operation.state == "succeeded", operation.summary
    assert len(desk.children()) == 1
    if point == "after_answer":  # it was there before: found, not sent again
        _adopted(desk, operation)
        assert len(desk.sent("aha-create")) == 1


@pytest.mark.parametrize("fault", ["after-status-500", "after-status-504", "reset-after", "truncated", "crash-after"])
def test_an_account_created_despite_an_error_is_found_not_resent(desk: SubDesk, fault: str) -> None:
    desk.timeouts = 1.0
    desk.sandbox.admin.arm(fault, "aha-create")
    operation = desk.perform(desk.ask_create())
    assert operation.state == "unknown"
    desk.drain(operation)
    _adopted(desk, operation)
    assert _outcomes(operation) == ["unknown"]


# What an answer leaves at once, and what comes of it: fault, parameters, state, outcome of the attempt, end, accounts.
ANSWERS = [
    ("status-400", {}, "failed", "rejected", "failed", 0),
    ("status-403", {}, "failed", "rejected", "failed", 0),
    ("status-404", {}, "failed", "rejected", "failed", 0),
    ("status-409", {}, "failed", "rejected", "failed", 0),
    ("429", {}, "queued", "rejected", "succeeded", 1),
    ("status-500", {}, "unknown", "unknown", "succeeded", 1),
    ("after-status-500", {}, "unknown", "unknown", "succeeded", 1),
    ("status-504", {}, "unknown", "unknown", "succeeded", 1),
    ("after-status-504", {}, "unknown", "unknown", "succeeded", 1),
    ("after-html-502", {}, "unknown", "unknown", "succeeded", 1),
    ("empty", {"status": 502}, "unknown", "unknown", "succeeded", 1),
    ("after-empty", {"status": 201}, "unknown", "unknown", "succeeded", 1),
    ("no-account-id", {}, "unknown", "unknown", "succeeded", 1),
    ("wrong-201", {}, "unknown", "unknown", "succeeded", 1),
    ("redirect", {}, "unknown", "unknown", "succeeded", 1),
    ("hang-before", {}, "unknown", "unknown", "succeeded", 1),
    ("hang-after", {}, "unknown", "unknown", "succeeded", 1),
    ("late-create", {"seconds": 90}, "unknown", "unknown", "succeeded", 1),
]


@pytest.mark.parametrize(
    ("fault", "params", "state", "outcome", "end", "accounts"), ANSWERS, ids=[row[0] for row in ANSWERS]
)
@pytest.mark.sample(6)
def test_a_create_met_by(  # noqa: PLR0917 the columns of the table
    desk: SubDesk, fault: str, params: dict[str, int], state: str, outcome: str, end: str, accounts: int
) -> None:
    desk.timeouts = 1.0
    desk.sandbox.admin.arm(fault, "aha-create", **params)
    operation = desk.perform(desk.ask_create())
    assert (operation.state, _outcomes(operation)) == (state, [outcome])
    assert operation.summary
    desk.drain(operation)
    desk.pass_time(600)
    assert operation.state == end
    assert len(desk.children()) == accounts


# -- finished before: the stored answer ------------------------------------------------------------------------


def test_a_replayed_answer_is_read_back_before_it_is_trusted(desk: SubDesk) -> None:
    desk.sandbox.admin.switch(LAG, 2 * HOUR)
    operation = desk.ask_create()
    with desk.dies_at("after_answer"):
        desk.perform(operation)
    desk.drain(operation)
    (first, second) = operation.attempts.order_by("n")
    assert (first.outcome, second.outcome, second.status) == ("", "applied", 201)
    assert desk.account(operation).provider_id == operation.result["account_id"]
    reads = [each for each in desk.sent("aha-read") if each["path"].endswith(operation.result["account_id"])]
    assert reads
    desk.sandbox.admin.switch(LAG, 0)
    assert len(desk.children()) == 1


def test_a_replayed_answer_about_a_deleted_account_fails(desk: SubDesk) -> None:
    operation = desk.ask_create()
    with desk.dies_at("after_answer"):
        desk.perform(operation)
    (there,) = desk.children()
    desk.connect(desk.connection).delete_account(Account(provider_id=there.id).ref)
    desk.drain(operation)
    assert (operation.state, operation.error_kind) == ("failed", "gone")
    assert there.id in operation.summary
    assert desk.account(operation).provider_id is None
    assert desk.children() == []


def test_a_replayed_answer_stays_unknown_until_it_is_read_back(desk: SubDesk) -> None:
    desk.sandbox.admin.switch(LAG, 2 * HOUR)
    operation = desk.ask_create()
    with desk.dies_at("after_answer"):
        desk.perform(operation)
    desk.pass_time(100)  # the lease runs out
    desk.round()
    desk.pass_time(ABSENT)
    desk.round()
    desk.pass_time(10)
    desk.sandbox.admin.arm("status-503", "aha-read", count=4)
    seen = desk.perform(operation)
    assert (seen.state, seen.attempt_count) == ("unknown", 2)
    desk.drain(operation)
    assert operation.state == "succeeded"


# -- still running ---------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second send after two minutes instead of fifteen: the first one's lease of five still runs."""
    monkeypatch.setattr(create_search, "ABSENT_AFTER", create_search.SETTLE)


@pytest.mark.usefixtures("impatient")
def test_a_resend_waits_while_the_first_request_is_running(desk: SubDesk) -> None:
    desk.timeouts = 1.0
    desk.sandbox.admin.arm("crash-before", "aha-create")  # nobody gives the lease back
    operation = desk.perform(desk.ask_create())
    assert operation.state == "unknown"
    desk.pass_time(SETTLED)
    desk.round()
    desk.pass_time(10)
    operation = desk.perform(operation)
    assert (operation.state, operation.error_kind) == ("queued", "in_progress")
    # Retry-After counts by the wall's clock; more than two of the lease's five minutes are over.
    assert timedelta(minutes=2) < operation.not_before - timezone.now() <= timedelta(minutes=3)
    assert _outcomes(operation) == ["unknown", "rejected"]
    assert desk.perform(operation).attempt_count == 2, "not before its time"

    desk.drain(operation)
    assert operation.state == "succeeded"
    assert _outcomes(operation)[-1] == "applied"
    assert len(desk.children()) == 1


@pytest.mark.usefixtures("impatient")
def test_a_request_held_open_meets_its_own_second_try(desk: SubDesk) -> None:
    desk.timeouts = 1.0
    desk.sandbox.admin.arm("hold", "aha-create", seconds=60)
    operation = desk.perform(desk.ask_create())
    assert operation.state == "unknown"
    desk.pass_time(SETTLED)
    desk.round()
    desk.pass_time(5)
    operation = desk.perform(operation)
    assert operation.error_kind == "in_progress"
    desk.sandbox.admin.clear_faults()  # the first one comes to its end
    desk.until(desk.children)
    desk.drain(operation)
    _adopted(desk, operation)
    assert _outcomes(operation) == ["unknown", "rejected"]


def test_what_waits_for_the_first_to_end_cant_be_cancelled(desk: SubDesk) -> None:
    desk.timeouts = 1.0
    desk.sandbox.admin.arm("crash-before", "aha-create")
    operation = desk.perform(desk.ask_create())
    desk.pass_time(ABSENT)
    desk.round()
    operation.refresh_from_db()
    assert operation.state == "queued"
    with pytest.raises(Refusal, match="can't be canceled"):
        operation_commands.cancel_operation(Command(desk.person, desk.now), operation=operation)
    operation.refresh_from_db()
    assert operation.state == "queued"


# -- another body under the same key ---------------------------------------------------------------------------


@pytest.mark.parametrize("made", [True, False])
def test_a_key_used_for_another_request_is_never_sent_again(desk: SubDesk, made: bool) -> None:
    operation = desk.ask_create()
    provider = desk.connect(desk.connection)
    other = AccountSettings(NORTHWIND.name if made else "Globex", NORTHWIND.website, 7)
    new = NewAccount(Profile(""), settings=other)
    provider.create_account(new, IdempotentBody(str(operation.public_id), provider.create_body(new)))
    operation = desk.perform(operation)
    assert (operation.state, operation.error_kind) == ("unknown", "key_reused")
    desk.drain(operation)
    assert (operation.state, operation.attempt_count) == ("succeeded" if made else "failed", 1)
    assert operation.error_kind == ("" if made else "key_reused")
    assert len(desk.children()) == 1


# -- the original ended in an error ----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["status-500", "status-503", "reset-before", "html-502"])
def test_what_was_not_made_is_sent_again_with_the_same_bytes(desk: SubDesk, fault: str) -> None:
    desk.sandbox.admin.arm(fault, "aha-create")
    operation = desk.perform(desk.ask_create())
    assert operation.state == "unknown"
    desk.drain(operation)
    assert operation.state == "succeeded"
    assert _outcomes(operation) == ["unknown", "applied"]
    assert len(desk.children()) == 1


@pytest.mark.long
def test_nothing_is_concluded_from_an_incomplete_list(desk: SubDesk) -> None:
    desk.sandbox.admin.arm("after-status-500", "aha-create")
    desk.sandbox.admin.arm("status-500", "aha-list", count=None)
    operation = desk.perform(desk.ask_create())
    desk.drain(operation, hours=0.5)
    assert (operation.state, operation.attempt_count) == ("unknown", 1)
    desk.sandbox.admin.clear_faults()
    desk.drain(operation)
    _adopted(desk, operation)


def test_a_stored_refusal_is_final_and_a_retry_has_another_key(desk: SubDesk) -> None:
    desk.sandbox.admin.arm("status-400", "aha-create")
    operation = desk.ask_create()
    provider = desk.connect(desk.connection)
    with desk.dies_at("after_intent"):
        desk.perform(operation)
    operation.refresh_from_db()
    with pytest.raises(Exception, match="400"):  # the request that got out before the worker died
        provider.create_account(
            NewAccount(Profile(""), settings=NORTHWIND), IdempotentBody(str(operation.public_id), operation.body)
        )
    desk.drain(operation)
    assert (operation.state, operation.error_kind) == ("failed", "rejected")
    assert _outcomes(operation) == ["", "rejected"]
    assert desk.children() == []

    again = operation_commands.retry_operation(Command(desk.person, desk.now, token=uuid4().hex), operation=operation)
    assert desk.drain(again).state == "succeeded"
    assert json.loads(again.body) == json.loads(operation.body)
    assert len(desk.children()) == 1


def test_a_refused_resend_does_not_hide_what_the_first_created(desk: SubDesk) -> None:
    desk.sandbox.admin.switch(LAG, 960)
    desk.sandbox.admin.arm("after-status-500", "aha-create")
    operation = desk.perform(desk.ask_create())
    desk.sandbox.admin.arm("status-400", "aha-create")
    desk.pass_time(ABSENT)
    desk.round()
    desk.pass_time(5)
    operation = desk.perform(operation)
    assert (operation.state, operation.error_kind) == ("unknown", "rejected")
    desk.pass_time(60)
    desk.drain(operation)
    _adopted(desk, operation)


def test_a_refused_credential_stores_nothing_and_burns_nothing(desk: SubDesk) -> None:
    desk.sandbox.admin.arm("status-401", "aha-create")
    operation = desk.perform(desk.ask_create())
    desk.connection.refresh_from_db()
    assert (operation.state, desk.connection.paused) == ("queued", "auth")
    desk.pass_time(30 * HOUR)
    connection_commands.resume_connection(Command(desk.person), connection=desk.connection)
    assert desk.drain(operation).state == "succeeded"


# -- too late --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hours", "sends"), [(22.9, 2), (23.1, 1), (30, 1)])
def test_nothing_keyed_is_sent_after_23_hours(desk: SubDesk, hours: float, sends: int) -> None:
    desk.sandbox.admin.arm("status-500", "aha-create")
    operation = desk.perform(desk.ask_create())
    desk.pass_time(hours * HOUR)
    desk.drain(operation)
    assert operation.attempt_count == sends
    if sends == 1:
        assert (operation.state, operation.error_kind) == ("needs_attention", "too_late")
        assert "key" in operation.summary
        for decide in (resolve.resolve_retry, _not_created_send_again):
            with pytest.raises(Refusal, match="can no longer be used"):
                decide(Command(desk.person, desk.now, reason="Looked."), operation=operation)
        resolve.resolve_not_created(
            Command(desk.person, desk.now, reason="Looked."), operation=operation, send_again=False
        )
        again = operation_commands.retry_operation(
            Command(desk.person, desk.now, token=uuid4().hex), operation=operation
        )
        assert desk.drain(again).state == "succeeded"
    assert len(desk.children()) == 1


def _not_created_send_again(command: Command, *, operation: Operation) -> None:
    resolve.resolve_not_created(command, operation=operation, send_again=True)


def test_after_23_hours_what_was_made_is_still_found(desk: SubDesk) -> None:
    desk.sandbox.admin.arm("after-status-500", "aha-create")
    operation = desk.perform(desk.ask_create())
    desk.pass_time(40 * HOUR)
    desk.drain(operation)
    _adopted(desk, operation)


def test_a_resend_uses_the_stored_body_not_the_edited_payload(desk: SubDesk) -> None:
    desk.sandbox.admin.arm("status-500", "aha-create")
    operation = desk.perform(desk.ask_create())
    payload = operation.payload | {"settings": operation.payload["settings"] | {"monthly_cap": 1}}
    Operation.objects.filter(pk=operation.pk).update(payload=payload)
    desk.drain(operation)
    assert operation.state == "succeeded", operation.summary
    (there,) = desk.children()
    assert there.settings == NORTHWIND


@pytest.mark.parametrize("seconds", [60, 400, 880])
def test_an_account_that_is_made_late_is_waited_for(desk: SubDesk, seconds: int) -> None:
    """A gateway gave up, the key is free again, and the account comes minutes later: there is still but one."""
    desk.sandbox.admin.arm("late-create", "aha-create", seconds=seconds)
    operation = desk.perform(desk.ask_create())
    assert operation.state == "unknown"
    desk.drain(operation)
    desk.pass_time(1800)
    _adopted(desk, operation)


def test_a_slow_clock_of_the_provider_hides_nothing(desk: SubDesk) -> None:
    """By its clock the account is older than our send; that clock was measured just before."""
    desk.sandbox.admin.move_clock(seconds=-300)
    desk.sandbox.admin.arm("after-status-504", "aha-create")
    operation = desk.perform(desk.ask_create())
    desk.drain(operation)
    assert operation.state == "succeeded"
    assert len(desk.children()) == 1
