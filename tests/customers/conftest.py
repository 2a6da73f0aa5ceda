"""A connection to the real sandbox process, and people who may ask. Operations are performed in this process by the
product's own executor, one call at a time; the worker's process is met in tests/journeys and tests/chaos."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from customers import dispatcher
from customers.connections import catalogue
from customers.connections import client as connection_client
from customers.connections import commands as connection_commands
from customers.models import Account, Connection, Customer, Operation
from customers.operations import commands as operation_commands
from customers.operations import executor
from portal import providers
from portal.access.models import User
from portal.commands import Command
from portal.providers import Profile, ProviderOffering
from tests.support.sandbox import KEY, SandboxProcess

PACKAGE = ProviderOffering("postkeeper.ei.pro-100k.v1", "package", 1)
BIGGER = ProviderOffering("postkeeper.ei.pro-300k.v1", "package", 1)
ADDON = ProviderOffering("postkeeper.x.ip.v2", "addon", 1)


@dataclass
class Desk:
    """What a member of customer success does, in a line each, against the sandbox."""

    sandbox: SandboxProcess
    connection: Connection
    person: User
    timeouts: float = 5.0

    def customer(self, email: str = "ops@northwind.example") -> Customer:
        return Customer.objects.create(company_name="Northwind", email=email)

    def ask_create(self, email: str = "ops@northwind.example", **profile: str) -> Operation:
        return operation_commands.request_create(
            Command(self.person, timezone.now(), token=uuid4().hex),
            customer=self.customer(email),
            connection=self.connection,
            profile=Profile(email=email, **profile),
            offerings=[PACKAGE, ADDON],
            is_test=False,
        )

    def created(self, email: str = "ops@northwind.example") -> Account:
        operation = self.perform(self.ask_create(email))
        assert operation.state == "succeeded", operation.summary
        return self.account(operation)

    def ask(self, kind: str, account: Account, **more: object) -> Operation:
        command = Command(self.person, reason="Asked in a test.", token=uuid4().hex)
        request = getattr(operation_commands, f"request_{kind}")
        return request(command, account=account, **more)

    def ask_offerings(
        self, account: Account, wanted: list[ProviderOffering], base: list[ProviderOffering] | None = None
    ) -> Operation:
        return self.ask(
            "offerings",
            account,
            base=[PACKAGE, ADDON] if base is None else base,
            version=account.version,
            offerings=wanted,
        )

    def connect(self, connection: Connection) -> providers.Provider:
        config = connection_client.config_of(connection)
        return providers.client(
            replace(config, connect_timeout=2, read_timeout=self.timeouts, total_timeout=self.timeouts),
            on_exchange=connection_client._note,
        )

    def perform(self, operation: Operation, *, at: datetime | None = None) -> Operation:
        clock = (lambda: at) if at else timezone.now
        executor.perform(operation.pk, clock=clock, connect=self.connect)
        return Operation.objects.select_related("account__customer", "connection", "requested_by").get(pk=operation.pk)

    def drain(self, operation: Operation, *, hours: float = 1) -> Operation:
        """Let the dispatcher's rounds go by, with time moved to whatever is due next, until nothing moves any more."""
        now = timezone.now()
        end = now + timedelta(hours=hours)
        for _ in range(60):
            dispatcher.transitions.expire_leases(now=now)
            for due in dispatcher.due_operations(now=now):
                executor.perform(due, clock=lambda at=now: at, connect=self.connect)
            operation.refresh_from_db()
            if operation.is_final or operation.state == "needs_attention" or now > end:
                break
            waiting = operation.lease_until if operation.state in ("claimed", "sending") else operation.not_before
            now = max(now + timedelta(seconds=5), (waiting or now) + timedelta(seconds=1))
        return operation

    def account(self, operation: Operation) -> Account:
        return Account.objects.select_related("connection", "customer").get(pk=operation.account_id)


@pytest.fixture
def desk(db: None, sandbox: SandboxProcess) -> Desk:
    person = User.objects.create_user(
        email="success@postkeeper.example", name="Customer success", role="customer_success"
    )
    connection = connection_commands.add_connection(
        Command(None), api_key=KEY, facts={"name": "SendGrid test", "kind": "sendgrid", "base_url": sandbox.base_url}
    )
    Connection.objects.filter(pk=connection.pk).update(probe_available=True)
    connection.refresh_from_db()
    catalogue.refresh_catalogue(Command(None, timezone.now()), connection=connection)
    return Desk(sandbox, connection, person)
