"""Rotating and deleting the keys of many accounts, over real HTTP: no key is lost, and none is left unknown."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from customers.bulk import approval
from customers.bulk import commands as bulk_commands
from customers.bulk import run as bulk_run
from customers.bulk.key_results import key_results, key_summary, with_kind
from customers.models import Account, AccountKey, ChangeSet, Connection, KeySecret, Operation
from customers.models.keys import WAITS_IN_BULK
from customers.operations import key_secrets
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal
from tests.customers.bulk.key_drills import (
    account_of,
    drilled,
    key_at_provider,
    listed,
    living,
    plan,
    stored,
    submit,
    work,
)
from tests.customers.sub_accounts import SubDesk, sub_desk
from tests.support.factories import CustomRoleFactory, UserFactory
from tests.support.sandbox import SandboxProcess


@pytest.fixture
def desk(db: None, sandbox: SandboxProcess) -> SubDesk:
    return sub_desk(sandbox)


@pytest.fixture
def account(desk: SubDesk) -> Account:
    return account_of(desk)


def rows(made: ChangeSet) -> list[tuple[str, str]]:
    return list(made.items.order_by("pk").values_list("key_id", "state"))


def results(desk: SubDesk, made: ChangeSet) -> dict[str, str]:
    items = list(with_kind(made.items.select_related("account__customer", "operation")))
    return {each.item.key_id: each.code for each in key_results(items, desk.person, now=desk.now)}


def summary(desk: SubDesk, made: ChangeSet) -> Any:
    return key_summary(made, desk.person, now=desk.now)


class TestListing:
    def test_a_draft_lists_keys_that_nobody_knew(self, desk: SubDesk, account: Account) -> None:
        key = key_at_provider(desk, account)
        made = plan(desk, account)
        assert made.state == "listing"
        assert Operation.objects.filter(kind="key_create").count() == 0
        made = work(desk, made)
        assert (made.state, rows(made)) == ("planned", [(key, "ready")])
        item = made.items.get()
        assert (item.was, item.becomes) == ("Web shop", "New key, then the old one is deleted")
        assert made.plan_hash

    def test_named_keys_are_the_only_ones(self, desk: SubDesk, account: Account) -> None:
        one, _two = key_at_provider(desk, account, "One"), key_at_provider(desk, account, "Two")
        made = listed(desk, named=[(account.pk, one), (account.pk, "no-such-key")])
        assert sorted(rows(made)) == sorted([(one, "ready"), ("no-such-key", "aside")])
        assert made.items.get(state="aside").note == "The key no longer exists."

    def test_an_account_without_keys_stays_in_sight(self, desk: SubDesk, account: Account) -> None:
        made = listed(desk, account)
        assert rows(made) == [("", "aside")]
        assert made.items.get().note == "The account has no API keys."

    def test_a_list_that_fails_is_tried_twice_then_shown(self, desk: SubDesk, account: Account) -> None:
        other = account_of(desk, 2)
        key = key_at_provider(desk, other)
        desk.sandbox.admin.arm("status-404", "aha-keys")
        desk.sandbox.admin.arm("status-404", "aha-keys", after=1)
        made = listed(desk, account, other)
        assert rows(made) == [("", "failed"), (key, "ready")]
        assert made.items.get(state="failed").note
        assert len(desk.sent("aha-keys")) == 3
        again = bulk_commands.plan_again(Command(desk.person, desk.now, token="again-12345678"), change_set=made)
        assert rows(again) == [("", "listing")]

    def test_a_paused_connection_is_not_asked(self, desk: SubDesk, account: Account) -> None:
        Connection.objects.update(paused="person")
        made = listed(desk, account)
        assert "paused" in made.items.get().note
        assert desk.sent("aha-keys") == []

    def test_a_requester_without_the_permission_lists_nothing(self, desk: SubDesk, account: Account) -> None:
        made = plan(desk, account)
        type(desk.person).objects.filter(pk=desk.person.pk).update(role="auditor")
        made = work(desk, made)
        assert (made.state, rows(made)) == ("cancelled", [("", "listing")])

    def test_losing_one_of_both_permissions_pauses_it(self, desk: SubDesk, account: Account) -> None:
        key = key_at_provider(desk, account)
        made = submit(desk, listed(desk, account))
        role = CustomRoleFactory(permissions=["create_key"])
        type(desk.person).objects.filter(pk=desk.person.pk).update(role="custom", custom_role=role)
        made = work(desk, made)
        assert (made.state, living(desk, account)) == ("paused", {key})

    def test_an_approver_needs_both_permissions(self, desk: SubDesk, account: Account) -> None:
        key_at_provider(desk, account)
        made = listed(desk, account)
        ChangeSet.objects.filter(pk=made.pk).update(state="waiting", second_person=True)
        made.refresh_from_db()
        one = UserFactory(role="custom", custom_role=CustomRoleFactory(permissions=["create_key", "change_in_bulk"]))
        assert one not in approval.other_approvers(desk.person, made.kind, now=desk.now)
        with pytest.raises(Refusal):
            bulk_commands.approve_bulk_change(Command(one, desk.now), change_set=made, plan_hash=made.plan_hash)

    @pytest.mark.parametrize("kind", ["key_rotate", "key_delete"])
    def test_rotating_and_deleting_need_their_permissions(self, desk: SubDesk, account: Account, kind: str) -> None:
        desk.person.role = "finance"
        with pytest.raises(Refusal):
            plan(desk, account, kind=kind)

    def test_a_key_that_another_drill_has_is_left_out(self, desk: SubDesk, account: Account) -> None:
        key = key_at_provider(desk, account)
        first = submit(desk, listed(desk, account))
        second = listed(desk, account, kind="key_delete")
        assert rows(second) == [(key, "aside")]
        assert first.code in second.items.get().note


class TestRotation:
    def test_every_key_is_replaced_by_one_we_know(self, desk: SubDesk, account: Account) -> None:
        old = {key_at_provider(desk, account, "One", "203.0.113.0/24"), key_at_provider(desk, account, "Two")}
        made = drilled(desk, account)
        assert made.state == "ended"
        now_there = living(desk, account)
        assert not old & now_there
        assert len(now_there) == 2
        assert stored(account) == now_there
        assert set(KeySecret.objects.exclude(sealed="").values_list("key_id", flat=True)) == now_there
        one = AccountKey.objects.get(label__startswith="One", gone_at=None)
        assert (sorted(one.scopes), one.ip_allow_list) == (["domains:read", "messages:send:all"], ["203.0.113.0/24"])
        assert set(results(desk, made).values()) == {"rotated"}
        found = summary(desk, made)
        assert (found.total, found.living, found.unchecked, found.secrets) == (2, 0, 0, 2)
        assert found.as_of >= made.checked_from

    @pytest.mark.parametrize("old", ["then", "later"])
    def test_two_keys_that_are_alike_are_both_rotated(self, desk: SubDesk, account: Account, old: str) -> None:
        keys = {key_at_provider(desk, account), key_at_provider(desk, account)}
        made = drilled(desk, account, old=old)
        assert set(results(desk, made).items()) == {(key, "rotated" if old == "then" else "kept") for key in keys}
        assert len(living(desk, account) - keys) == 2

    def test_its_secrets_wait_for_a_day(self, desk: SubDesk, account: Account) -> None:
        key_at_provider(desk, account)
        drilled(desk, account)
        secret = KeySecret.objects.get()
        assert secret.expires_at - secret.made_at == WAITS_IN_BULK
        assert secret.holder == desk.person
        revealed = key_secrets.reveal_once(Command(desk.person, desk.now), account=account, key_id=secret.key_id)
        assert revealed.startswith("aha-sk-")

    def test_a_secret_that_expired_is_not_lost_without_a_word(self, desk: SubDesk, account: Account) -> None:
        key_at_provider(desk, account)
        made = drilled(desk, account)
        desk.pass_time(25 * 3600)
        key_secrets.forget_due(now=desk.now)
        (told,) = key_results(list(with_kind(made.items.select_related("operation"))), desk.person, now=desk.now)
        assert (told.code, told.waits) == ("rotated", False)
        assert told.text == "Nobody revealed its new secret in time. Rotate the new key."

    def test_old_keys_are_kept_until_they_are_deleted(self, desk: SubDesk, account: Account) -> None:
        old = key_at_provider(desk, account)
        made = drilled(desk, account, old="later")
        assert len(living(desk, account)) == 2
        assert results(desk, made) == {old: "kept"}
        found = summary(desk, made)
        assert (found.living, found.old_keys) == (1, 1)
        delete = bulk_commands.plan_old_keys(Command(desk.person, desk.now, token="old-12345678"), change_set=made)
        delete = work(desk, submit(desk, work(desk, delete)))
        assert results(desk, delete) == {old: "deleted"}
        assert results(desk, made) == {old: "rotated"}
        assert old not in living(desk, account)

    def test_a_key_is_never_rotated_twice(self, desk: SubDesk, account: Account) -> None:
        key_at_provider(desk, account)
        one, two = listed(desk, account, old="later"), listed(desk, account, old="later")
        work(desk, submit(desk, one))
        two = work(desk, submit(desk, two))
        assert [state for _key, state in rows(two)] == ["failed"]
        assert one.code in two.items.get().note
        assert len(living(desk, account)) == 2

    def test_a_key_that_changed_since_is_left(self, desk: SubDesk, account: Account) -> None:
        key = key_at_provider(desk, account)
        made = listed(desk, account)
        desk.connect(desk.connection).update_key(account.ref, key, {"label": "Other shop"})
        desk.perform(desk.ask("key_update", account, key_id=key, changes={"label": "Third shop"}))
        made = work(desk, submit(desk, made))
        assert rows(made) == [(key, "moved")]
        assert living(desk, account) == {key}

    def test_a_stored_secret_is_replaced_by_a_stored_one(self, desk: SubDesk, account: Account) -> None:
        desk.perform(desk.ask_key(account, keep=True))
        made = drilled(desk, account)
        new = KeySecret.objects.exclude(sealed="").get()
        assert (new.kept, new.operation) == (True, made.items.get().operation)

    def test_an_account_that_changed_otherwise_goes_on(self, desk: SubDesk, account: Account) -> None:
        key = key_at_provider(desk, account)
        made = listed(desk, account)
        Account.objects.filter(pk=account.pk).update(version=99)
        work(desk, submit(desk, made))
        assert key not in living(desk, account)


class TestDeletion:
    def test_every_key_is_deleted(self, desk: SubDesk, account: Account) -> None:
        keys = {key_at_provider(desk, account, "One"), key_at_provider(desk, account, "Two")}
        made = drilled(desk, account, kind="key_delete")
        assert living(desk, account) == set()
        assert results(desk, made) == dict.fromkeys(keys, "deleted")
        assert summary(desk, made).living == 0


class TestTheEnd:
    def test_a_key_that_appeared_meanwhile_is_shown(self, desk: SubDesk, account: Account) -> None:
        key_at_provider(desk, account)
        made = submit(desk, listed(desk, account))
        desk.pass_time(60)
        stranger = key_at_provider(desk, account, "Not ours")
        made = work(desk, made)
        assert [each.key_id for each in summary(desk, made).strangers] == [stranger]

    def test_what_is_alive_is_what_the_last_list_shows(self, desk: SubDesk, account: Account) -> None:
        key = key_at_provider(desk, account)
        made = drilled(desk, account, kind="key_delete")
        AccountKey.objects.filter(key_id=key).update(gone_at=None)  # as a list would that shows it
        assert summary(desk, made).living == 1
        assert results(desk, made) == {key: "failed"}
        desk.pass_time(60)
        command = Command(desk.person, desk.now)
        bulk_commands.check_keys_again(command, change_set=made)
        made = work(desk, made)
        assert (made.state, summary(desk, made).living) == ("ended", 0)
        assert AuditEvent.objects.filter(verb="bulk.checked").count() == 1

    def test_a_list_that_fails_at_the_end_is_not_a_check(self, desk: SubDesk, account: Account) -> None:
        key_at_provider(desk, account)
        made = submit(desk, listed(desk, account, kind="key_delete"))
        while not made.checked_from:
            bulk_run.run_bulk_change(made.pk, clock=lambda: desk.now, seconds=0, connect=desk.connect)
            desk.round()
            desk.pass_time(3)
            made.refresh_from_db()
        desk.sandbox.admin.arm("status-404", "aha-keys", count=None)
        made = work(desk, made)
        assert (made.state, summary(desk, made).unchecked) == ("ended", 1)
        assert desk.now - made.checked_from >= timedelta(minutes=10)

    def test_it_counts_keys_that_nothing_was_done_about(self, desk: SubDesk, account: Account) -> None:
        key = key_at_provider(desk, account)
        made = listed(desk, account, kind="key_delete")
        AccountKey.objects.filter(key_id=key).update(label="Other shop")
        made = work(desk, submit(desk, made))
        found = summary(desk, made)
        assert rows(made) == [(key, "moved")]
        assert (made.state, found.living, found.unchecked) == ("ended", 1, 0)
        assert found.as_of >= made.checked_from

    def test_an_account_deleted_meanwhile_has_no_keys(self, desk: SubDesk, account: Account) -> None:
        key_at_provider(desk, account)
        made = submit(desk, listed(desk, account))
        desk.perform(desk.ask("delete", account))
        account.refresh_from_db()
        assert account.state == "deleted"
        made = work(desk, made)
        found = summary(desk, made)
        assert (made.state, found.living, found.unchecked) == ("ended", 0, 0)
        assert desk.now - made.checked_from < timedelta(minutes=1)

    def test_it_waits_for_no_review(self, desk: SubDesk, account: Account) -> None:
        key_at_provider(desk, account)
        made = submit(desk, listed(desk, account))
        bulk_run.run_bulk_change(made.pk, clock=lambda: desk.now, seconds=0, connect=desk.connect)
        Operation.objects.filter(kind="key_create").update(state="needs_attention", concurrency_key="held")
        made = work(desk, made)
        assert made.state == "ended"
        assert set(results(desk, made).values()) == {"review"}

    def test_it_waits_for_nothing_behind_a_review(self, desk: SubDesk, account: Account) -> None:
        one, two = key_at_provider(desk, account, "One"), key_at_provider(desk, account, "Two")
        made = submit(desk, listed(desk, account))
        bulk_run.run_bulk_change(made.pk, clock=lambda: desk.now, seconds=60, connect=desk.connect)
        first = Operation.objects.filter(kind="key_create").earliest("number")
        Operation.objects.filter(pk=first.pk).update(state="needs_attention", concurrency_key="held")
        made = work(desk, made)
        assert made.state == "ended"
        assert set(results(desk, made).values()) == {"review"}
        assert living(desk, account) == {one, two}
        items = list(with_kind(made.items.exclude(operation=first).select_related("operation")))
        (told,) = key_results(items, desk.person, now=desk.now)
        assert told.text == f"Starts after {first.code} of the same account, which needs a review."

    @pytest.mark.parametrize("state", ["needs_attention", "failed"])
    def test_a_new_key_without_a_secret_is_named(self, desk: SubDesk, account: Account, state: str) -> None:
        old = key_at_provider(desk, account)
        made = submit(desk, listed(desk, account))
        bulk_run.run_bulk_change(made.pk, clock=lambda: desk.now, seconds=0, connect=desk.connect)
        desk.sandbox.admin.arm("after-status-500", "aha-key-create")
        operation = desk.perform(Operation.objects.get(kind="key_create"))
        assert operation.state == "unknown"
        assert summary(desk, made).without_secret == []
        end = {"finished_at": desk.now} if state == "failed" else {}
        Operation.objects.filter(pk=operation.pk).update(state=state, concurrency_key="held", **end)
        made = work(desk, made)
        found = summary(desk, made)
        assert [each.label for each in found.without_secret] == [f"Web shop · {operation.code}"]
        assert (found.strangers, found.strangers_total, found.living) == ([], 0, 1)
        told = key_results(list(with_kind(made.items.select_related("operation"))), desk.person, now=desk.now)
        assert [(each.item.key_id, each.code) for each in told] == [(old, "review" if end == {} else "failed")]
        assert "has no secret" in told[0].text
