"""What an operation costs: statements and requests to the provider, counted on the way that a worker takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.utils import timezone

from customers.connections.client import recorded
from customers.models import Account, Connection, Operation, UsageReading
from customers.observed import usage_readings
from customers.operations import executor
from portal.installation.epochs import current_epoch
from tests.customers.conftest import ADDON, BIGGER, Desk

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Cost:
    statements: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    @property
    def account_updates(self) -> int:
        return sum(each.startswith('UPDATE "customers_account" ') for each in self.statements)


def cost_of(operation: Operation) -> Cost:
    """Perform an operation as a worker does, with its own client and clock."""
    cost = Cost()

    def count(execute: Any, sql: str, *arguments: Any) -> Any:
        cost.statements.append(sql)
        return execute(sql, *arguments)

    with database.execute_wrapper(count), recorded() as exchanges:
        executor.perform(operation.pk)
    operation.refresh_from_db()
    assert operation.state == "succeeded", operation.summary
    cost.calls = [f"{each.method} {each.path.rpartition('/')[2]}" for each in exchanges]
    return cost


@pytest.fixture
def account(desk: Desk) -> Account:
    """An account in the middle of its billing period, at a provider that reports usage of suspended accounts."""
    account = desk.created()
    Connection.objects.update(usage_source_when_suspended="credits")
    Account.objects.update(usage_end_on=(timezone.now() + timedelta(days=14)).date())
    account.refresh_from_db()
    return account


def read_due(desk: Desk) -> None:
    for account in usage_readings.accounts_with_usage_due(now=timezone.now()).select_related("connection"):
        usage_readings.read_due_usage(account, desk.connect(account.connection), now=timezone.now())


def test_a_suspend_and_an_unsuspend(desk: Desk, account: Account) -> None:
    for kind in ("suspend", "unsuspend"):
        cost = cost_of(desk.ask(kind, account))
        assert cost.calls == ["GET state", "PUT state", "GET state"]
        assert len(cost.statements) <= 20, "\n".join(cost.statements)
        assert cost.account_updates == 2  # with the intent, and with the result
        account.refresh_from_db()


def test_a_change_of_offerings(desk: Desk, account: Account) -> None:
    cost = cost_of(desk.ask_offerings(account, [BIGGER, ADDON]))
    assert cost.calls == ["GET offerings", "GET credits", "PUT offerings"]
    assert len(cost.statements) <= 22, "\n".join(cost.statements)
    assert cost.account_updates == 2


def test_a_delete(desk: Desk, account: Account) -> None:
    cost = cost_of(desk.ask("delete", account))
    assert [each.partition(" ")[0] for each in cost.calls] == ["GET", "GET", "DELETE"]
    assert len(cost.statements) <= 23, "\n".join(cost.statements)
    assert cost.account_updates == 2


def test_a_create(desk: Desk) -> None:
    current_epoch()  # asked once for each database connection
    cost = cost_of(desk.ask_create())
    assert cost.calls.count("POST accounts") == 1
    assert cost.calls.count("GET state") == cost.calls.count("GET offerings") == 1
    assert "GET credits" not in cost.calls
    assert len(cost.statements) <= 48, "\n".join(cost.statements)


class TestUsageBeforeASuspend:
    """It is read unless the reading after it is known to work and to belong to the same billing period."""

    def suspended(self, desk: Desk, account: Account) -> Cost:
        cost = cost_of(desk.ask("suspend", account))
        read_due(desk)
        return cost

    def test_read_where_it_is_not_known_to_be_readable_after(self, desk: Desk, account: Account) -> None:
        Connection.objects.update(usage_source_when_suspended="")
        assert "GET credits" in self.suspended(desk, account).calls
        assert Connection.objects.get().usage_source_when_suspended == "credits"
        account.refresh_from_db()
        cost_of(desk.ask("unsuspend", account))
        account.refresh_from_db()
        assert "GET credits" not in self.suspended(desk, account).calls

    def test_read_again_once_a_reading_after_was_denied(self, desk: Desk, account: Account) -> None:
        desk.sandbox.admin.switch("deactivated", "old")  # a suspended account's keys are off
        assert "GET credits" not in self.suspended(desk, account).calls
        assert UsageReading.objects.get(moment="after", operation__kind="suspend").failure
        assert Connection.objects.get().usage_source_when_suspended == ""

    def test_read_again_where_the_reading_after_had_no_figure(self, desk: Desk, account: Account) -> None:
        desk.sandbox.admin.call("POST", f"accounts/{account.provider_id}/overrides", {"fields": {"used": "many"}})
        assert "GET credits" not in self.suspended(desk, account).calls
        assert Connection.objects.get().usage_source_when_suspended == ""

    @pytest.mark.parametrize("days", [None, -1, 0, 1])
    def test_read_where_the_period_may_end_meanwhile(self, desk: Desk, account: Account, days: int | None) -> None:
        end_on = None if days is None else (timezone.now() + timedelta(days=days)).date()
        Account.objects.update(usage_end_on=end_on)
        assert "GET credits" in self.suspended(desk, account).calls

    def test_read_where_usage_has_another_source_now(self, desk: Desk, account: Account) -> None:
        Connection.objects.update(usage_source_when_suspended="overview_json")
        assert "GET credits" in self.suspended(desk, account).calls


def test_usage_of_a_new_account_waits_for_its_username(desk: Desk, account: Account) -> None:
    """The v2 overview knows an account by it alone: without it the reading would fail for good."""
    Connection.objects.update(usage_source="overview_json")
    Account.objects.update(usage_due_at=timezone.now(), v2_username="")
    due = usage_readings.accounts_with_usage_due(now=timezone.now())
    assert not due.exists()
    Account.objects.update(v2_username="larkfield")
    assert due.exists()


def test_what_was_read_before_is_stored_with_the_intent(desk: Desk, account: Account) -> None:
    """The span of a suspend begins between its two readings."""
    operation = desk.ask("suspend", account)
    asked_at = timezone.now()
    cost_of(operation)
    span = account.spans.get(operation=operation)
    sent = operation.attempts.get()
    assert asked_at <= span.from_at <= sent.intended_at <= sent.answered_at == span.seen_at
