"""Months of billing at simulated providers: the portal's own runs, operations and figures against the real sandbox.

Both clocks are passed by hand. Nothing of the portal is replaced: runs are started by `due_runs.tick`, read by
`sync_chunk` over HTTP, changes are operations, and figures are derived by `assess_due`. What happens is in
`tests.figures.scenario`; whether the figures are right in `tests.figures.judge`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from billing.models import SyncRun
from billing.usage import due_runs, period_ends
from billing.usage import sync as usage_sync
from customers.connections import catalogue
from customers.connections import client as connection_client
from customers.connections import commands as connection_commands
from customers.models import Account, Connection, Operation
from customers.models.account import as_offerings
from customers.models.operation_states import FINAL
from customers.models.remote_account import RemoteAccount
from customers.observed import accounts as observed_accounts
from customers.observed import usage_readings
from customers.operations import commands as operation_commands
from customers.operations import executor
from customers.reconcile.link import link_account
from portal import providers
from portal.access.models import User
from portal.commands import Command
from portal.providers import NotFound, Profile, ProviderOffering
from tests.support.factories import CustomerFactory, UserFactory
from tests.support.sandbox import SandboxProcess

REASON = "Asked for in a test."
# How often an operation is taken up again, and the time between.
TAKES, BETWEEN = 12, timedelta(seconds=30)


def midnight(day: date, zone: str = "UTC") -> datetime:
    """Return when `day` begins in `zone`."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def offerings_of(package: str) -> list[dict[str, Any]]:
    return [{"name": f"postkeeper.ei.{package}.v1", "type": "package", "quantity": 1}]


@dataclass
class World:
    """The sandbox, the portal's connections by name, and the time of both."""

    sandbox: SandboxProcess
    now: datetime
    connections: dict[str, Connection] = field(default_factory=dict)
    person: User = field(default_factory=lambda: UserFactory(role="admin"))
    _providers: dict[int, providers.Provider] = field(default_factory=dict)

    def at(self, moment: datetime) -> None:
        """Move both clocks; never back."""
        self.now = max(self.now, moment)
        self.sandbox.admin.set_clock(self.now.isoformat())

    def command(self) -> Command:
        return Command(self.person, self.now, reason=REASON, token=uuid4().hex)

    def connect(self, connection: Connection) -> providers.Provider:
        if connection.pk not in self._providers:
            config = replace(connection_client.config_of(connection), connect_timeout=5, read_timeout=20)
            self._providers[connection.pk] = providers.client(config)
        return self._providers[connection.pk]

    # --- Connections ----------------------------------------------------------------------------------------------

    def add_sendgrid(self, name: str, *, source: str, reset_zone: str) -> None:
        """An organisation of the sandbox with a connection to it."""
        admin = self.sandbox.admin
        key = admin.add_organisation(name, username=name)["key"]
        admin.call("PATCH", f"organisations/{name}", {"switches": {"reset_zone": reset_zone}})
        facts = {"name": name, "kind": "sendgrid", "usage_source": source}
        self._add(name, key, facts)
        catalogue.refresh_catalogue(Command(None, self.now), connection=self.connections[name])

    def add_ahasend(self, name: str, **switches: Any) -> None:
        self.sandbox.admin.aha.change(self.sandbox.ahasend_account, switches=switches)
        parent = {"account_id": self.sandbox.ahasend_account, "usage_source": "pooled"}
        self._add(name, self.sandbox.ahasend_key, {"name": name, "kind": "ahasend", **parent})

    def _add(self, name: str, key: str, facts: dict[str, Any]) -> None:
        facts |= {"base_url": self.sandbox.base_url, "requests_per_minute": 600_000}
        self.connections[name] = connection_commands.add_connection(Command(None, self.now), api_key=key, facts=facts)

    # --- Accounts -------------------------------------------------------------------------------------------------

    def link(self, name: str, provider_id: str, *, timezone: str = "", made_at: datetime | None = None) -> Account:
        """Link an account that exists at the provider."""
        connection = self.connections[name]
        remote = RemoteAccount.objects.create(
            connection=connection,
            provider_id=provider_id,
            made_at=made_at,
            first_seen_at=self.now,
            last_seen_at=self.now,
        )
        customer = CustomerFactory(timezone=timezone)
        account = link_account(
            self.command(), remote_account=remote, customer=customer, provider=self.connect(connection)
        )
        Account.objects.filter(pk=account.pk).update(created_at=self.now)
        return account

    def create(self, name: str, package: str, *, timezone: str = "") -> Account | None:
        """Create an account by an operation of ours."""
        customer = CustomerFactory(timezone=timezone)
        operation = operation_commands.request_create(
            self.command(),
            customer=customer,
            connection=self.connections[name],
            profile=Profile(email=customer.email, first_name="A", last_name="B", company_name=customer.company_name),
            offerings=[ProviderOffering(**row) for row in offerings_of(package)],
            is_test=False,
        )
        self.perform(operation)
        account = operation.account
        Account.objects.filter(pk=account.pk).update(created_at=operation.created_at)
        account.refresh_from_db()
        return account if account.provider_id else None

    def change_package(self, account: Account, package: str) -> None:
        account.refresh_from_db()
        wanted = as_offerings(offerings_of(package))
        base = as_offerings(account.offerings or [])
        if [each.name for each in base] == [each.name for each in wanted]:
            return
        self.perform(
            operation_commands.request_offerings(
                self.command(), account=account, base=base, version=account.version, offerings=wanted
            )
        )

    def change_state(self, account: Account, kind: str) -> None:
        """`kind`: suspend, unsuspend or delete."""
        account.refresh_from_db()
        request = getattr(operation_commands, f"request_{kind}")
        self.perform(request(self.command(), account=account))

    def perform(self, operation: Operation) -> None:
        for _ in range(TAKES):
            executor.perform(operation.pk, clock=lambda: self.now, connect=self.connect)
            operation.refresh_from_db()
            if operation.state in FINAL:
                return
            self.at(self.now + BETWEEN)
        raise AssertionError(f"{operation.kind} did not end: {operation.state} {operation.summary}")

    # --- What the portal does at a moment -----------------------------------------------------------------------------

    def beat(self, moment: datetime) -> None:
        """Start the due runs, read what they have to read, and derive the figures that time changed."""
        self.at(moment)
        due_runs.tick(now=self.now)
        self.read_noticed()
        for run in SyncRun.objects.filter(state=SyncRun.State.RUNNING, not_before__lte=self.now):
            while usage_sync.sync_chunk(run.pk, clock=lambda: self.now, connect=self.connect):
                pass
        period_ends.assess_due(now=self.now)

    def read_states(self, accounts: list[int]) -> None:
        """Read these accounts as the dispatcher does every day."""
        for account in observed_accounts.accounts_to_read(now=self.now).filter(pk__in=accounts):
            try:
                observed_accounts.read_account(account=account, now=self.now, provider=self.connect(account.connection))
            except NotFound:
                continue

    def read_noticed(self) -> None:
        """Read usage that is due after a change that was noticed."""
        for account in usage_readings.accounts_with_usage_due(now=self.now).select_related("connection"):
            usage_readings.read_due_usage(account, self.connect(account.connection), now=self.now)


def new_child(world: World, name: str, number: int, *, per_day: int, cap: int) -> str:
    """Create an AhaSend account that no operation of ours made."""
    sending = {"per_day": per_day}
    row = world.sandbox.admin.aha.add_account(
        f"Child {number}", website=f"child{number}.example", monthly_credit=cap, sending=sending,
        created_at=world.now.isoformat(),
    )  # fmt: skip
    return str(row["id"])
