"""Accounts with API keys: as rows for the pages alone, and at the sandbox."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.utils import timezone

from customers.connections import commands as connection_commands
from customers.models import Account, AccountKey, Connection, Customer, KeySecret, Operation, SendingDomain
from customers.operations import commands as operation_commands
from portal.access.models import User
from portal.commands import Command
from portal.providers import AccountSettings, Profile
from tests.customers.conftest import Desk
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory
from tests.support.sandbox import SandboxProcess

SECRET = "aha-sk-" + "canary7Q" * 8
RECORDS = [
    {"type": "CNAME", "host": "k1._domainkey.mail.larkfield.example", "content": "k1.mailer.example"},
    {"type": "TXT", "host": "mail.larkfield.example", "content": "v=spf1 include:spf.mailer.example ~all"},
    {"type": "CNAME", "host": "track.mail.larkfield.example", "content": "t.mailer.example", "required": False},
]


def connection_with_keys(**more: Any) -> Connection:
    """A connection whose provider has keys, settings and a sending setup."""
    facts = {"kind": "ahasend", "name": "AhaSend test", "base_url": "https://api.ahasend.com", "keep_keys": True}
    connection: Connection = ConnectionFactory(**(facts | {"account_id": str(uuid.uuid4())} | more))
    return connection


def account_with_keys(connection: Connection | None = None, **more: Any) -> Account:
    facts: dict[str, Any] = {
        "customer__company_name": "Larkfield Outdoor", "provider_id": str(uuid.uuid4()), "state_raw": "active",
        "desired_offerings": [], "offerings": None, "package": "", "keys_read_at": timezone.now(),
    }  # fmt: skip
    account: Account = AccountFactory(connection=connection or connection_with_keys(), **(facts | more))
    return account


def key_of(account: Account, key_id: str = "key-1", **more: Any) -> AccountKey:
    now = timezone.now()
    facts: dict[str, Any] = {
        "label": "Web shop · op_7C31AB", "scopes": ["messages:send:all"], "ip_allow_list": [],
        "made_at": now - timedelta(days=1), "read_at": now,
    }  # fmt: skip
    return AccountKey.objects.create(account=account, key_id=key_id, **(facts | more))


def secret_of(key: AccountKey, holder: User, *, minutes: float = 15, **more: Any) -> KeySecret:
    """The secret of a key that `holder` asked for; it waits for `minutes` more. `sealed=""` for one that is gone."""
    now = timezone.now()
    made = OperationFactory(
        kind="key_create", account=key.account, requested_by=holder, state="succeeded",
        payload={"key": {"label": "Web shop", "scopes": key.scopes, "ip_allow_list": []}, "keep": False},
    )  # fmt: skip
    row = KeySecret(
        account=key.account, operation=made, key_id=key.key_id, holder=holder, made_at=now,
        expires_at=now + timedelta(minutes=minutes),
    )  # fmt: skip
    row.seal(SECRET)
    for name, value in more.items():
        setattr(row, name, value)
    row.save()
    return row


def domain_of(account: Account, name: str = "mail.larkfield.example", **more: Any) -> SendingDomain:
    now = timezone.now()
    facts = {"records": [{"required": True, "in_place": None} | row for row in RECORDS], "made_at": now, "read_at": now}
    return SendingDomain.objects.create(account=account, name=name, **(facts | more))


def desk_with_keys(sandbox: SandboxProcess) -> Desk:
    """A member of customer success before a connection to the sandbox that keeps keys."""
    person = User.objects.create_user(email="success@postkeeper.example", name="Nadia Berg", role="customer_success")
    facts = {"name": "AhaSend test", "kind": "ahasend", "base_url": sandbox.base_url, "keep_keys": True}
    connection = connection_commands.add_connection(
        Command(None), api_key=sandbox.ahasend_key, facts=facts | {"account_id": sandbox.ahasend_account}
    )
    return Desk(sandbox, connection, person)


def created_account(desk: Desk, name: str = "Larkfield Outdoor") -> Account:
    """An account that exists at the sandbox, without a key."""
    customer = Customer.objects.create(company_name=name, email="ops@larkfield.example")
    operation = operation_commands.request_create(
        Command(desk.person, timezone.now(), token=uuid.uuid4().hex),
        customer=customer,
        connection=desk.connection,
        profile=Profile(email=customer.email),
        offerings=[],
        settings=AccountSettings(name, "larkfield.example", 0),
        is_test=False,
    )
    operation = desk.perform(operation)
    assert operation.state == "succeeded", operation.summary
    return desk.account(operation)


def perform_all(desk: Desk) -> list[Operation]:
    """Let a worker do whatever is queued; each must have succeeded."""
    asked = list(Operation.objects.filter(state="queued").order_by("pk"))
    for operation in asked:
        done = desk.drain(operation)
        assert done.state == "succeeded", done.summary
    return asked


def publish_records(desk: Desk, account: Account, domain: str) -> None:
    """The customer did it. At the sandbox, DNS is then looked at anew each time and messages arrive at once."""
    admin = desk.sandbox.admin
    admin.switch("aha_dns_cache_seconds", 0)
    admin.switch("aha_delivery_seconds", 0)
    admin.aha.publish(account.provider_id, domain)
