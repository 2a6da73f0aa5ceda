"""Claims, lanes, fences and leases: the promises the executor stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.db import connection as database
from django.db.models import F
from django.utils import timezone

from customers import dispatcher
from customers.connections import commands as connection_commands
from customers.models import Account, Attempt, Connection, Operation, Step
from customers.models.operation_states import OperationState
from customers.operations import commands as operation_commands
from customers.operations import conclusions, create_limits, executor, transitions
from portal import leases
from portal import providers as portal_providers
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.leases import LostLease
from portal.providers import Evidence, IdempotentBody, NewAccount, Provider
from portal.refusals import Refusal
from tests.customers.conftest import ADDON, BIGGER, PACKAGE, Desk
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory, UserFactory

LATER = timedelta(minutes=5)


def test_a_claim_is_taken_once_and_raises_the_fence(desk: Desk) -> None:
    asked = desk.ask_create()
    now = timezone.now()
    first = transitions.claim(asked.pk, now=now)
    assert first is not None
    assert first.fence == asked.fence + 1
    assert transitions.claim(asked.pk, now=now) is None


def test_operations_of_one_account_go_one_after_the_other(desk: Desk) -> None:
    account = desk.created()
    first = desk.ask_offerings(account, [BIGGER])
    second = desk.ask("suspend", account)
    now = timezone.now()
    assert transitions.claim(second.pk, now=now) is None
    assert transitions.claim(first.pk, now=now) is not None
    assert transitions.claim(second.pk, now=now) is None


def test_without_the_identity_probe_creates_run_one_at_a_time(desk: Desk) -> None:
    Connection.objects.update(probe_available=None)
    desk.connection.refresh_from_db()
    first, second = desk.ask_create("a@northwind.example"), desk.ask_create("b@northwind.example")
    now = timezone.now()
    assert transitions.claim(first.pk, now=now) is not None
    assert transitions.claim(second.pk, now=now) is None
    Connection.objects.update(probe_available=True)
    assert transitions.claim(second.pk, now=now) is not None


def test_one_open_create_for_a_connection_and_email(desk: Desk) -> None:
    desk.ask_create("Ops@Northwind.example")
    with pytest.raises(Refusal) as refusal:
        desk.ask_create("ops@northwind.example")
    assert refusal.value.field == "email"


def test_the_same_token_is_the_same_operation(desk: Desk) -> None:
    account = desk.created()
    command = Command(desk.person, reason="Unpaid.", token=uuid4().hex)
    first = operation_commands.request_suspend(command, account=account)
    assert operation_commands.request_suspend(command, account=account).pk == first.pk
    assert Operation.objects.filter(kind="suspend").count() == 1


def test_the_third_lost_lease_before_sending_needs_review(desk: Desk) -> None:
    operation = desk.ask_create()
    now = timezone.now()
    for expected in ("queued", "queued", "needs_attention"):
        assert transitions.claim(operation.pk, now=now) is not None
        now += LATER
        transitions.expire_leases(now=now)
        operation.refresh_from_db()
        assert operation.state == expected
    assert operation.error_kind == "poison"
    assert operation.attempt_count == 0


def test_a_lease_lost_while_sending_is_an_unknown_outcome(desk: Desk) -> None:
    asked = desk.ask_create()
    operation = transitions.claim(asked.pk, now=timezone.now())
    assert operation is not None
    transitions.intend(operation, call="create account", request="{}", now=timezone.now())
    transitions.expire_leases(now=timezone.now() + LATER)
    operation.refresh_from_db()
    assert operation.state == "unknown"
    assert dispatcher.due_operations(now=timezone.now() + LATER) == [operation.pk], "it is looked at"
    looked_at = desk.perform(operation, at=timezone.now() + LATER)
    assert (looked_at.state, looked_at.attempt_count) == ("unknown", 1), "and not sent"


def test_a_late_answer_is_stored_and_completes_the_operation(desk: Desk) -> None:
    asked = desk.ask_create()
    zombie = transitions.claim(asked.pk, now=timezone.now())
    assert zombie is not None
    attempt = transitions.intend(zombie, call="create account", request="{}", now=timezone.now())
    provider = desk.connect(desk.connection)
    new = NewAccount(portal_providers.Profile(**asked.payload["profile"]), (PACKAGE, ADDON))
    created = provider.create_account(new, IdempotentBody("key", provider.create_body(new))).id
    transitions.expire_leases(now=timezone.now() + LATER)

    moved = conclusions.conclude(
        zombie,
        attempt,
        Attempt.Outcome.APPLIED,
        OperationState.SUCCEEDED,
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
    stale = transitions.claim(asked.pk, now=timezone.now())
    assert stale is not None
    transitions.expire_leases(now=timezone.now() + LATER)
    steps = Step.objects.count()
    with pytest.raises(LostLease):
        transitions.intend(stale, call="create account", request="{}", now=timezone.now())
    assert Step.objects.count() == steps
    assert Attempt.objects.count() == 0


@pytest.mark.django_db
def test_a_woken_worker_commits_no_intent_beside_another() -> None:
    """The row is claimed, as the woken worker left it, but by another one: the fence alone tells them apart."""
    asked, now = OperationFactory(), timezone.now()
    woken = transitions.claim(asked.pk, now=now)
    transitions.expire_leases(now=now + LATER)
    holder = transitions.claim(asked.pk, now=now + LATER)
    assert woken is not None
    assert holder is not None
    with pytest.raises(LostLease):
        transitions.intend(woken, call="set state", request="{}", now=now + LATER)
    with pytest.raises(LostLease):
        transitions.move(woken, OperationState.FAILED, now=now + LATER)
    with pytest.raises(LostLease):
        woken.take_over()
    assert not Attempt.objects.exists()
    attempt = transitions.intend(holder, call="set state", request="{}", now=now + LATER)
    woken.state = OperationState.SENDING
    concluded = conclusions.conclude(
        woken,
        attempt,
        Attempt.Outcome.APPLIED,
        OperationState.SUCCEEDED,
        evidence=Evidence(status=200),
        now=now + LATER,
    )
    asked.refresh_from_db()
    assert (concluded, asked.state, asked.fence) == (False, "sending", holder.fence)


@pytest.mark.django_db
def test_a_long_reading_moves_the_lease_of_its_own_claim_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(step=20)
    monkeypatch.setattr(leases, "monotonic", lambda: next(clock))
    asked, now = OperationFactory(state="unknown"), timezone.now()
    woken = transitions.claim_for_verification(asked.pk, now=now)
    holder = transitions.claim_for_verification(asked.pk, now=now + LATER)
    assert woken is not None
    assert holder is not None
    with pytest.raises(LostLease):
        next(woken.renewing(["row"]))
    transitions.reschedule_verification(woken, until=now, summary="Nothing found yet.")
    asked.refresh_from_db()
    assert (asked.lease_until, asked.summary) == (now + LATER + Operation.LEASE, "")
    assert (holder.verifications, asked.verifications) == (2, 2)
    assert list(holder.renewing(["one", "two"])) == ["one", "two"]
    asked.refresh_from_db()
    assert asked.lease_until == now + LATER + Operation.LEASE + timedelta(seconds=40)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "meanwhile",
    [
        {"state": "cancelled", "finished_at": F("created_at")}, {"fence": F("fence") + 1},
        {"not_before": F("not_before") + LATER},
    ],
)  # fmt: skip
def test_a_claim_loses_to_a_change_between_its_read_and_write(meanwhile: dict[str, object]) -> None:
    asked = OperationFactory()

    def change(execute: Callable[..., object], sql: str, *more: object) -> object:
        if sql.startswith('UPDATE "customers_operation"') and changes:
            Operation.objects.filter(pk=asked.pk).update(**changes.pop())
        return execute(sql, *more)

    changes = [meanwhile]
    with database.execute_wrapper(change):
        assert transitions.claim(asked.pk, now=asked.not_before) is None
    asked.refresh_from_db()
    assert (asked.state, asked.lease_until) == (meanwhile.get("state", "queued"), None)


@pytest.mark.django_db
@pytest.mark.parametrize("change", [{"revision": 7}, {"paused": "person"}, {"paused": "auth"}])
def test_nothing_is_sent_if_the_connection_was_edited_or_paused(change: dict[str, object]) -> None:
    asked, now = OperationFactory(), timezone.now()
    held = transitions.claim(asked.pk, now=now)
    assert held is not None
    Connection.objects.update(**change)
    with pytest.raises(transitions.ConnectionStopped):
        transitions.intend(held, call="set state", request="{}", now=now)
    asked.refresh_from_db()
    assert (asked.state, asked.attempt_count) == ("claimed", 0)


@pytest.mark.django_db
@pytest.mark.parametrize(("minutes", "stops"), [(59, True), (61, False)])
def test_the_create_budget_counts_the_last_hour(minutes: int, stops: bool) -> None:
    now, connection = timezone.now(), ConnectionFactory(creates_per_hour=1)
    sent, asked = (OperationFactory(kind="create", account=AccountFactory(connection=connection)) for _ in range(2))
    Attempt.objects.create(operation=sent, n=1, fence=1, call="x", intended_at=now - timedelta(minutes=minutes))
    assert bool(create_limits.stop_of_create(asked, connection, now=now)) is stops


@pytest.mark.django_db
@pytest.mark.parametrize("after", ["succeeded", "failed", "unknown", "needs_attention"])
def test_what_became_of_an_operation_is_in_the_audit_log(after: str) -> None:
    asked = OperationFactory(state="sending" if after == "unknown" else "claimed")
    transitions.move(asked, OperationState(after), now=timezone.now(), summary="This is why.")
    event = AuditEvent.objects.get(verb=f"operation.{after}")
    assert (event.object_id, event.account_id) == (asked.public_id, asked.account.public_id)
    assert event.reason == "This is why."


def test_a_worker_that_slept_through_its_lease_sends_nothing(desk: Desk) -> None:
    account = desk.created()
    asked, now = desk.ask("suspend", account), timezone.now()

    def clock() -> datetime:
        return now + Operation.LEASE if Attempt.objects.filter(operation=asked).exists() else now

    executor.perform(asked.pk, clock=clock, connect=desk.connect)
    asked.refresh_from_db()
    assert (asked.state, asked.attempts.get().outcome) == ("queued", "not_sent")
    assert desk.sandbox.admin.account(account.provider_id or "")["state"] == "activated"


def suspended_then_unsuspended(account: Account) -> tuple[Operation, Operation]:
    command = Command(UserFactory(), reason="Unpaid.", token=uuid4().hex)
    suspend = operation_commands.request_suspend(command, account=account)
    return suspend, operation_commands.request_unsuspend(replace(command, token=uuid4().hex), account=account)


def edit(connection: Connection) -> None:
    """Somebody gives it another key or address."""
    Connection.objects.filter(pk=connection.pk).update(revision=F("revision") + 1)


def test_a_reading_before_a_connection_edit_concludes_nothing(desk: Desk) -> None:
    account = desk.created()
    asked = desk.ask("suspend", account)
    desk.sandbox.admin.set_state(account.provider_id or "", "deactivated")

    def connect(connection: Connection) -> Provider:
        provider = desk.connect(connection)
        edit(connection)
        return provider

    executor.perform(asked.pk, clock=timezone.now, connect=connect)
    asked.refresh_from_db()
    assert (asked.state, asked.error_kind, asked.attempt_count) == ("queued", "paused", 0)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_a_key_replaced_meanwhile_does_not_count(desk: Desk, status: int) -> None:
    account = desk.created()
    asked, edited = desk.ask_offerings(account, [BIGGER]), []
    desk.sandbox.admin.arm(f"status-{status}", "put-offerings")

    def clock() -> datetime:
        if not edited and Attempt.objects.filter(operation=asked).exists():
            edited.append(edit(desk.connection))
        return timezone.now()

    executor.perform(asked.pk, clock=clock, connect=desk.connect)
    asked.refresh_from_db()
    desk.connection.refresh_from_db()
    assert (asked.state, asked.error_kind, desk.connection.paused) == ("queued", "paused", "")


@pytest.mark.django_db
@pytest.mark.parametrize("suspend_ends_first", [True, False])
def test_two_cancelled_changes_restore_the_state_before_both(suspend_ends_first: bool) -> None:
    suspend, unsuspend = suspended_then_unsuspended(AccountFactory())
    for operation in (suspend, unsuspend) if suspend_ends_first else (unsuspend, suspend):
        transitions.move(operation, OperationState.CANCELLED, now=timezone.now())
    assert Account.objects.get().desired_state == "active"


@pytest.mark.django_db
def test_a_cancelled_change_restores_what_succeeded_since() -> None:
    suspend, unsuspend = suspended_then_unsuspended(AccountFactory())
    claimed = transitions.claim(suspend.pk, now=timezone.now())
    assert claimed is not None
    conclusions.succeed(claimed, now=timezone.now(), summary="", account={"state": "stopped_by_us"}, result={})
    transitions.move(unsuspend, OperationState.CANCELLED, now=timezone.now())
    assert Account.objects.get().desired_state == "stopped_by_us"


@pytest.mark.django_db
def test_a_cancelled_change_leaves_what_was_requested_since() -> None:
    suspend, _unsuspend = suspended_then_unsuspended(AccountFactory())
    OperationFactory(account=suspend.account, kind="delete")
    Account.objects.update(desired_state="deleted")
    transitions.move(suspend, OperationState.CANCELLED, now=timezone.now())
    assert Account.objects.get().desired_state == "deleted"


def test_a_state_that_is_not_known_yet_has_no_moment_of_reading() -> None:
    now, columns = timezone.now(), {"state": "unknown", "offerings": [], "provider_id": "sg-1"}
    assert conclusions.observed(columns, now=now) == {"offerings_read_at": now}


def test_the_database_allows_one_running_operation_per_key(desk: Desk) -> None:
    account = desk.created()
    first = desk.ask_offerings(account, [BIGGER])
    second = desk.ask("suspend", account)
    Operation.objects.filter(pk=first.pk).update(state="claimed", concurrency_key="account:1")
    with pytest.raises(IntegrityError), transaction.atomic():
        Operation.objects.filter(pk=second.pk).update(state="sending", concurrency_key="account:1")


def test_cancel_wins_only_while_queued(desk: Desk) -> None:
    account = desk.created()
    operation = desk.ask("suspend", account)
    operation_commands.cancel_operation(Command(desk.person, timezone.now()), operation=operation)
    account.refresh_from_db()
    assert (operation.state, account.desired_state) == ("cancelled", "active")
    assert desk.perform(operation).state == "cancelled"

    other = desk.ask("suspend", account)
    assert transitions.claim(other.pk, now=timezone.now()) is not None
    for _as_read in ("before the claim", "after it"):
        with pytest.raises(Refusal, match="already started"):
            operation_commands.cancel_operation(Command(desk.person, timezone.now()), operation=other)
        other.refresh_from_db()
    assert (other.state, other.fence) == ("claimed", 1)


@pytest.mark.long
def test_a_paused_connection_keeps_its_operations_queued(desk: Desk) -> None:
    operation = desk.ask_create()
    connection_commands.pause_connection(
        Command(desk.person, timezone.now(), reason="Maintenance."), connection=desk.connection
    )
    assert desk.drain(operation).state == "queued"
    connection_commands.resume_connection(Command(desk.person), connection=desk.connection)
    assert desk.drain(operation).state == "succeeded"


def test_the_create_budget_stops_before_sending(desk: Desk) -> None:
    Connection.objects.update(creates_per_hour=1)
    desk.connection.refresh_from_db()
    desk.created("one@northwind.example")
    second = desk.perform(desk.ask_create("two@northwind.example"))
    assert (second.state, second.error_kind, second.attempt_count) == ("needs_attention", "budget", 0)
    assert len(desk.sandbox.admin.accounts()) == 1


@pytest.mark.parametrize("change", [{"is_active": False}, {"role": "auditor"}])
def test_the_requesters_permission_is_checked_again_at_the_start(desk: Desk, change: dict[str, object]) -> None:
    operation = desk.ask_create()
    type(desk.person).objects.filter(pk=desk.person.pk).update(**change)
    operation = desk.perform(operation)
    assert (operation.state, operation.error_kind, operation.attempt_count) == ("failed", "permission", 0)


def test_a_failure_in_a_chain_restores_the_last_succeeded_value(desk: Desk) -> None:
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


def test_the_first_account_read_sets_the_identity_probe(desk: Desk) -> None:
    Connection.objects.update(probe_available=None)
    desk.connection.refresh_from_db()
    desk.created()
    desk.connection.refresh_from_db()
    assert desk.connection.probe_available is True
