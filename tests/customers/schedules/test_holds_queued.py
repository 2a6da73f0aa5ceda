"""A hold, and a suspend that was queued before it: by a bulk change, by a schedule, by a person."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from customers.bulk import commands as bulk_commands
from customers.bulk import run as bulk_run
from customers.models import Account, Attempt, Hold, Operation
from customers.operations import transitions
from customers.operations.commands import request_suspend, request_unsuspend, retry_operation
from customers.schedules import commands as schedule_commands
from customers.schedules import due as due_schedules
from customers.schedules import holds
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal
from tests.customers.conftest import Desk
from tests.customers.page_helpers import prose_of, text_of
from tests.support import failpoints
from tests.support.factories import AccountFactory, OperationFactory, UserFactory
from tests.support.people import sign_in

NOW = timezone.now()


@pytest.fixture
def person(db: None) -> User:
    user: User = UserFactory(name="Success lead")
    return user


@pytest.fixture
def account(db: None) -> Account:
    made: Account = AccountFactory()
    return made


def in_bulk(person: User, account: Account) -> Operation:
    made = bulk_commands.plan_bulk_change(
        Command(person, NOW, reason="Unpaid", token=uuid4().hex), kind="suspend", wanted={}, account_ids=[account.pk]
    )
    bulk_commands.submit_bulk_change(Command(person, NOW), change_set=made)
    bulk_run.run_bulk_change(made.pk, clock=lambda: NOW)
    return Operation.objects.get(change_set_item__change_set=made)


def scheduled(person: User, account: Account) -> Operation:
    made = schedule_commands.schedule_change(
        Command(person, NOW, reason="Unpaid", token=uuid4().hex),
        account=account,
        kind="suspend",
        due_at=NOW + timedelta(hours=1),
    )
    due_schedules.run_schedule(made.pk, now=NOW + timedelta(hours=1))
    return Operation.objects.get(schedule=made)


def clicked(person: User, account: Account, **more: Any) -> Operation:
    return request_suspend(Command(person, NOW, reason="Unpaid", token=uuid4().hex), account=account, **more)


def place(person: User, account: Account) -> Hold:
    return holds.place_hold(Command(person, NOW, reason="They pay on Friday."), account=account, until=None)


@pytest.mark.parametrize("queue", [in_bulk, scheduled])
def test_what_was_queued_by_itself_is_cancelled(queue: Any, person: User, account: Account) -> None:
    operation = queue(person, account)
    hold = place(person, account)
    operation.refresh_from_db()
    account.refresh_from_db()
    assert hold.cancelled == [operation]
    assert (operation.state, operation.summary) == (
        "cancelled",
        "Marked “Do not suspend” by Success lead: They pay on Friday.",
    )
    assert account.desired_state == "active"
    assert AuditEvent.objects.filter(verb="operation.cancelled", object_id=operation.public_id).exists()


def test_the_page_says_what_was_cancelled(client: Client, person: User, account: Account) -> None:
    operation = in_bulk(person, account)
    url = reverse("customers:hold-place", args=[account.public_id])
    answer = sign_in(client, person).post(url, {"reason": "They pay on Friday."}, follow=True)
    assert f"Pending suspensions canceled: {operation.code}." in prose_of(answer)


def test_a_persons_own_suspend_is_in_the_way(client: Client, person: User, account: Account) -> None:
    operation = clicked(UserFactory(name="Finance lead", role="admin"), account)
    url = reverse("customers:hold-place", args=[account.public_id])
    answer = sign_in(client, person).post(url, {"reason": "They pay on Friday."})
    assert answer.status_code == 422
    said = f"Finance lead requested to suspend this account ({operation.code}), and the operation isn't finished."
    assert said.replace(" ", "") in prose_of(answer).replace(" ", "")
    assert operation.get_absolute_url() in text_of(answer)
    assert "They pay on Friday." in text_of(answer)
    assert not Hold.objects.exists()


@pytest.mark.parametrize("state", ["sending", "unknown", "needs_attention"])
def test_what_may_have_been_sent_is_in_the_way(state: str, person: User, account: Account) -> None:
    operation = in_bulk(person, account)
    Operation.objects.filter(pk=operation.pk).update(state=state, concurrency_key=f"account:{account.pk}")
    with pytest.raises(Refusal, match="may have been sent"):
        place(person, account)
    assert not Hold.objects.exists()


def test_what_was_sent_and_is_queued_again_is_in_the_way(person: User, account: Account) -> None:
    operation = in_bulk(person, account)
    Attempt.objects.create(operation=operation, n=1, fence=1, call="set state", intended_at=NOW, outcome="unknown")
    with pytest.raises(Refusal, match="may have been sent"):
        place(person, account)


def test_an_unsuspend_is_not_in_the_way(person: User) -> None:
    account = AccountFactory(state="stopped_by_us", desired_state="stopped_by_us")
    request_unsuspend(Command(person, NOW, reason="Paid", token=uuid4().hex), account=account)
    assert place(person, account).cancelled == []


def test_a_suspend_that_was_not_shown_the_hold_is_refused(person: User, account: Account) -> None:
    hold = place(person, account)
    with pytest.raises(
        Refusal, match=r"Marked “Do not suspend” by Success lead: They pay on Friday\. Nothing was sent"
    ):
        clicked(person, account)
    with pytest.raises(Refusal, match="Marked “Do not suspend” by"):
        clicked(person, account, payload={"despite_hold": str(uuid4())})
    assert clicked(person, account, payload={"despite_hold": str(hold.public_id)}).state == "queued"


def test_a_retry_does_not_go_past_a_hold(person: User, account: Account) -> None:
    failed = OperationFactory(account=account, state="failed", requested_by=person)
    place(person, account)
    with pytest.raises(Refusal, match="Marked “Do not suspend” by"):
        retry_operation(Command(person, NOW, token=uuid4().hex), operation=failed)


def test_a_suspend_past_one_hold_does_not_pass_another(person: User, account: Account) -> None:
    asked = OperationFactory(account=account, payload={"despite_hold": str(uuid4())})
    held = transitions.claim(asked.pk, now=asked.not_before)
    assert held is not None
    hold = Hold.objects.create(account=account, owner=person, reason="They pay on Friday", placed_at=NOW)
    with pytest.raises(transitions.SuspendOnHold, match="They pay on Friday"):
        transitions.intend(held, call="set state", request="{}", now=timezone.now())
    held.payload["despite_hold"] = str(hold.public_id)
    assert transitions.intend(held, call="set state", request="{}", now=timezone.now()).n == 1


class TestAWorkerHasItAlready:
    @pytest.fixture
    def held_before_the_intent(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        def held(desk: Desk, account: Account) -> None:
            def at(name: str) -> None:
                if name == "before_intent":
                    hold = holds.place_hold(
                        Command(desk.person, timezone.now(), reason="They pay on Friday"), account=account, until=None
                    )
                    assert hold.cancelled == []

            for part in failpoints.parts(at):
                monkeypatch.setattr(*part)

        return held

    def test_it_is_not_sent(self, desk: Desk, held_before_the_intent: Any) -> None:
        account = desk.created()
        operation = in_bulk(desk.person, account)
        held_before_the_intent(desk, account)
        operation = desk.perform(operation)
        assert (operation.state, operation.error_kind) == ("failed", "do_not_suspend")
        assert operation.summary == (
            "Marked “Do not suspend” by Customer success: They pay on Friday. The suspension was not sent."
        )
        assert not operation.attempts.exists()
        assert desk.account(operation).desired_state == "active"

    def test_one_that_may_have_been_sent_before_needs_review(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        account = desk.created()
        operation = in_bulk(desk.person, account)
        Attempt.objects.create(operation=operation, n=1, fence=1, call="set state", intended_at=NOW, outcome="unknown")
        Operation.objects.filter(pk=operation.pk).update(attempt_count=1)
        Hold.objects.create(account=account, owner=desk.person, reason="Pays", placed_at=NOW)
        operation = desk.perform(operation)
        assert (operation.state, operation.error_kind) == ("needs_attention", "do_not_suspend")

    def test_one_that_was_confirmed_is_sent(self, desk: Desk) -> None:
        account = desk.created()
        hold = place(desk.person, account)
        operation = clicked(desk.person, account, payload={"despite_hold": str(hold.public_id)})
        assert desk.perform(operation).state == "succeeded"


def test_the_intent_is_refused_and_nothing_is_written(person: User, account: Account) -> None:
    operation = transitions.claim(in_bulk(person, account).pk, now=NOW)
    assert operation
    place(person, account)
    with pytest.raises(transitions.SuspendOnHold):
        transitions.intend(operation, call="set state", request="", now=NOW)
    operation.refresh_from_db()
    assert (operation.state, operation.attempt_count) == ("claimed", 0)
