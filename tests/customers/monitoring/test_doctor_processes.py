"""`manage.py doctor` on a real deployment: nothing to say about a healthy one, and each planted fault found and its fix
named. PostgreSQL, Redis, sandbox, and mail server are real; each fault is planted in them, in rows, files, or settings.
"""

from __future__ import annotations

import base64
import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from tests.journeys.processes import ROOT, Installation, until
from tests.support.postgres import Postgres, free_port
from tests.support.redis import Redis
from tests.support.sandbox import KEY, SandboxProcess

pytestmark = [
    pytest.mark.processes, pytest.mark.postgres, pytest.mark.redis, pytest.mark.long, pytest.mark.xdist_group("doctor")
]  # fmt: skip
OLD_KEY = "old:" + base64.b64encode(b"an-older-key-of-32-bytes-in-all!").decode()

HEALTHY = """
from django.utils import timezone
from customers.models import Heartbeat
from portal.access.models import User
from portal.installation.models import Backup
from portal.queue_settings import NAMES
User.objects.create_user("ada@example.com", name="Ada", role="admin")
now = timezone.now() + timezone.timedelta(days=1)
Backup.objects.create(name="good", started_at=now, finished_at=now)
Heartbeat.objects.create(kind="scheduler", name="scheduler", started_at=now, seen_at=now)
for name in NAMES:
    Heartbeat.objects.create(
        kind="worker", name=name, instance=name, queues=[name], processes=2, started_at=now, seen_at=now
    )
"""
EXAMINE = """
import json, time_machine
from dataclasses import asdict
from unittest import mock
from django.conf import settings
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone
from customers.models import Connection, Heartbeat
from customers.monitoring.doctor.table import examine
from portal.access.models import User

def say():
    print(json.dumps([asdict(each) for each in examine()]))

def undone(change):
    with transaction.atomic():
        change()
        say()
        transaction.set_rollback(True)

def sql(text, values=None):
    with connection.cursor() as cursor:
        cursor.execute(text, values)

def other_key(key, **columns):
    link = Connection.objects.get()
    link.seal("api_key_sealed", key)
    Connection.objects.update(api_key_sealed=link.api_key_sealed, **columns)
"""


class Mail(socketserver.StreamRequestHandler):
    """A mail server that takes everything and keeps the last message."""

    def handle(self) -> None:
        self.wfile.write(b"220 ready\r\n")
        while line := self.rfile.readline().strip().upper():
            if line == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                body = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.messages.append(body.decode())  # type: ignore[attr-defined]
            self.wfile.write(b"221 bye\r\n" if line == b"QUIT" else b"250 ok\r\n")


class MailServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Mail)
        self.messages: list[str] = []


class Deployment:
    """A deployment in production settings, and what it stands on."""

    def __init__(
        self, folder: Path, postgres: Postgres, broker: Redis, sandbox: SandboxProcess, mail: MailServer
    ) -> None:
        self.postgres, self.redis, self.sandbox, self.mail = postgres, broker, sandbox, mail
        self.env_file = folder / "env"
        self.env_file.touch(mode=0o600)
        self.portal = Installation(
            folder, sandbox, PORTAL_ENV="production", PORTAL_ENV_FILE=str(self.env_file),
            ALLOWED_HOSTS="portal.example.com", CSRF_TRUSTED_ORIGINS="https://portal.example.com",
            DATABASE_URL=postgres.url, REDIS_URL=broker.url, EMAIL_URL=f"smtp://127.0.0.1:{mail.server_address[1]}",
            DEFAULT_FROM_EMAIL="portal@example.com", BEHIND_TLS_PROXY="1", TRUSTED_PROXIES="1",
            STATIC_ROOT=str(folder / "static"),
        )  # fmt: skip

    def prepare(self) -> None:
        self.portal.folder.chmod(0o700)
        self.portal.manage("migrate", "-v", "0", PORTAL_STATEMENT_SECONDS="0")
        self.portal.manage("collectstatic", "--noinput", "-v", "0")
        connect = ("connect", "sendgrid", "--name", "SendGrid", "--base-url", self.sandbox.base_url)
        self.portal.manage(*connect, PORTAL_API_KEY=KEY, PORTAL_ENV="development")  # production refuses a simulator
        self.portal.python(HEALTHY)

    def found(self, code: str = "say()") -> list[dict[str, str]]:
        rows: list[dict[str, str]] = json.loads(self.portal.python(f"{EXAMINE}\n{code}"))
        return rows

    def tell_postgres(self, change: str, name: str, expected: str) -> None:
        """Change a setting of the server, and wait until new connections have it."""
        with psycopg.connect(self.postgres.url, autocommit=True) as link:
            link.execute(f"ALTER SYSTEM {change}")
            link.execute("SELECT pg_reload_conf()")
        until(lambda: self._setting(name) == expected, what=f"{name} = {expected}", every=0.02)

    def _setting(self, name: str) -> str:
        with psycopg.connect(self.postgres.url) as link:
            (value,) = link.execute(f"SHOW {name}").fetchone() or ("",)
        return str(value)

    def doctor(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", "doctor", *arguments],
            cwd=ROOT, env={**self.portal.env, **env}, capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("doctor")
    with ExitStack() as stack:
        postgres, broker = Postgres(durable=True), Redis(persistent=True)
        for server in (postgres, broker):
            stack.callback(server.remove)
            server.start()
        sandbox = stack.enter_context(SandboxProcess(data=folder / "sandbox.sqlite3"))
        mail = stack.enter_context(MailServer())
        stack.callback(mail.shutdown)
        threading.Thread(target=mail.serve_forever, daemon=True).start()
        one = Deployment(folder, postgres, broker, sandbox, mail)
        stack.callback(one.portal.end_all)
        one.prepare()
        yield one


# --- Faults: what is planted, by which means, what is found, and what the fix names -----------------------------------

SETTINGS = [
    ("PRODUCTION=False", "portal.W001", "PORTAL_ENV=production"),
    ("EMAIL_BACKEND='django.core.mail.backends.console.EmailBackend'", "portal.W003", "EMAIL_URL"),
    ("SECURE_PROXY_SSL_HEADER=None", "portal.W004", "BEHIND_TLS_PROXY=1"),
    ("TRUSTED_PROXIES=0", "portal.W005", "TRUSTED_PROXIES"),
    ("LOOPBACK_ONLY=True", "portal.W006", "LOOPBACK_ONLY"),
    ("AUDIT_KEY='short'", "portal.E002", "token_urlsafe"),
    ("PORTAL_URL='https://other.example.com'", "settings.portal_url", "PORTAL_URL"),
    ("PORTAL_URL='http://portal.example.com'", "settings.portal_url_tls", "https://"),
    ("CSRF_TRUSTED_ORIGINS=['https://evil.example.com']", "settings.csrf_origins", "CSRF_TRUSTED_ORIGINS"),
    ("DEFAULT_FROM_EMAIL='portal@localhost'", "mail.sender", "DEFAULT_FROM_EMAIL"),
    (f"EMAIL_PORT={free_port()}", "mail.unreachable", "EMAIL_URL"),
    (f"REDIS_URL='redis://127.0.0.1:{free_port()}/0'", "redis.unreachable", "REDIS_URL"),
    (f"FIELD_KEYS=settings.FIELD_KEYS + ',{OLD_KEY}'", "keys.unused", "FIELD_KEYS"),
    (f"FIELD_KEYS='{OLD_KEY},' + settings.FIELD_KEYS", "keys.older", "rotate_field_keys"),
    (f"FIELD_KEYS='{OLD_KEY}'", "keys.unreadable", "FIELD_KEYS"),
    ("STATIC_ROOT=settings.DATA_DIR / 'none'", "portal.E005", "collectstatic"),
]  # fmt: skip
DURABILITY = ("fsync", "synchronous_commit", "full_page_writes", "autovacuum")
REDIS = [
    ({"maxmemory": 10**9, "maxmemory-policy": "allkeys-lru"}, "redis.eviction", "noeviction"),
    ({"maxmemory": 1_200_000}, "redis.memory", "maxmemory"),
    ({"appendonly": "no"}, "redis.persistence", "appendonly yes"),
]
GOOD_REDIS = {"maxmemory": 0, "maxmemory-policy": "noeviction", "appendonly": "yes"}
# Changes inside a transaction that is undone.
ROWS = [
    ("Heartbeat.objects.filter(kind='scheduler').delete()", "processes.scheduler", "celery -A portal beat"),
    ("Heartbeat.objects.filter(name='sync').delete()", "processes.queue_sync", "-Q sync"),
    ("Heartbeat.objects.filter(name='sync').update(name='ops')", "processes.same_name", "-n"),
    ("Heartbeat.objects.filter(name='ops').update(processes=9000)", "database.max_connections", "max_connections = "),
    ("User.objects.update(is_active=False)", "team.no_admin", "create_admin"),
    ("sql('DELETE FROM django_migrations WHERE app = %s', ['notices'])", "database.migrations", "manage.py migrate"),
    ("sql('SET LOCAL statement_timeout = 0')", "database.statement_timeout", "PORTAL_STATEMENT_SECONDS"),
    ("Connection.objects.update(paused='person')", "providers.paused", "resume"),
    ("Connection.objects.update(requests_per_minute=6000)", "providers.quota", "600"),
    ("Connection.objects.update(base_url='http://127.0.0.1:9')", "providers.account_list", "http://127.0.0.1:9"),
    ("other_key('SG.aaaaaaaaaaaaaaaaaaaaaa.bbbbbb')", "providers.account_list", "Replace the key"),
    ("other_key({unscoped!r}, kind='ahasend', account_id={account!r})", "providers.scope", "sub-accounts:suspend"),
]
MACHINE = [
    ("clock.database", "time_machine.travel(timezone.now() + timezone.timedelta(seconds=60))", "set-ntp"),
    ("files.disk", "mock.patch('shutil.disk_usage', return_value=mock.Mock(free=10**7, total=10**12))", "Free space"),
]


def _expect(found: list[dict[str, str]], code: str, fix: str) -> None:
    assert code in {each["code"] for each in found}, found
    assert fix in next(each["fix"] for each in found if each["code"] == code)


def test_a_healthy_deployment_has_no_finding(deployment: Deployment) -> None:
    assert deployment.found() == []
    done = deployment.doctor("--mail", "ada@example.com")
    assert (done.returncode, done.stdout) == (0, "0 findings.\n"), done.stderr[-2000:]
    assert "To: ada@example.com" in deployment.mail.messages[-1]


@pytest.mark.parametrize(("change", "code", "fix"), SETTINGS, ids=[row[1] for row in SETTINGS])
def test_a_wrong_setting_is_found(deployment: Deployment, change: str, code: str, fix: str) -> None:
    _expect(deployment.found(f"with override_settings({change}): say()"), code, fix)


@pytest.mark.parametrize("name", DURABILITY)
def test_a_database_that_may_forget_is_found(deployment: Deployment, name: str) -> None:
    deployment.tell_postgres(f"SET {name} = off", name, "off")
    try:
        _expect(deployment.found(), f"database.{name}", f"ALTER SYSTEM SET {name} = on")
    finally:
        deployment.tell_postgres(f"RESET {name}", name, "on")


@pytest.mark.parametrize(("change", "code", "fix"), REDIS, ids=[row[1] for row in REDIS])
def test_a_redis_that_may_lose_messages_is_found(
    deployment: Deployment, change: dict[str, Any], code: str, fix: str
) -> None:
    with redis.Redis.from_url(deployment.redis.url) as client:
        for name, value in change.items():
            client.config_set(name, value)
        try:
            _expect(deployment.found(), code, fix)
        finally:
            for name, value in GOOD_REDIS.items():
                client.config_set(name, value)


@pytest.mark.parametrize(("change", "code", "fix"), ROWS, ids=[row[1] for row in ROWS])
def test_rows_that_show_a_fault_are_found(deployment: Deployment, change: str, code: str, fix: str) -> None:
    if "{unscoped" in change:
        account = deployment.sandbox.ahasend_account
        key = deployment.sandbox.admin.aha.add_key(account, missing_scopes=["sub-accounts:suspend"])
        change = change.format(unscoped=key, account=account)
    _expect(deployment.found(f"undone(lambda: {change})"), code, fix)


@pytest.mark.parametrize(("code", "change", "fix"), MACHINE, ids=[row[0] for row in MACHINE])
def test_a_fault_of_the_machine_is_found(deployment: Deployment, code: str, change: str, fix: str) -> None:
    _expect(deployment.found(f"with {change}: say()"), code, fix)


def test_files_that_others_can_read_are_found(deployment: Deployment) -> None:
    deployment.env_file.chmod(0o644)
    deployment.portal.folder.chmod(0o755)
    try:
        found = deployment.found()
    finally:
        deployment.env_file.chmod(0o600)
        deployment.portal.folder.chmod(0o700)
    _expect(found, "portal.W007", f"chmod 600 {deployment.env_file}")
    _expect(found, "files.data_dir", f"chmod 700 {deployment.portal.folder}")
    assert len(found) == 2


@pytest.mark.long
def test_the_command_says_what_why_and_how_to_fix_it(deployment: Deployment) -> None:
    done = deployment.doctor(DEFAULT_FROM_EMAIL="portal@localhost")
    assert done.returncode == 1, done.stderr[-2000:]
    first, why, fix, last = done.stdout.splitlines()
    assert first == "WARNING mail.sender: Emails are sent from portal@localhost."
    assert why.startswith("  Why: ")
    assert fix == "  Fix: Set DEFAULT_FROM_EMAIL to an address of your domain."
    assert last == "1 findings."
    nowhere = f"postgres://portal@127.0.0.1:{free_port()}/portal"
    done = deployment.doctor("--json", DATABASE_URL=nowhere, TRUSTED_PROXIES="0")
    assert done.returncode == 2, done.stderr[-2000:]
    assert [each["code"] for each in json.loads(done.stdout)] == ["database.unreachable", "portal.W005"]
