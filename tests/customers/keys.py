"""Accounts with API keys as rows, for the pages: nothing here speaks to a provider."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.utils import timezone

from customers.models import Account, AccountKey, Connection, KeySecret, SendingDomain
from portal.access.models import User
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory

SECRET = "aha-sk-" + "canary7Q" * 8
RECORDS = [
    {"type": "CNAME", "host": "k1._domainkey.mail.larkfield.example", "content": "k1.mailer.example"},
    {"type": "TXT", "host": "mail.larkfield.example", "content": "v=spf1 include:spf.mailer.example ~all"},
    {"type": "CNAME", "host": "track.mail.larkfield.example", "content": "t.mailer.example", "required": False},
]


def connection_with_keys(**more: Any) -> Connection:
    """A connection whose provider has keys, settings and a sending set-up."""
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
