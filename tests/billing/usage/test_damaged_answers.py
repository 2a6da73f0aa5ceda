"""What a provider says badly, on the database that production has: values of every answer are replaced by ones that a
column, a date or JSON cannot hold. A scan, a reading, a sync and an operation end as they may end, never as an
exception, and the rows beside the bad one are kept."""

from __future__ import annotations

import json
import os
import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
import requests
from django.db import DatabaseError, transaction
from django.utils import timezone
from requests.adapters import HTTPAdapter

from billing.models import SyncItem, SyncRun, UsageSnapshot
from billing.usage import failure_reasons, runs
from billing.usage import sync as usage_sync
from billing.usage.snapshots import store_final_readings
from customers.connections import catalogue
from customers.connections import client as connection_client
from customers.models import Account, Connection, RemoteAccount, Scan
from customers.models.operation_states import FINAL
from customers.observed import account_list
from customers.observed import accounts as observed_accounts
from customers.operations import executor
from portal import providers
from portal.commands import Command
from portal.providers import ProviderError
from portal.refusals import Refusal
from tests.customers.keys import account_with_keys, connection_with_keys
from tests.providers.samples import ACCOUNTS, CATALOG, CREDITS, OFFERINGS, OVERVIEW, STATE
from tests.providers.support import Canned
from tests.providers.test_mutations import changed, paths
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory

ODD: list[Any] = [
    None, True, -1, 0.5, 2**31 - 1, 2**31, 10**9, 10**12, 10**13, 2**63 - 1, 2**63, 10**30, 1e308, 99.9999999,
    "", " ", "\x00", "a\x00b", "\ud800", "x" * 101, "x" * 300, "x" * 10_000, "\U0001f600" * 300, "9" * 400,
    "9223372036854775808", "999999999999", "1e309", "a@" + "b" * 300 + ".example",
    "0001-01-01", "9999-12-31", "2000-01-01", "2199-12-31", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
    "2000-01-01T00:00:00+23:59", "2199-12-31T23:59:59-23:59", "2026-02-30T00:00:00Z",
    [], {}, [None], {"": None}, {"\x00": "\ud800"},
]  # fmt: skip
TRIES = int(os.environ.get("DAMAGED_ANSWERS", "15"))  # of each answer; 0 = every value at every place
GOOD, BAD = "sg-good", "sg-bad"
CHILD, OTHER = str(uuid.UUID(int=7)), str(uuid.UUID(int=8))


def _child(account_id: str) -> dict[str, Any]:
    return {
        "id": account_id, "name": "Larkfield", "website": "larkfield.example", "status": "active",
        "monthly_credit": 5_000, "created_at": "2026-03-02T08:15:00Z", "domain_count": 2, "member_count": 3,
        "last_activity_at": "2026-03-02T08:15:00Z",
    }  # fmt: skip


def _share(**more: Any) -> dict[str, Any]:
    return {"reception_count": 5, "allocated_cost": 1.25, "name": "Larkfield", **more}


KEY = {
    "id": str(uuid.UUID(int=9)), "label": "web shop", "scopes": [{"scope": "messages:send:all"}],
    "ip_allow_list": ["203.0.113.0/24"], "public_key": "pk", "created_at": "2026-03-02T08:15:00Z",
    "updated_at": "2026-03-02T08:15:00Z", "last_used_at": "2026-03-02T08:15:00Z",
}  # fmt: skip
DOMAIN = {
    "domain": "mail.larkfield.example", "dns_valid": True, "last_dns_check_at": "2026-03-02T08:15:00Z",
    "created_at": "2026-03-02T08:15:00Z",
    "dns_records": [{"type": "TXT", "host": "a", "content": "b", "propagated": True}],
}  # fmt: skip
PAGES = {"has_more": False, "next_cursor": ""}
POOL = {
    "billing_period": {"start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z"}, "currency": "eur",
    "allocation_method": "proportional", "allocation_note": "n", "parent": _share(), "removed_sub_accounts": _share(),
    "total": _share(reception_count=20, allocated_cost=5),
    "sub_accounts": [_share(account_id=CHILD), _share(account_id=OTHER)],
}  # fmt: skip
LISTED = ACCOUNTS | {"accounts": [ACCOUNTS["accounts"][0] | {"id": each} for each in (BAD, GOOD)]}  # type: ignore[index, operator]


@dataclass
class Answers:
    """What the provider answers next, by the end of the path, where `requests` would open a connection."""

    said: dict[str, Any]

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        path = str(request.path_url).split("?", maxsplit=1)[0]
        body = next((body for end, body in self.said.items() if path.endswith(end)), {})
        status = 400 if "errors" in body else 201 if path.endswith("/accounts") and request.method == "POST" else 200
        return Canned.response(status, json.dumps(body).encode())


def _connect(connection: Connection) -> providers.Provider:
    config = replace(connection_client.config_of(connection), repeat_reads=False)
    return providers.client(config, on_exchange=connection_client._note)


def _scan(account: Account) -> None:
    scan, _ = account_list.begin_scan(connection=account.connection, kind="asked", slot="now", now=timezone.now())
    scan = account_list.read_account_list(scan, _connect(account.connection))
    assert scan.state != Scan.State.RUNNING
    if scan.state == Scan.State.COMPLETE:
        met = RemoteAccount.objects.filter(connection=account.connection, last_seen_at__isnull=False)
        assert scan.seen == met.count()
    else:
        assert scan.message


def _read(account: Account) -> None:
    observed_accounts.read_account(account=account, now=timezone.now(), provider=_connect(account.connection))


def _learn(account: Account) -> None:
    Account.objects.filter(pk=account.pk).update(v2_username="")
    account.refresh_from_db()
    _read(account)


def _catalogue(account: Account) -> None:
    with suppress(Refusal):
        catalogue.refresh_catalogue(Command(None, timezone.now()), connection=account.connection)


def _sync(account: Account) -> None:
    now = timezone.now()
    run, _ = runs.start_run(
        connection=account.connection, kind="asked", slot=uuid.uuid4().hex, now=now, until=now + timedelta(hours=1)
    )
    usage_sync.sync_chunk(run.pk, connect=_connect, gap=timedelta())
    items = SyncItem.objects.filter(run=run)
    assert not items.filter(cause=failure_reasons.BUG).exists()
    run.refresh_from_db()
    assert run.state != SyncRun.State.RUNNING or items.exclude(tries=0).exists()


def _keys(account: Account) -> None:
    observed_accounts.read_keys(account=account, now=timezone.now(), provider=_connect(account.connection))


def _domains(account: Account) -> None:
    domains = _connect(account.connection).sending(account.ref, "aha-sk-" + "x" * 64).domains()
    observed_accounts.record_domains(account_id=account.pk, domains=domains, now=timezone.now())


def _operation(kind: str) -> Callable[[Account], None]:
    def perform(account: Account) -> None:
        if kind == "create":
            account = AccountFactory(connection=account.connection, pending=True)
        operation = OperationFactory(kind=kind, account=account)
        executor.perform(operation.pk, connect=_connect)
        operation.refresh_from_db()
        assert operation.state in {*FINAL, "unknown", "needs_attention", "queued"}, operation.state
        assert not operation.error_kind.startswith("bug"), operation.summary
        if kind == "delete":
            store_final_readings()
            list(UsageSnapshot.objects.values_list("allocated_cost"))

    return perform


@dataclass(frozen=True)
class Case:
    kind: str
    end: str
    body: Any
    act: Callable[[Account], None]
    more: dict[str, Any]


IDENTITY = {"email": "ops@northwind.example", "username": "ops", "company": "Northwind"}
SG = {"/state": STATE, "/offerings": OFFERINGS, "/email": IDENTITY, "/username": IDENTITY, "/credits": CREDITS}
REFUSAL = {"errors": [{"message": "no", "field": "f", "error_id": "1"}]}
CHILDREN = {"data": [_child(CHILD), _child(OTHER)], "pagination": PAGES}
CASES: dict[str, Case] = {
    "sendgrid list": Case("sendgrid", "/accounts", LISTED, _scan, {}),
    "sendgrid state": Case("sendgrid", "/state", STATE, _read, SG),
    "sendgrid offerings": Case("sendgrid", "/offerings", OFFERINGS, _read, SG),
    "sendgrid identity": Case("sendgrid", "/username", IDENTITY, _learn, SG),
    "sendgrid catalogue": Case("sendgrid", "/offerings", CATALOG, _catalogue, {}),
    "sendgrid credits": Case("sendgrid", "/credits", CREDITS, _sync, {}),
    "sendgrid overview": Case("sendgrid overview_json", "/reseller.account.json", OVERVIEW, _sync, {}),
    "sendgrid create": Case("sendgrid", "/accounts", {"account_id": "sg-new"}, _operation("create"), SG),
    "sendgrid refusal": Case("sendgrid", "/accounts", REFUSAL, _operation("create"), SG),
    "sendgrid delete": Case("sendgrid", "/credits", CREDITS, _operation("delete"), SG),
    "sendgrid suspend": Case("sendgrid", "/state", STATE, _operation("suspend"), SG),
    "ahasend list": Case("ahasend", "/sub-accounts", CHILDREN, _scan, {}),
    "ahasend account": Case("ahasend", CHILD, _child(CHILD), _read, {}),
    "ahasend usage": Case("ahasend", "/usage", POOL, _sync, {}),
    "ahasend keys": Case("ahasend", "/api-keys", {"data": [KEY], "pagination": PAGES}, _keys, {}),
    "ahasend domains": Case("ahasend", "/domains", {"data": [DOMAIN], "pagination": PAGES}, _domains, {}),
    "ahasend delete": Case("ahasend", "/usage", POOL, _operation("delete"), {CHILD: _child(CHILD)}),
    "ahasend suspend": Case("ahasend", CHILD, _child(CHILD), _operation("suspend"), {}),
}  # fmt: skip


def _account(kind: str) -> Account:
    if kind == "ahasend":
        children = connection_with_keys(usage_source="pooled", requests_per_minute=60_000)
        return account_with_keys(children, provider_id=CHILD)
    connection = ConnectionFactory(usage_source=kind.partition(" ")[2] or "credits", requests_per_minute=60_000)
    AccountFactory(connection=connection, provider_id=GOOD, v2_username="good")
    account: Account = AccountFactory(connection=connection, provider_id=BAD, v2_username="bad")
    return account


# What was seen to end as an exception, on PostgreSQL or when it was read again.
KNOWN: dict[str, list[tuple[tuple[Any, ...], Any]]] = {
    "sendgrid list": [(("accounts", 0, "id"), "x" * 101)],
    "sendgrid offerings": [(("offerings", 0, "name"), "x" * 201)],
    "sendgrid catalogue": [(("catalog", 0, "offering", at), "x" * 201) for at in ("name", "type")],
    "sendgrid credits": [(("next_reset",), "2199-12-31")],
    "sendgrid delete": [(("next_reset",), "2199-12-31")],
    "ahasend list": [(("data", 0, at), "x" * 256) for at in ("name", "website")],
    "ahasend account": [((at,), 2**31) for at in ("domain_count", "member_count")],
    "ahasend delete": [(("sub_accounts", 0, "allocated_cost"), amount) for amount in (10**9, 10**12)],
}


def _damaged(case: Case) -> Iterator[tuple[tuple[Any, ...], Any]]:
    every = [(at, odd) for at in paths(case.body) if at for odd in ODD]
    yield from every if not TRIES else random.Random("seed").sample(every, min(TRIES, len(every)))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.sample(6)
@pytest.mark.long
def test_no_value_ends_as_an_exception(db: None, name: str) -> None:
    case = CASES[name]
    account = _account(case.kind)
    broken: dict[str, str] = {}
    for at, odd in [((), None), *KNOWN.get(name, []), *_damaged(case)]:
        answers = Answers({case.end: changed(case.body, at, odd) if at else case.body} | {
            end: body for end, body in case.more.items() if end != case.end
        })  # fmt: skip
        try:
            with transaction.atomic(), patch.object(HTTPAdapter, "send", answers.send):
                connection_client._clients.clear()
                with transaction.atomic():
                    case.act(Account.objects.select_related("connection", "customer").get(pk=account.pk))
                transaction.set_rollback(True)
        except ProviderError:
            continue
        except (DatabaseError, ArithmeticError, ValueError, TypeError, LookupError, AssertionError) as error:
            broken.setdefault(f"{type(error).__name__} {str(error).splitlines()[:1]}", f"{at} = {odd!r:.80}")
    assert not broken, "\n".join(f"{error} at {where}" for error, where in broken.items())
