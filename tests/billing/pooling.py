"""A pool a test can speak for: a server that answers the usage report of all accounts with what it was told last, over
real HTTP, and counts how often it was asked. `Pool` reads it as a worker would."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from billing.models import PooledSnapshot, SyncRun, UsagePeriod
from billing.usage import runs
from billing.usage import sync as usage_sync
from customers.connections import client as connection_client
from customers.models import Account, Connection
from portal import providers
from tests.providers.support import Server, read_request, reply
from tests.support.factories import AccountFactory

PARENT = "c0a4f6f2-8f0e-4a3b-8a58-6f6b3d1f2e90"
NOTE = "Test note: shares of one pooled invoice, not list prices."
NOON = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)


class Report:
    """What the provider says next. Costs are JSON numbers as text, so that nothing is lost on the way."""

    def __init__(self) -> None:
        self.start, self.end = "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"
        self.currency, self.note = "eur", NOTE
        self.parent, self.removed = (100_000, "8.0"), (0, "0.0")
        self.shares: dict[str, tuple[int, str]] = {}
        self.total: tuple[int, str] | None = None

    def text(self) -> str:
        total = self.total or self._sum()
        accounts = ", ".join(
            f'{{"account_id": "{key}", "name": "Name {key[:4]}", {_figures(share)}}}'
            for key, share in self.shares.items()
        )
        head = {"start": self.start, "end": self.end}
        return (
            f'{{"billing_period": {json.dumps(head)}, "currency": "{self.currency}", "allocation_method": '
            f'"proportional", "allocation_note": {json.dumps(self.note)}, "parent": {{"account_id": "{PARENT}", '
            f'{_figures(self.parent)}}}, "sub_accounts": [{accounts}], "removed_sub_accounts": '
            f'{{{_figures(self.removed)}}}, "total": {{{_figures(total)}}}}}'
        )

    def _sum(self) -> tuple[int, str]:
        parts = [self.parent, self.removed, *self.shares.values()]
        return sum(each[0] for each in parts), str(sum((Decimal(each[1]) for each in parts), Decimal()))


def _figures(share: tuple[int, str]) -> str:
    return f'"reception_count": {share[0]}, "allocated_cost": {share[1]}'


@dataclass
class Pool:
    server: Server
    connection: Connection
    now: datetime = NOON
    report: Report = field(default_factory=Report)
    status: int = 200

    def __post_init__(self) -> None:
        def script(sock: Any) -> None:
            while request := read_request(sock):
                self.server.requests.append(request)
                said = self.report.text() if self.status == 200 else json.dumps({"message": "no"})
                sock.sendall(reply(self.status, said.encode(), content_type="application/json"))

        self.server.scripts = (script,)

    @property
    def asked(self) -> int:
        return len(self.server.requests)

    def account(self, count: int | None = None, cost: str = "1.5", **facts: Any) -> Account:
        """An account with us; with `count` also in the report."""
        given: dict[str, Any] = {"provider_id": str(uuid4()), "package": "", "settings": {"monthly_cap": 0}}
        never = {f"usage_{name}": None for name in ("used", "allowed", "overage", "start_on", "end_on", "read_at")}
        account = AccountFactory(connection=self.connection, **given | never | facts)
        Account.objects.filter(pk=account.pk).update(created_at=datetime(2026, 10, 1, tzinfo=UTC))
        account.refresh_from_db()
        if count is not None:
            self.say(account, count, cost)
        return account  # type: ignore[no-any-return]

    def say(self, account: Account, count: int, cost: str = "1.5") -> None:
        self.report.shares[account.provider_id or ""] = (count, cost)

    def connect(self, connection: Connection) -> providers.Provider:
        config = replace(connection_client.config_of(connection), connect_timeout=2, read_timeout=5, total_timeout=5)
        client = providers.client(config)
        client._http.sleep = lambda _seconds: None  # type: ignore[attr-defined]
        return client

    def start(self, kind: str = "asked", **more: Any) -> SyncRun:
        until = self.now + runs.RUN_HOURS
        slot = uuid4().hex
        return runs.start_run(connection=self.connection, kind=kind, slot=slot, now=self.now, until=until, **more)[0]

    def work(self, run: SyncRun) -> SyncRun:
        """One worker's stay."""
        usage_sync.sync_chunk(run.pk, clock=lambda: self.now, connect=self.connect)
        run.refresh_from_db()
        return run

    def read(self) -> SyncRun:
        return self.work(self.start())

    def later(self, **delta: float) -> None:
        self.now += timedelta(**delta)


def period_of(account: Account) -> UsagePeriod:
    return UsagePeriod.objects.get(account=account)


def last_report() -> PooledSnapshot:
    found = PooledSnapshot.objects.order_by("as_of", "seq").last()
    assert found is not None
    return found
