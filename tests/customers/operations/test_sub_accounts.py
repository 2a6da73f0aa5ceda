"""The life of an account with settings, over HTTP: made, changed, suspended, deleted; and what is refused early."""

from __future__ import annotations

from uuid import uuid4

import pytest

from customers.models import Account, Connection, Operation
from customers.operations import commands as operation_commands
from customers.operations import transitions
from customers.operations.commands import FirstKey
from portal.commands import Command
from portal.providers import AccountSettings
from portal.refusals import Refusal
from tests.customers.sub_accounts import KEY, NORTHWIND, SubDesk, sub_desk
from tests.support.sandbox import SandboxProcess

OTHER = AccountSettings("Globex", "globex.example", 0)


@pytest.fixture
def desk(db: None, sandbox: SandboxProcess) -> SubDesk:
    return sub_desk(sandbox)


def _wanted(settings: AccountSettings, **changed: object) -> dict[str, object]:
    return vars(settings) | changed


def test_a_create_keeps_the_id_and_reads_the_account_in_one_look(desk: SubDesk) -> None:
    operation = desk.perform(desk.ask_create())
    account = desk.account(operation)
    assert operation.state == "succeeded", operation.summary
    assert [each.id for each in desk.children()] == [account.provider_id]
    assert (account.state, account.state_raw) == ("active", "active")
    assert account.settings == account.desired_settings == vars(NORTHWIND)
    assert (account.domain_count, account.offerings) == (0, None)
    attempt = operation.attempts.get()
    assert (attempt.outcome, attempt.status, attempt.call) == ("applied", 201, "create account")
    assert operation.body == attempt.request


def test_the_first_key_follows_its_create(desk: SubDesk) -> None:
    create = desk.ask_create(first_key=FirstKey(KEY))
    follower = create.followers.get()
    assert follower.kind == "key_create"
    assert desk.perform(follower).state == "queued", "not before its leader"
    assert desk.perform(create).state == "succeeded"
    assert desk.perform(follower).state == "succeeded"
    (key,) = desk.keys(desk.account(create))
    assert key.label == f"web shop · {follower.code}"


@pytest.mark.parametrize("how", ["refused", "cancelled"])
def test_a_follower_ends_unsent_if_its_leader_fails(desk: SubDesk, how: str) -> None:
    create = desk.ask_create(first_key=FirstKey(KEY))
    follower = create.followers.get()
    if how == "cancelled":
        operation_commands.cancel_operation(Command(desk.person, desk.now), operation=create)
    else:
        desk.sandbox.admin.arm("status-400", "aha-create")
        assert desk.perform(create).state == "failed"
    follower = desk.perform(follower)
    assert (follower.state, follower.error_kind, follower.attempt_count) == ("failed", "leader_failed", 0)


def test_retrying_a_create_with_a_key_uses_new_idempotency_keys(desk: SubDesk) -> None:
    desk.sandbox.admin.arm("status-400", "aha-create")
    first = desk.perform(desk.ask_create(first_key=FirstKey(KEY, keep=True)))
    desk.drain(first.followers.get())
    again = operation_commands.retry_operation(Command(desk.person, desk.now, token=uuid4().hex), operation=first)
    key = again.followers.get()
    assert (again.account_id, again.retry_of_id) == (first.account_id, first.pk)
    assert key.payload == first.followers.get().payload
    desk.drain(again, key)
    assert (again.state, key.state) == ("succeeded", "succeeded")
    assert again.attempts.get().request == first.attempts.get().request
    assert again.public_id != first.public_id
    assert len(desk.children()) == 1


def test_a_failed_key_is_finished_alone(desk: SubDesk) -> None:
    create = desk.ask_create(first_key=FirstKey(KEY))
    key = create.followers.get()
    desk.sandbox.admin.arm("status-400", "aha-key-create")
    desk.drain(create, key)
    assert (create.state, key.state) == ("succeeded", "failed")
    again = operation_commands.retry_operation(Command(desk.person, desk.now, token=uuid4().hex), operation=key)
    assert desk.drain(again).state == "succeeded"
    assert len(desk.keys(desk.account(create))) == 1


class TestOurOwnUniqueness:
    def test_one_open_create_for_a_name_and_website(self, desk: SubDesk) -> None:
        first = desk.ask_create()
        with pytest.raises(Refusal, match=first.code) as refusal:
            desk.ask_create(AccountSettings("NORTHWIND OY ", "Northwind.example", 0))
        assert refusal.value.field == "name"

    def test_a_living_account_keeps_its_name_and_website(self, desk: SubDesk) -> None:
        account = desk.created()
        with pytest.raises(Refusal, match="Northwind"):
            desk.ask_create(AccountSettings("northwind oy", "northwind.example", 5))
        assert desk.drain(desk.ask("delete", account)).state == "succeeded"
        assert desk.drain(desk.ask_create()).state == "succeeded"

    def test_what_was_never_made_stands_in_nobodys_way(self, desk: SubDesk) -> None:
        desk.sandbox.admin.arm("status-400", "aha-create")
        assert desk.perform(desk.ask_create()).state == "failed"
        assert desk.perform(desk.ask_create()).state == "succeeded"

    def test_nor_can_a_change_of_settings_make_two_alike(self, desk: SubDesk) -> None:
        desk.created()
        other = desk.created(OTHER)
        with pytest.raises(Refusal):
            _ask_settings(desk, other, name="Northwind Oy", website="northwind.example")

    def test_creates_go_side_by_side(self, desk: SubDesk) -> None:
        first, second = desk.ask_create(), desk.ask_create(OTHER)
        assert transitions.claim(first.pk, now=desk.now) is not None
        assert transitions.claim(second.pk, now=desk.now) is not None


def _ask_settings(desk: SubDesk, account: Account, **changes: object) -> Operation:
    account.refresh_from_db()
    return desk.ask("settings", account, base=account.settings, version=account.version, changes=changes)


class TestSettings:
    def test_only_what_differs_is_sent(self, desk: SubDesk) -> None:
        account = desk.created()
        operation = desk.perform(_ask_settings(desk, account, monthly_cap=0, name="Northwind Oy"))
        account.refresh_from_db()
        assert operation.state == "succeeded", operation.summary
        assert '"monthly_credit":0' in operation.attempts.get().request.replace(" ", "")
        assert "name" not in operation.attempts.get().request
        assert account.settings == account.desired_settings == _wanted(NORTHWIND, monthly_cap=0)

    def test_no_cap_is_sent_only_when_it_was_asked_for(self, desk: SubDesk) -> None:
        account = desk.created()
        operation = desk.perform(_ask_settings(desk, account, name="Northwind Ab"))
        assert "monthly_credit" not in operation.attempts.get().request
        account.refresh_from_db()
        assert account.settings == _wanted(NORTHWIND, name="Northwind Ab")

    def test_settings_changed_elsewhere_are_a_three_way_conflict(self, desk: SubDesk) -> None:
        account = desk.created()
        asked = _ask_settings(desk, account, monthly_cap=5)
        desk.connect(desk.connection).update_settings(account.ref, {"monthly_cap": 77})
        desk.sandbox.admin.clear_requests()
        operation = desk.perform(asked)
        assert (operation.state, operation.error_kind) == ("failed", "conflict")
        assert [operation.result[name]["monthly_cap"] for name in ("base", "found", "wanted")] == [250_000, 77, 5]
        assert desk.sent("aha-update") == []
        account.refresh_from_db()
        assert account.desired_settings == vars(NORTHWIND)
        assert account.settings == _wanted(NORTHWIND, monthly_cap=77)

    def test_a_refused_change_gives_the_desire_back(self, desk: SubDesk) -> None:
        account = desk.created()
        desk.sandbox.admin.arm("status-400", "aha-update")
        assert desk.perform(_ask_settings(desk, account, name="Other")).state == "failed"
        account.refresh_from_db()
        assert account.desired_settings == vars(NORTHWIND)


class TestStates:
    def test_suspended_with_the_reason_and_back(self, desk: SubDesk) -> None:
        account = desk.created()
        operation = desk.perform(desk.ask("suspend", account, reason="Unpaid since May."))
        account.refresh_from_db()
        assert (operation.state, account.state, account.state_raw) == ("succeeded", "stopped_by_us", "suspended")
        assert "Unpaid since May." in operation.attempts.get().request
        assert desk.perform(desk.ask("unsuspend", account)).state == "succeeded"
        account.refresh_from_db()
        assert account.state == "active"

    def test_a_reason_the_customer_reads_has_its_length(self, desk: SubDesk) -> None:
        account = desk.created()
        with pytest.raises(Refusal) as refusal:
            desk.ask("suspend", account, reason="x" * 501)
        assert refusal.value.field == "reason"

    def test_a_delete_keeps_count_and_share_first(self, desk: SubDesk) -> None:
        account = desk.created()
        operation = desk.drain(desk.ask("delete", account))
        account.refresh_from_db()
        assert (operation.state, account.state) == ("succeeded", "deleted"), operation.summary
        reading = operation.usage_readings.get()
        assert (reading.source, reading.usage["used"], reading.usage["currency"]) == ("pooled", 0, "USD")
        assert desk.children() == []


class TestRights:
    def test_a_missing_scope_refuses_with_its_name(self, desk: SubDesk) -> None:
        account = desk.created()
        Connection.objects.update(checks=[{"name": "sub-accounts:suspend", "ok": False, "detail": ""}])
        account.connection.refresh_from_db()
        with pytest.raises(Refusal, match="sub-accounts:suspend"):
            desk.ask("suspend", account)
        assert desk.perform(_ask_settings(desk, account, name="Other")).state == "succeeded"

    def test_what_was_not_tried_is_allowed(self, desk: SubDesk) -> None:
        account = desk.created()
        Connection.objects.update(checks=[{"name": "sub-accounts:suspend", "ok": None, "detail": ""}])
        account.connection.refresh_from_db()
        assert desk.perform(desk.ask("suspend", account)).state == "succeeded"
