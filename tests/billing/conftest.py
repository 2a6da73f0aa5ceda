"""Usage as the sandbox counts it: one connection, accounts that were made at the provider, and a clock that both sides
share. `Meter` reads as a worker would, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from billing.models import SyncRun
from billing.usage import due_runs, period_ends, runs
from billing.usage import sync as usage_sync
from customers.connections import client as connection_client
from customers.connections import commands as connection_commands
from customers.models import Account, Connection
from portal import providers
from portal.access.models import User
from portal.commands import Command
from tests.billing.pooling import PARENT, Pool
from tests.providers.support import Server
from tests.support.factories import AccountFactory, UserFactory
from tests.support.sandbox import KEY, SandboxProcess

NOON = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
PACKAGE = "postkeeper.ei.pro-100k.v1"


@dataclass
class Meter:
    sandbox: SandboxProcess
    connection: Connection
    person: User
    now: datetime = NOON
    timeouts: float = 5.0
    threads: list[Any] = field(default_factory=list)

    def at(self, moment: datetime) -> None:
        """Move both clocks."""
        self.now = moment
        self.sandbox.admin.set_clock(moment.isoformat())

    def account(
        self, *, anchor_day: int = 1, born: str = "2026-10-01T00:00:00Z", per_day: int = 0, **more: Any
    ) -> Account:
        """An account at the provider and its row with us, never read."""
        email = f"{uuid4().hex[:8]}@company.example"
        there = self.sandbox.admin.add_account(
            email=email,
            **{"offerings": [{"name": PACKAGE, "type": "package", "quantity": 1}]} | more,
            anchor_day=anchor_day,
            created_at=born,
            sending={"per_day": per_day},
        )
        account = AccountFactory(
            connection=self.connection,
            provider_id=there["id"],
            v2_username=there["username"],
            email=email,
            usage_used=None,
            usage_allowed=None,
            usage_overage=None,
            usage_start_on=None,
            usage_end_on=None,
            usage_read_at=None,
        )
        Account.objects.filter(pk=account.pk).update(created_at=datetime.fromisoformat(born))
        account.refresh_from_db()
        return account

    def connect(self, connection: Connection) -> providers.Provider:
        config = connection_client.config_of(connection)
        quick = replace(config, connect_timeout=2, read_timeout=self.timeouts, total_timeout=self.timeouts)
        return providers.client(quick)

    def start(self, kind: str = "asked", slot: str = "") -> SyncRun:
        run, _ = runs.start_run(
            connection=self.connection,
            kind=kind,
            slot=slot or uuid4().hex,
            now=self.now,
            until=self.now + runs.RUN_HOURS,
        )
        return run

    def chunk(self, run: SyncRun) -> SyncRun:
        usage_sync.sync_chunk(run.pk, clock=lambda: self.now, connect=self.connect)
        run.refresh_from_db()
        return run

    def finish(self, run: SyncRun, *, passes: int = 12) -> SyncRun:
        """Chunk after chunk; where only later passes are left, our clock (not the provider's) moves on to them."""
        before = self.now
        for _ in range(passes):
            self.chunk(run)
            if run.state != SyncRun.State.RUNNING:
                break
            self.now = max(self.now, run.not_before)
        self.now = before
        return run

    def read(self) -> SyncRun:
        return self.finish(self.start())

    def later(self, **delta: float) -> None:
        self.at(self.now + timedelta(**delta))

    def tick(self, moment: datetime) -> None:
        """Do what the scheduler and the workers do at a moment: start due runs and end them, and assess figures."""
        self.at(moment)
        due_runs.tick(now=moment)
        for run in SyncRun.objects.filter(state=SyncRun.State.RUNNING).order_by("pk"):
            while usage_sync.sync_chunk(run.pk, clock=lambda: moment, connect=self.connect):
                pass
        period_ends.assess_due(now=moment)


@pytest.fixture
def meter(db: None, sandbox: SandboxProcess) -> Meter:
    connection = connection_commands.add_connection(
        Command(None),
        api_key=KEY,
        facts={
            "name": "SendGrid test",
            "kind": "sendgrid",
            "base_url": sandbox.base_url,
            "requests_per_minute": 60_000,
        },
    )
    person = UserFactory(role="finance", email="finance@postkeeper.example")
    meter = Meter(sandbox, connection, person)
    meter.at(NOON)
    return meter


@pytest.fixture
def pool(db: None) -> Iterator[Pool]:
    """A connection whose provider tells of all accounts at once, spoken for by the test."""
    with Server() as server:
        connection = connection_commands.add_connection(
            Command(None),
            api_key=f"aha-sk-{'x' * 64}",
            facts={
                "name": "AhaSend test",
                "kind": "ahasend",
                "base_url": server.base_url,
                "usage_source": "pooled",
                "account_id": PARENT,
            },
        )
        yield Pool(server, connection)
