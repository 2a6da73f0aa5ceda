"""Claims, lanes, fences and leases: the promises the executor stands on."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from customers import connecting, dispatcher, engine, operations
from customers.models import Account, Attempt, Connection, Operation, Step
from customers.operations import UnableToAsk
from portal.providers import Evidence, NewAccount, Once
from tests.customers.conftest import ADDON, BIGGER, PACKAGE, Desk
from tests.support.factories import OperationFactory

LATER = timedelta(minutes=5)


def test_a_claim_is_taken_once_and_raises_the_fence(desk: Desk) -> None:
    asked = desk.ask_create()
    now = timezone.now()
    first = engine.claim(asked.pk, now=now)
    assert first is not None
    assert first.fence == asked.fence + 1
    assert engine.claim(asked.pk, now=now) is None


def test_operations_of_one_account_go_one_after_the_other(desk: Desk) -> None:
    account = desk.created()
    first = desk.ask_offerings(account, [BIGGER])
    second = desk.ask("suspend", account)
    now = timezone.now()
    assert engine.claim(second.pk, now=now) is None
    assert engine.claim(first.pk, now=now) is not None
    assert engine.claim(second.pk, now=now) is None


def test_without_the_identity_probe_creates_of_a_connection_share_one_lane(desk: Desk) -> None:
    Connection.objects.update(probe_available=None)
    desk.connection.refresh_from_db()
    first, second = desk.ask_create("a@northwind.example"), desk.ask_create("b@northwind.example")
    now = timezone.now()
    assert engine.claim(first.pk, now=now) is not None
    assert engine.claim(second.pk, now=now) is None
    Connection.objects.update(probe_available=True)
    assert engine.claim(second.pk, now=now) is not None


def test_one_open_create_for_a_connection_and_email(desk: Desk) -> None:
    desk.ask_create("Ops@Northwind.example")
    with pytest.raises(UnableToAsk) as refusal:
        desk.ask_create("ops@northwind.example")
    assert refusal.value.field == "email"


def test_the_same_token_is_the_same_operation(desk: Desk) -> None:
    account = desk.created()
    asked = {
        "actor": desk.person,
        "account": account,
        "reason": "Unpaid.",
        "client_token": uuid4().hex,
        "now": timezone.now(),
    }
    assert operations.ask_suspend(**asked).pk == operations.ask_suspend(**asked).pk
    assert Operation.objects.filter(kind="suspend").count() == 1


def test_a_lost_lease_before_sending_goes_back_and_the_third_time_to_a_person(desk: Desk) -> None:
    operation = desk.ask_create()
    now = timezone.now()
    for expected in ("queued", "queued", "needs_attention"):
        assert engine.claim(operation.pk, now=now) is not None
        now += LATER
        engine.expire_leases(now=now)
        operation.refresh_from_db()
        assert operation.state == expected
    assert operation.error_kind == "poison"
    assert operation.sends == 0


def test_a_lost_lease_while_sending_is_an_unknown_outcome_never_queued(desk: Desk) -> None:
    asked = desk.ask_create()
    operation = engine.claim(asked.pk, now=timezone.now())
    assert operation is not None
    engine.intend(operation, call="create account", request="{}", now=timezone.now())
    engine.expire_leases(now=timezone.now() + LATER)
    operation.refresh_from_db()
    assert operation.state == "unknown"
    assert dispatcher.due_operations(now=timezone.now() + LATER) == [operation.pk], "it is looked at"
    looked_at = desk.perform(operation, at=timezone.now() + LATER)
    assert (looked_at.state, looked_at.sends) == ("unknown", 1), "and not sent"


def test_a_zombies_answer_is_kept_on_its_attempt_and_settles_the_operation(desk: Desk) -> None:
    asked = desk.ask_create()
    zombie = engine.claim(asked.pk, now=timezone.now())
    assert zombie is not None
    attempt = engine.intend(zombie, call="create account", request="{}", now=timezone.now())
    provider = desk.connect(desk.connection)
    new = NewAccount(operations.Profile(**asked.payload["profile"]), (PACKAGE, ADDON))
    created = provider.create_account(new, Once("key", provider.create_body(new))).id
    engine.expire_leases(now=timezone.now() + LATER)

    moved = engine.conclude(
        zombie,
        attempt,
        Attempt.Outcome.APPLIED,
        engine.S.SUCCEEDED,
        now=timezone.now(),
        evidence=Evidence(status=201),
        result={"account_id": created},
        account={"provider_id": created},
    )
    asked.refresh_from_db()
    assert (moved, asked.state) == (False, "unknown")
    assert Account.objects.get(pk=asked.account_id).provider_id is None

    assert desk.drain(asked).state == "succeeded"
    assert Account.objects.get(pk=asked.account_id).provider_id == created
    assert len(desk.sandbox.admin.accounts()) == 1


def test_an_old_fence_writes_nothing(desk: Desk) -> None:
    asked = desk.ask_create()
    stale = engine.claim(asked.pk, now=timezone.now())
    assert stale is not None
    engine.expire_leases(now=timezone.now() + LATER)
    steps = Step.objects.count()
    with pytest.raises(engine.LostLease):
        engine.intend(stale, call="create account", request="{}", now=timezone.now())
    assert Step.objects.count() == steps
    assert Attempt.objects.count() == 0


@pytest.mark.django_db
def test_a_woken_worker_commits_no_intent_beside_another() -> None:
    """The row is claimed, as the woken worker left it, but by another one: the fence alone tells them apart."""
    asked, now = OperationFactory(), timezone.now()
    woken = engine.claim(asked.pk, now=now)
    engine.expire_leases(now=now + LATER)
    holder = engine.claim(asked.pk, now=now + LATER)
    assert woken is not None
    assert holder is not None
    with pytest.raises(engine.LostLease):
        engine.intend(woken, call="set state", request="{}", now=now + LATER)
    with pytest.raises(engine.LostLease):
        engine.move(woken, engine.S.FAILED, now=now + LATER)
    assert not Attempt.objects.exists()
    attempt = engine.intend(holder, call="set state", request="{}", now=now + LATER)
    woken.state = engine.S.SENDING
    concluded = engine.conclude(
        woken, attempt, Attempt.Outcome.APPLIED, engine.S.SUCCEEDED, evidence=Evidence(status=200), now=now + LATER
    )
    asked.refresh_from_db()
    assert (concluded, asked.state, asked.fence) == (False, "sending", holder.fence)


@pytest.mark.django_db
def test_a_long_reading_moves_the_lease_of_its_own_claim_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(step=20)
    monkeypatch.setattr(engine, "monotonic", lambda: next(clock))
    asked, now = OperationFactory(state="unknown"), timezone.now()
    woken = engine.hold(asked.pk, now=now)
    holder = engine.hold(asked.pk, now=now + LATER)
    assert woken is not None
    assert holder is not None
    with pytest.raises(engine.LostLease):
        next(engine.keeping_the_lease(woken, ["row"]))
    asked.refresh_from_db()
    assert asked.lease_until == now + LATER + engine.LEASE
    assert list(engine.keeping_the_lease(holder, ["one", "two"])) == ["one", "two"]
    asked.refresh_from_db()
    assert asked.lease_until == now + LATER + engine.LEASE + timedelta(seconds=40)


def test_the_database_itself_refuses_a_second_busy_operation_in_a_lane(desk: Desk) -> None:
    account = desk.created()
    first = desk.ask_offerings(account, [BIGGER])
    second = desk.ask("suspend", account)
    Operation.objects.filter(pk=first.pk).update(state="claimed", lane="account:1")
    with pytest.raises(IntegrityError), transaction.atomic():
        Operation.objects.filter(pk=second.pk).update(state="sending", lane="account:1")


def test_cancel_wins_only_while_queued(desk: Desk) -> None:
    account = desk.created()
    operation = desk.ask("suspend", account)
    operations.cancel(actor=desk.person, operation=operation, now=timezone.now())
    account.refresh_from_db()
    assert (operation.state, account.desired_state) == ("cancelled", "active")
    assert desk.perform(operation).state == "cancelled"

    other = desk.ask("suspend", account)
    assert engine.claim(other.pk, now=timezone.now()) is not None
    with pytest.raises(UnableToAsk):
        operations.cancel(actor=desk.person, operation=other, now=timezone.now())


def test_a_paused_connection_keeps_its_operations_queued(desk: Desk) -> None:
    operation = desk.ask_create()
    connecting.pause(actor=desk.person, connection=desk.connection, reason="Maintenance.", now=timezone.now())
    assert desk.drain(operation).state == "queued"
    connecting.resume(actor=desk.person, connection=desk.connection)
    assert desk.drain(operation).state == "succeeded"


def test_the_create_budget_stops_before_sending(desk: Desk) -> None:
    Connection.objects.update(creates_per_hour=1)
    desk.connection.refresh_from_db()
    desk.created("one@northwind.example")
    second = desk.perform(desk.ask_create("two@northwind.example"))
    assert (second.state, second.error_kind, second.sends) == ("needs_attention", "budget", 0)
    assert len(desk.sandbox.admin.accounts()) == 1


@pytest.mark.parametrize("change", [{"is_active": False}, {"role": "auditor"}])
def test_the_right_to_ask_is_looked_at_again_when_the_work_starts(desk: Desk, change: dict[str, object]) -> None:
    operation = desk.ask_create()
    type(desk.person).objects.filter(pk=desk.person.pk).update(**change)
    operation = desk.perform(operation)
    assert (operation.state, operation.error_kind, operation.sends) == ("failed", "permission", 0)


def test_failing_in_a_chain_restores_the_last_value_that_succeeded(desk: Desk) -> None:
    account = desk.created()
    first = desk.ask_offerings(account, [BIGGER])
    account.refresh_from_db()
    suspend = desk.ask("suspend", account)
    desk.sandbox.admin.arm("status-400", "put-offerings")
    assert desk.perform(first).state == "failed"
    assert desk.perform(suspend).state == "succeeded"
    account.refresh_from_db()
    assert account.desired_state == "stopped_by_us"


def test_every_step_is_written_and_audited(desk: Desk) -> None:
    operation = desk.perform(desk.ask_create())
    assert list(operation.steps.values_list("before", "after")) == [
        ("", "queued"),
        ("queued", "claimed"),
        ("claimed", "sending"),
        ("sending", "succeeded"),
    ]


def test_the_first_account_read_shows_whether_identity_can_be_proved(desk: Desk) -> None:
    Connection.objects.update(probe_available=None)
    desk.connection.refresh_from_db()
    desk.created()
    desk.connection.refresh_from_db()
    assert desk.connection.probe_available is True
