"""A pool over a month's end against the sandbox, by the portal's own runs and its own delete: parent, accounts and
removed are the total, to the unit and the cent, at every reading; and every customer keeps its own figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from billing.models import Anomaly, PooledSnapshot, SyncRun, UsagePeriod
from billing.reports.filters import MonthFilters
from billing.reports.pool import pool_of
from billing.usage import due_runs
from billing.usage import sync as usage_sync
from customers.connections import client as connection_client
from customers.connections import commands as connection_commands
from customers.models import Account, Connection
from customers.models.account import AccountState
from customers.operations import commands as operation_commands
from customers.operations import executor
from portal import providers
from portal.access.models import User
from portal.commands import Command
from portal.providers import AccountSettings, IdempotentBody, NewAccount, Profile
from tests.support.factories import AccountFactory, UserFactory
from tests.support.sandbox import SandboxClient, SandboxProcess

FIRST = datetime(2027, 1, 20, 9, 0, tzinfo=UTC)
USAGE = "aha-usage"


@dataclass
class Reseller:
    """Both clocks, the connection, and the provider's word over a client that is not ours."""

    sandbox: SandboxProcess
    connection: Connection
    person: User
    now: datetime = FIRST

    def at(self, moment: datetime) -> None:
        self.now = moment
        self.sandbox.admin.set_clock(moment.isoformat())

    def connect(self, connection: Connection) -> providers.Provider:
        return providers.client(connection_client.config_of(connection))

    def child(self, per_day: int, cap: int = 0) -> str:
        """An account at the provider that sends so much a day from now on."""
        self.sandbox.admin.switch("aha_default_sending", {"per_day": per_day})
        provider = self.connect(self.connection)
        settings = AccountSettings(f"Child {per_day}", f"child{per_day}.example", cap)
        new = NewAccount(Profile(email=""), settings=settings)
        return provider.create_account(new, IdempotentBody(uuid4().hex, provider.create_body(new))).id

    def account(self, per_day: int, cap: int = 0) -> Account:
        account = AccountFactory(
            connection=self.connection, provider_id=self.child(per_day, cap), package="", usage_used=None,
            usage_allowed=None, usage_overage=None, usage_start_on=None, usage_end_on=None, usage_read_at=None,
            settings={"name": "x", "website": "x.example", "monthly_cap": cap}, desired_offerings=[],
        )  # fmt: skip
        Account.objects.filter(pk=account.pk).update(created_at=self.now)
        account.refresh_from_db()
        return account  # type: ignore[no-any-return]

    def said(self) -> dict[str, Any]:
        """The report as it stands, costs as they were written."""
        client = SandboxClient(self.sandbox.base_url, self.sandbox.ahasend_key)
        answer = client.send("GET", f"/v2/accounts/{self.sandbox.ahasend_account}/sub-accounts/usage")
        assert answer.status == 200
        return dict(json.loads(answer.body, parse_float=Decimal, parse_int=int))

    def tick(self, moment: datetime) -> int:
        """What the beat does at that moment, worked off; returns how many runs there were."""
        self.at(moment)
        self.sandbox.admin.clear_requests()
        due_runs.tick(now=moment)
        due = list(SyncRun.objects.filter(state=SyncRun.State.RUNNING))
        for run in due:
            usage_sync.sync_chunk(run.pk, clock=lambda: self.now, connect=self.connect)
            run.refresh_from_db()
            assert run.state == SyncRun.State.COMPLETE, run.message
        assert len(self.sandbox.admin.requests(USAGE)) == len(due), "one question a run, however many accounts"
        return len(due)

    def delete(self, account: Account) -> None:
        self.at(self.now)
        operation = operation_commands.request_delete(
            Command(self.person, self.now, reason="Contract ended.", token=uuid4().hex), account=account
        )
        executor.perform(operation.pk, clock=lambda: self.now, connect=self.connect)
        operation.refresh_from_db()
        assert operation.state == "succeeded", operation.summary
        account.refresh_from_db()
        assert account.state == AccountState.DELETED


@pytest.fixture
def reseller(db: None, sandbox: SandboxProcess, time_machine: Any) -> Reseller:
    time_machine.move_to(FIRST)
    connection = connection_commands.add_connection(
        Command(None),
        api_key=sandbox.ahasend_key,
        facts={
            "name": "AhaSend test",
            "kind": "ahasend",
            "base_url": sandbox.base_url,
            "usage_source": "pooled",
            "account_id": sandbox.ahasend_account,
            "requests_per_minute": 60_000,
        },
    )
    sandbox.admin.switch("aha_rate", 100_000)
    found = Reseller(sandbox, connection, UserFactory(role="admin"))
    found.at(FIRST)
    return found


def check_sum(of: PooledSnapshot) -> None:
    counts = of.parent_count + of.accounts_count + of.unmapped_count + of.removed_count
    costs = of.parent_cost + of.accounts_cost + of.unmapped_cost + of.removed_cost
    assert (counts, costs) == (of.total_count, of.total_cost)
    assert of.adds_up


def last() -> PooledSnapshot:
    found = PooledSnapshot.objects.order_by("as_of", "seq").last()
    assert found is not None
    return found


@pytest.mark.parametrize("currency", ["usd", "gbp"])
@pytest.mark.long
def test_a_month_with_a_delete_in_its_middle_adds_up_to_its_end(reseller: Reseller, currency: str) -> None:
    admin = reseller.sandbox.admin
    admin.switch("aha_currency", currency)
    admin.switch("aha_price_per_thousand", 0.37)  # shares that do not come out even
    stays = [reseller.account(1_000 + 77 * n, cap=(0, 50_000)[n % 2]) for n in range(6)]
    leaves = reseller.account(3_331)
    stranger = reseller.child(911)

    reseller.tick(FIRST + timedelta(hours=1))
    for day in range(21, 27):
        assert reseller.tick(datetime(2027, 1, day, 0, 31, tzinfo=UTC)) == 1
        check_sum(last())
    assert last().unmapped_count > 0

    reseller.at(datetime(2027, 1, 26, 14, 0, tzinfo=UTC))
    before = {row["account_id"]: row for row in reseller.said()["sub_accounts"]}[leaves.provider_id]
    reseller.delete(leaves)
    _tick_to_the_end(reseller.tick)
    january = last()
    check_sum(january)
    assert (january.period_start_on.isoformat(), january.period_end_on.isoformat()) == ("2027-01-01", "2027-01-31")
    assert january.currency == currency.upper()

    # The provider's own numbers, read by a client that is not ours, at that same second.
    said = reseller.said()
    assert (january.removed_count, january.removed_cost) == _figures(said["removed_sub_accounts"])
    assert (january.total_count, january.total_cost) == _figures(said["total"])
    shares = {row["account_id"]: _figures(row) for row in said["sub_accounts"]}
    assert january.unmapped_count == shares[stranger][0]
    for account in stays:
        period = UsagePeriod.objects.get(account=account)
        assert (period.used, period.allocated_cost) == shares[account.provider_id or ""]
        assert period.currency == currency.upper()
        assert period.read_at == period.ends_at - timedelta(minutes=5)
        assert (period.overage, period.allowed) == (None, (account.settings or {})["monthly_cap"] or None)

    own = UsagePeriod.objects.get(account=leaves)
    assert own.status == "final"
    assert (own.used, own.allocated_cost) == _figures(before), "the customer's own last figures"
    found = pool_of(reseller.connection, MonthFilters({"month": "2027-01"}, today=january.period_end_on))
    assert found is not None
    assert [period.account.public_id for period, _ in found.removed.rows] == [leaves.public_id]
    assert found.removed.ours == (own.used, own.allocated_cost)
    assert found.removed.difference is not None
    assert found.removed.difference.used == 0, "nothing was sent between the last reading and the delete"
    assert found.off == (0, Decimal(0))

    # February begins at nothing, and January stays what it was.
    assert reseller.tick(datetime(2027, 2, 1, 0, 31, tzinfo=UTC)) == 1
    february = last()
    check_sum(february)
    assert february.period_start_on.isoformat() == "2027-02-01"
    assert (february.removed_count, february.removed_cost) == (0, Decimal(0))
    kept = pool_of(reseller.connection, MonthFilters({"month": "2027-01"}, today=january.period_end_on))
    assert kept is not None
    assert kept.snapshot == january
    assert not UsagePeriod.objects.filter(account=leaves, start_on=february.period_start_on).exists()
    assert UsagePeriod.objects.filter(start_on=february.period_start_on).count() == len(stays)
    assert not Anomaly.objects.exists(), "a new period is no count that went down"


def _tick_to_the_end(tick: Callable[[datetime], int]) -> None:
    """The nights that are left, then the last readings: a day, an hour and five minutes before the end."""
    for day in range(27, 31):
        tick(datetime(2027, 1, day, 0, 31, tzinfo=UTC))
    assert tick(datetime(2027, 1, 31, 0, 31, tzinfo=UTC)) == 2, "the night's run and the one a day before the end"
    assert tick(datetime(2027, 1, 31, 22, 59, tzinfo=UTC)) == 0
    assert tick(datetime(2027, 1, 31, 23, 0, tzinfo=UTC)) == 1
    assert tick(datetime(2027, 1, 31, 23, 55, tzinfo=UTC)) == 1


def _figures(bucket: dict[str, Any]) -> tuple[int, Decimal]:
    return bucket["reception_count"], Decimal(bucket["allocated_cost"])
