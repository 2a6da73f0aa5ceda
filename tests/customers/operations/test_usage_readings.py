"""Usage around changes: read by the operation itself, in one try, and never in its way."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.models import UsageSnapshot
from billing.usage.snapshots import store_final_readings
from customers import dispatcher, tasks
from customers.connections import client as connection_client
from customers.models import Account, Connection, Operation, UsageReading
from customers.observed import accounts as observed_accounts
from customers.observed import usage_readings
from customers.operations import resolve
from portal.commands import Command
from tests.customers.conftest import ADDON, BIGGER, Desk
from tests.support import failpoints, messages


def readings(operation: Operation) -> list[tuple[str, Any, Any]]:
    return [
        (each.moment, each.usage.get("used"), each.usage.get("allowed"))
        for each in operation.usage_readings.order_by("pk")
    ]


def read_due(desk: Desk, now: datetime | None = None) -> None:
    """What the task does that an operation enqueues, or the dispatcher."""
    now = now or timezone.now()
    for account in usage_readings.accounts_with_usage_due(now=now).select_related("connection"):
        usage_readings.read_due_usage(account, desk.connect(account.connection), now=now)


def perform(desk: Desk, operation: Operation) -> Operation:
    ended = desk.perform(operation)
    read_due(desk)
    return ended


def drain(desk: Desk, operation: Operation) -> Operation:
    ended = desk.drain(operation)
    read_due(desk, ended.finished_at)
    return ended


def created(desk: Desk, *email: str) -> Account:
    account = desk.created(*email)
    read_due(desk)
    account.refresh_from_db()
    return account


def requests_of(desk: Desk) -> list[str]:
    return [each["operation"] for each in desk.sandbox.admin.requests()]


class TestChanges:
    def test_a_new_account_has_a_reading(self, desk: Desk) -> None:
        operation = desk.account(perform(desk, desk.ask_create())).operations.get()
        assert readings(operation) == [("after", 0, 100_000)]

    def test_an_upgrade_is_read_before_and_after(self, desk: Desk) -> None:
        account = created(desk)
        desk.sandbox.admin.add_usage(account.provider_id, 1234)
        operation = perform(desk, desk.ask_offerings(account, [BIGGER]))
        assert readings(operation) == [("before", 1234, 100_000), ("after", 1234, 300_000)]
        before, after = operation.usage_readings.order_by("pk")
        sent = operation.attempts.get()
        assert before.taken_at < sent.intended_at < sent.answered_at < after.taken_at
        assert (before.source, before.account) == ("credits", account)

    def test_a_suspend_and_an_unsuspend_too(self, desk: Desk) -> None:
        account = created(desk)
        for kind in ("suspend", "unsuspend"):
            operation = perform(desk, desk.ask(kind, account))
            assert operation.state == "succeeded"
            assert [moment for moment, *_ in readings(operation)] == ["before", "after"]

    def test_a_delete_has_the_final_one_alone(self, desk: Desk) -> None:
        operation = perform(desk, desk.ask("delete", created(desk)))
        assert readings(operation) == [("final", 0, 100_000)]

    def test_one_that_sends_nothing_is_not_read_before(self, desk: Desk) -> None:
        account = created(desk)
        desk.sandbox.admin.set_state(account.provider_id, "deactivated")
        operation = perform(desk, desk.ask("suspend", account))
        assert (operation.state, operation.attempt_count) == ("succeeded", 0)
        assert readings(operation) == []
        assert account.usage_readings.filter(moment="noticed").exists()

    def test_one_with_an_unknown_outcome_is_read_at_its_end(self, desk: Desk) -> None:
        account = created(desk)
        desk.sandbox.admin.arm("after-status-500", "put-offerings")
        operation = drain(desk, desk.ask_offerings(account, [BIGGER]))
        assert operation.state == "succeeded"
        assert readings(operation) == [("before", 0, 100_000), ("after", 0, 300_000)]

    def test_a_worker_that_dies_after_the_success_leaves_it_due(self, desk: Desk) -> None:
        def die(name: str) -> None:
            if name == "in_read_back":
                raise KeyboardInterrupt

        operation = desk.ask_create()
        with failpoints.installed(die), pytest.raises(KeyboardInterrupt):
            desk.perform(operation)
        assert dispatcher.next_usage_to_read(now=timezone.now()) == [operation.account_id]

    def test_its_reading_is_enqueued_with_the_success(self, desk: Desk) -> None:
        operation = desk.ask_create()
        with messages.sent() as sent:
            desk.perform(operation)
        assert (dispatcher.READ_USAGE, operation.account_id) in sent

    def test_it_costs_two_requests(self, desk: Desk) -> None:
        account = created(desk)
        desk.sandbox.admin.clear_requests()
        perform(desk, desk.ask_offerings(account, [BIGGER]))
        assert requests_of(desk).count("credits") == 2


class TestFailures:
    @pytest.mark.parametrize("fault", ["status-503", "reset", "html-502", "empty", "truncated", "429"])
    def test_a_reading_that_fails_is_noted_and_not_repeated(self, desk: Desk, fault: str) -> None:
        account = created(desk)
        desk.sandbox.admin.clear_requests()
        desk.sandbox.admin.arm(fault, "credits", count=None)
        operation = perform(desk, desk.ask_offerings(account, [BIGGER]))
        assert (operation.state, operation.attempt_count) == ("succeeded", 1)
        assert readings(operation) == [("before", None, None), ("after", None, None)]
        assert all(each.failure for each in operation.usage_readings.all())
        assert requests_of(desk).count("credits") <= 2

    def test_after_a_failure_that_may_pass_usage_is_due(self, desk: Desk) -> None:
        account = created(desk)
        desk.sandbox.admin.arm("status-503", "credits", count=None)
        perform(desk, desk.ask("suspend", account))
        account.refresh_from_db()
        assert account.usage_due_at is not None

    def test_a_denied_one_is_not_due(self, desk: Desk) -> None:
        account = created(desk)
        desk.sandbox.admin.switch("credits", "403")
        operation = perform(desk, desk.ask("suspend", account))
        assert operation.state == "succeeded"
        assert all("denied access (403)" in each.failure for each in operation.usage_readings.all())
        account.refresh_from_db()
        assert account.usage_due_at is None

    def test_what_the_last_check_was_denied_is_not_requested(self, desk: Desk) -> None:
        account = created(desk)
        Connection.objects.update(checks=[{"name": "credits", "ok": False, "detail": "Denied."}])
        desk.sandbox.admin.clear_requests()
        operation = perform(desk, desk.ask("suspend", account))
        assert operation.state == "succeeded"
        assert "credits" not in requests_of(desk)
        assert [moment for moment, *_ in readings(operation)] == ["before", "after"]

    def test_an_account_that_is_gone_ends_as_before(self, desk: Desk) -> None:
        account = created(desk)
        desk.sandbox.admin.delete_account(account.provider_id)
        operation = perform(desk, desk.ask("suspend", account))
        assert operation.state == "failed"
        assert not operation.usage_readings.exists()


class TestNoticedChanges:
    def noticed(self, desk: Desk) -> Account:
        account = created(desk)
        desk.sandbox.admin.add_usage(account.provider_id, 77)
        desk.sandbox.admin.change_account(account.provider_id, offerings=[{"name": BIGGER.name, "type": "package"}])
        provider = desk.connect(desk.connection)
        observed_accounts.read_account(account=account, now=timezone.now(), provider=provider)
        return Account.objects.select_related("connection").get(pk=account.pk)

    def test_the_dispatcher_reads_usage_soon(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        account = self.noticed(desk)
        other = desk.created("other@northwind.example")
        Account.objects.filter(pk=other.pk).update(usage_due_at=None)
        with messages.sent() as sent:
            dispatcher.dispatch(now=timezone.now())
        assert (dispatcher.READ_USAGE, account.pk) in sent
        assert (dispatcher.READ_USAGE, other.pk) not in sent
        monkeypatch.setattr(connection_client, "client_for", desk.connect)
        for _ in range(2):  # a second message finds nothing to do
            tasks.read_usage(account.pk)
        [reading] = UsageReading.objects.filter(account=account, moment="noticed")
        assert (reading.usage["used"], reading.usage["allowed"], reading.operation) == (77, 300_000, None)
        account.refresh_from_db()
        assert account.usage_due_at is None

    def test_two_workers_read_once(self, desk: Desk) -> None:
        account = self.noticed(desk)
        provider = desk.connect(desk.connection)
        usage_readings.read_due_usage(account, provider, now=timezone.now())
        usage_readings.read_due_usage(account, provider, now=timezone.now())
        assert UsageReading.objects.filter(account=account, moment="noticed").count() == 1

    def test_a_failure_that_may_pass_stays_due(self, desk: Desk) -> None:
        account, now = self.noticed(desk), timezone.now()
        desk.sandbox.admin.arm("status-503", "credits", count=None)
        usage_readings.read_due_usage(account, desk.connect(desk.connection), now=now)
        assert not UsageReading.objects.filter(account=account, moment="noticed").exists()
        assert not usage_readings.accounts_with_usage_due(now=now).exists()
        assert usage_readings.accounts_with_usage_due(now=now + timedelta(minutes=10)).get() == account

    def test_an_account_that_is_gone_is_noted_once(self, desk: Desk) -> None:
        account = self.noticed(desk)
        desk.sandbox.admin.delete_account(account.provider_id)
        usage_readings.read_due_usage(account, desk.connect(desk.connection), now=timezone.now())
        [reading] = UsageReading.objects.filter(account=account, moment="noticed")
        assert (bool(reading.failure), reading.usage) == (True, {})
        account.refresh_from_db()
        assert account.usage_due_at is None

    @pytest.mark.parametrize("why", ["pooled", "paused", "deleted"])
    def test_who_is_not_read(self, desk: Desk, why: str) -> None:
        account = self.noticed(desk)
        if why == "pooled":
            Connection.objects.update(usage_source="pooled")
        elif why == "paused":
            Connection.objects.update(paused="person")
        else:
            Account.objects.filter(pk=account.pk).update(state="deleted")
        assert dispatcher.next_usage_to_read(now=timezone.now() + timedelta(hours=1)) == []


def test_a_manually_linked_account_is_read_soon(desk: Desk) -> None:
    desk.sandbox.admin.arm("create-then-504", "create")
    operation = perform(desk, desk.ask_create())
    (there,) = desk.sandbox.admin.accounts()
    command = Command(desk.person, timezone.now(), reason="Same email.")
    resolve.resolve_link(command, operation=operation, provider_id=there["id"], provider=desk.connect(desk.connection))
    assert dispatcher.next_usage_to_read(now=timezone.now() + timedelta(minutes=1)) == [operation.account_id]


class TestSnapshots:
    def test_each_becomes_one_and_none_is_final(self, desk: Desk) -> None:
        account = created(desk)
        desk.sandbox.admin.add_usage(account.provider_id, 1234)
        operation = perform(desk, desk.ask_offerings(account, [BIGGER, ADDON]))
        desk.sandbox.admin.switch("credits", "403")
        perform(desk, desk.ask("suspend", account))
        assert [store_final_readings(), store_final_readings()] == [3, 0]
        stored = UsageSnapshot.objects.filter(account=account).order_by("pk")
        assert [(each.used, each.allowed) for each in stored] == [(0, 100_000), (1234, 100_000), (1234, 300_000)]
        assert stored[1].final_reading.operation == operation
        assert account.usage_periods.get().before_deletion is False
        account.refresh_from_db()
        assert (account.usage_used, account.usage_allowed) == (1234, 300_000)

    def test_failures_keep_nothing_back(self, desk: Desk) -> None:
        desk.sandbox.admin.switch("credits", "403")
        created(desk)
        desk.sandbox.admin.switch("credits", "ok")
        read = created(desk, "other@northwind.example")
        assert [store_final_readings(limit=1), store_final_readings(limit=1)] == [1, 0]
        assert UsageSnapshot.objects.get().account == read

    def test_those_of_a_deleted_account_change_nothing(self, desk: Desk) -> None:
        account = created(desk)
        perform(desk, desk.ask_offerings(account, [BIGGER]))
        desk.sandbox.admin.add_usage(account.provider_id, 50)
        perform(desk, desk.ask("delete", account))
        store_final_readings()
        assert UsageSnapshot.objects.filter(account=account).count() == 4
        period = account.usage_periods.get()
        assert (period.used, period.status, period.anomalies.count()) == (50, "final", 0)
