"""Creates under a key where people come in: whose is it, who may still, how many at most."""

from __future__ import annotations

from uuid import uuid4

import pytest

from customers.models import Account, Operation
from customers.models.operation_states import OperationState
from customers.operations import resolve, transitions
from customers.operations.queries import NEEDS_A_PERSON
from portal.commands import Command
from portal.providers import AccountSettings, IdempotentBody, NewAccount, Profile
from portal.refusals import Refusal
from tests.customers.sub_accounts import HOUR, NORTHWIND, SubDesk, sub_desk
from tests.support import failpoints
from tests.support.sandbox import SandboxProcess

LAG = "aha_list_lag_seconds"


@pytest.fixture
def desk(db: None, sandbox: SandboxProcess) -> SubDesk:
    return sub_desk(sandbox)


def _outcomes(operation: Operation) -> list[str]:
    return list(operation.attempts.order_by("n").values_list("outcome", flat=True))


# -- whose is it -----------------------------------------------------------------------------------------------


def test_two_that_it_may_have_made_are_put_before_a_person(desk: SubDesk) -> None:
    desk.sandbox.admin.arm("after-status-500", "aha-create")
    operation = desk.perform(desk.ask_create())
    provider = desk.connect(desk.connection)
    new = NewAccount(Profile(""), settings=NORTHWIND)
    provider.create_account(new, IdempotentBody(uuid4().hex, provider.create_body(new)))  # somebody, in the console
    desk.drain(operation)
    assert (operation.state, operation.error_kind) == ("needs_attention", "several")
    candidates = {each["provider_id"] for each in operation.result["candidates"]}
    assert candidates == {each.id for each in desk.children()}
    mine = min(candidates)
    resolve.resolve_link(
        Command(desk.person, desk.now, reason="Asked the customer."), operation=operation, provider_id=mine
    )
    operation.refresh_from_db()
    assert (operation.state, desk.account(operation).provider_id) == ("succeeded", mine)
    assert operation.result["linked"] == {
        "state": "active", "name": "same", "website": "same", "monthly_cap": "same",
    }  # fmt: skip


def test_a_link_to_an_account_of_another_name_is_refused(desk: SubDesk) -> None:
    other = desk.created(AccountSettings("Globex", "globex.example", 0))
    Account.objects.filter(pk=other.pk).update(provider_id=None)
    operation = desk.ask_create()
    engine_claimed = transitions.claim(operation.pk, now=desk.now)
    assert engine_claimed
    transitions.move(engine_claimed, OperationState.NEEDS_ATTENTION, now=desk.now, error_kind="several")
    operation.refresh_from_db()
    with pytest.raises(Refusal, match="Globex"):
        resolve.resolve_link(
            Command(desk.person, desk.now, reason="A guess."), operation=operation, provider_id=other.provider_id or ""
        )


def test_an_older_account_of_the_same_name_is_not_taken_for_it(desk: SubDesk) -> None:
    provider = desk.connect(desk.connection)
    new = NewAccount(Profile(""), settings=NORTHWIND)
    old = provider.create_account(new, IdempotentBody(uuid4().hex, provider.create_body(new))).id
    desk.pass_time(HOUR)
    desk.sandbox.admin.arm("status-500", "aha-create")
    operation = desk.perform(desk.ask_create())
    desk.drain(operation)
    assert operation.state == "succeeded"
    assert desk.account(operation).provider_id != old


# -- rights and brakes while something is uncertain ------------------------------------------------------------


def test_an_unknown_create_of_a_removed_user_needs_review(desk: SubDesk) -> None:
    desk.sandbox.admin.arm("after-status-500", "aha-create")
    desk.sandbox.admin.switch(LAG, 1800)
    operation = desk.perform(desk.ask_create())
    desk.round()
    type(desk.person).objects.update(is_active=False)
    desk.drain(operation)
    assert (operation.state, operation.error_kind) == ("needs_attention", "permission")


def test_a_worker_that_slept_through_its_lease_sends_nothing(desk: SubDesk) -> None:
    def slept(name: str) -> None:
        if name == "after_intent":
            desk.pass_time(Operation.LEASE.total_seconds() + 1)

    operation = desk.ask_create()
    with failpoints.installed(slept):
        operation = desk.perform(operation)
    assert _outcomes(operation) == ["not_sent"]
    assert desk.children() == []
    assert desk.drain(operation).state == "succeeded"


@pytest.mark.long
def test_sends_under_one_key_count_once_in_the_budget(desk: SubDesk) -> None:
    type(desk.connection).objects.update(creates_per_hour=2)
    desk.connection.refresh_from_db()
    desk.sandbox.admin.arm("status-500", "aha-create", count=3)
    first = desk.drain(desk.ask_create())
    assert (first.state, first.attempt_count) == ("succeeded", 4)
    second = desk.perform(desk.ask_create(AccountSettings("Globex", "globex.example", 0)))
    assert second.state == "succeeded"
    third = desk.perform(desk.ask_create(AccountSettings("Initech", "initech.example", 0)))
    assert (third.state, third.error_kind) == ("needs_attention", "budget")


def test_an_unknown_create_retried_automatically_needs_no_review(desk: SubDesk) -> None:
    desk.sandbox.admin.arm("status-500", "aha-create")
    operation = desk.perform(desk.ask_create())
    assert operation.state == "unknown"
    assert not operation.needs_a_person
    assert not Operation.objects.filter(NEEDS_A_PERSON).exists()
    assert Operation.objects.exclude(NEEDS_A_PERSON).count() == 1
