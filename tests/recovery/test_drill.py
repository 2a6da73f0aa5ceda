"""A restore as it happens: real processes, a provider that keeps what the rows forget, an empty Redis."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import connection as database

from tests.journeys.processes import Installation, until
from tests.support.redis import Redis
from tests.support.sandbox import SandboxProcess

pytestmark = [pytest.mark.processes, pytest.mark.long]
SQLITE = database.vendor == "sqlite"
SETUP = """
from customers.connections import commands, catalogue
from customers.models import Connection, Customer
from portal.access.models import User
from portal.commands import Command
import os
User.objects.create_user(email="admin@postkeeper.example", name="Admin", role="admin")
connection = commands.add_connection(Command(None), api_key=os.environ["SANDBOX_SENDGRID_KEY"],
    facts={"name": "SendGrid", "kind": "sendgrid", "base_url": os.environ["SANDBOX_URL"]})
Connection.objects.filter(pk=connection.pk).update(probe_available=True)
catalogue.refresh_catalogue(Command(None), connection=connection)
"""
REQUEST = """
from customers.models import Connection, Customer
from customers.operations.commands import request_create
from portal.access.models import User
from portal.commands import Command
from portal.providers import Profile, ProviderOffering
for n in range({first}, {last}):
    email = f"ops-{{n}}@northwind.example"
    request_create(Command(User.objects.get(), token=f"drill-{{n}}"),
        customer=Customer.objects.create(company_name=f"Northwind {{n}}", email=email),
        connection=Connection.objects.get(), profile=Profile(email=email), is_test=False,
        offerings=[ProviderOffering("postkeeper.ei.pro-100k.v1", "package", 1)])
"""
STATES = """
from django.db.models import Count
from customers.models import Operation
print(dict(Operation.objects.order_by().values_list("state").annotate(n=Count("pk"))))
"""
HELD = """
from customers.recovery.queries import connections_on_hold
[held] = connections_on_hold()["held"]
print(held.is_scanned, held.created_count, held.operations["searched"], held.accounts)
"""
RELEASE = """
from customers.models import Recovery
from customers.recovery.commands import release_connection
from portal.access.models import User
from portal.clock import database_now
from portal.commands import Command
release_connection(Command(User.objects.get(), database_now()), recovery=Recovery.objects.get(released_at=None))
"""


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[list[str]]:
    """Two empty databases of the run's engine."""
    if SQLITE:
        yield [f"sqlite:///{tmp_path / name / 'portal.sqlite3'}" for name in ("first", "second")]
        return
    with ExitStack() as stack:
        urls = []
        server = stack.enter_context(psycopg.connect(os.environ["DATABASE_URL"], autocommit=True))
        for name in (f"drill_{os.getpid()}_1", f"drill_{os.getpid()}_2"):
            server.execute(f'CREATE DATABASE "{name}"'.encode())
            stack.callback(server.execute, f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
            urls.append(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl())
        yield urls


@pytest.fixture
def brokers() -> Iterator[list[dict[str, str]]]:
    """What names the broker of the first machine and of the second, which has never seen a message."""
    if SQLITE:
        yield [{}, {}]
        return
    with ExitStack() as stack:
        found = []
        for server in (Redis(), Redis()):
            server.start()
            stack.callback(server.remove)
            found.append({"REDIS_URL": server.url})
        yield found


def test_of_20_accounts_since_the_backup_none_is_lost_or_doubled(
    tmp_path: Path, databases: list[str], brokers: list[dict[str, str]]
) -> None:
    """Ten of them were queued when the backup was made, ten were requested later."""
    with SandboxProcess(data=tmp_path / "sandbox.sqlite3") as sandbox, ExitStack() as stack:
        first = Installation(tmp_path / "first", sandbox, DATABASE_URL=databases[0], **brokers[0])
        stack.callback(first.end_all)
        first.folder.mkdir()
        first.manage("migrate", "-v", "0")
        first.manage("createcachetable")
        identity = tmp_path / "identity.txt"
        recipients = first.manage("make_backup_identity", str(identity)).strip().removeprefix("BACKUP_RECIPIENTS=")
        first.python(SETUP)
        first.python(REQUEST.format(first=0, last=3))
        worker = first.start_worker()
        first.start_beat()
        until(lambda: first.python(STATES) == "{'succeeded': 3}", what="three accounts")
        first.end(worker)
        first.python(REQUEST.format(first=3, last=13))
        folder = Path(first.manage("backup", BACKUP_RECIPIENTS=recipients).partition(":")[0])
        worker = first.start_worker()
        first.python(REQUEST.format(first=13, last=23))
        until(lambda: first.python(STATES) == "{'succeeded': 23}", what="twenty accounts since the backup")
        first.end_all()
        assert len(sandbox.admin.accounts()) == 23
        sandbox.admin.clear_requests()

        keys = {name: first.env[name] for name in ("SECRET_KEY", "FIELD_KEYS", "AUDIT_KEY")}
        second = Installation(tmp_path / "second", sandbox, DATABASE_URL=databases[1], **brokers[1], **keys)
        stack.callback(second.end_all)
        second.folder.mkdir()
        said = second.manage("restore", str(folder), "--identity", str(identity))
        assert "On hold: 1 connections" in said
        second.manage("migrate", "-v", "0")
        second.start_worker()
        second.start_beat()
        until(lambda: second.python(HELD) == "True 20 10 3", what="the twenty accounts on the page Recovery")
        assert not [each for each in sandbox.admin.requests() if each["method"] != "GET"], "nothing is sent on hold"
        second.python(RELEASE)
        until(lambda: second.python(STATES) == "{'succeeded': 13}", what="the ten queued creates to be found")
        assert len(sandbox.admin.accounts()) == 23, "none is made twice"
        unlinked = "from customers.models import RemoteAccount; print(RemoteAccount.objects.orphans().count())"
        assert second.python(unlinked) == "10", "the ten that the rows never knew"
        assert "All 21 integrity checks passed." in second.manage("check_invariants")
        emails = {each["email"] for each in sandbox.admin.accounts()}
        assert len(emails) == 23
