"""Production: the deployment checks are clean, and a wrong setting stops the start with a sentence that names it."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import select
import socket
import socketserver
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.staticfiles.finders import get_finder
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import OperationalError, ProgrammingError, connection
from pytest_django import Settings

from manage import hint_for
from portal import checks, env_file
from portal.database_settings import refuse_unverified_tls
from portal.secret_files import UNUSED
from tests.env import KEYS
from tests.journeys.processes import Installation
from tests.support.postgres import Postgres, free_port
from tests.support.sandbox import SandboxProcess

pytestmark = pytest.mark.processes
ROOT = Path(__file__).resolve().parents[2]
PRODUCTION = {
    "PATH": "/usr/bin:/bin",
    "PORTAL_ENV_FILE": "",
    "DATA_DIR": os.environ["DATA_DIR"],
    "SECRET_KEY": "made-up-for-this-test-0123456789-abcdefghijklmnopqrstuvwxyz-!",
    "FIELD_KEYS": "k1:" + base64.b64encode(bytes(range(32))).decode(),
    "AUDIT_KEY": "made-up-audit-key-of-this-test-0123456789",
    "ALLOWED_HOSTS": "portal.example.com",
    "CSRF_TRUSTED_ORIGINS": "https://portal.example.com",
    "DATABASE_URL": "postgres://portal:made-up@db.example.com/portal?sslmode=verify-full",
    "REDIS_URL": "redis://:made-up@redis.example.com:6379/0",
    "EMAIL_URL": "smtp+tls://portal:made-up@smtp.example.com:587",
    "BEHIND_TLS_PROXY": "1",
    "TRUSTED_PROXIES": "1",
}


def _run(*arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=dict(env), capture_output=True, text=True, check=False
    )


def test_the_deployment_checks_are_clean_in_production(tmp_path: Path) -> None:
    """But for the static files, which nobody has collected here."""
    check = ("manage.py", "check", "--deploy", "--fail-level", "WARNING")
    done = _run(*check, env={**PRODUCTION, "STATIC_ROOT": str(tmp_path)})
    assert done.returncode == 1
    assert "1 issue (1 silenced)" in done.stderr, done.stderr[-4000:]
    assert "(portal.E005) The static files are not collected" in done.stderr


def test_a_refusal_is_a_sentence_without_a_traceback() -> None:
    done = _run("manage.py", "migrate", env={**PRODUCTION, "SECRET_KEY": ""})
    assert done.returncode == 1
    assert done.stderr.startswith("SECRET_KEY is not set")
    assert "Traceback" in _run("manage.py", "migrate", "--traceback", env={**PRODUCTION, "SECRET_KEY": ""}).stderr


ASK = "from django.db import connection; connection.cursor().execute('SELECT 1 FROM absent')"


@pytest.mark.long
def test_no_connection_is_a_sentence_about_its_setting() -> None:
    url = f"postgres://portal@127.0.0.1:{free_port()}/portal"
    done = _run("manage.py", "shell", "-c", ASK, env={**PRODUCTION, "DATABASE_URL": url})
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert done.stderr.endswith("\nCheck DATABASE_URL.\n"), done.stderr[-2000:]


@pytest.mark.postgres
@pytest.mark.long
def test_a_missing_table_is_a_sentence_about_migrate(postgres_server: Postgres) -> None:
    done = _run("manage.py", "shell", "-c", ASK, env={**PRODUCTION, "DATABASE_URL": postgres_server.url})
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert done.stderr.endswith("\nRun: python manage.py migrate\n"), done.stderr[-2000:]


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (psycopg.errors.QueryCanceled("canceled"), "PORTAL_STATEMENT_SECONDS"),
        (psycopg.errors.UndefinedTable("no table"), "migrate"),
        (psycopg.errors.UndefinedColumn("no column"), ""),
        (psycopg.errors.DeadlockDetected("deadlock"), ""),
        (psycopg.ProgrammingError("the driver's own"), ""),
        (psycopg.OperationalError("refused"), "DATABASE_URL"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_hint_fits_the_error_of_postgresql(cause: psycopg.Error, expected: str) -> None:
    error = (ProgrammingError if isinstance(cause, psycopg.ProgrammingError) else OperationalError)(str(cause))
    error.__cause__ = cause
    assert set(re.findall("PORTAL_STATEMENT_SECONDS|migrate|DATABASE_URL", hint_for(error))) == {expected} - {""}


@pytest.mark.parametrize(
    ("file", "statement", "expected"),
    [
        ("/proc/portal.sqlite3", "", "Check DATABASE_URL."),
        (":memory:", "SELECT 1 FROM absent", "Run: python manage.py migrate"),
        (":memory:", "SELECT absent", ""),
    ],
)
def test_the_hint_fits_the_error_of_sqlite(file: str, statement: str, expected: str) -> None:
    with pytest.raises(sqlite3.OperationalError) as cause:
        sqlite3.connect(file).execute(statement)
    error = OperationalError(str(cause.value))
    error.__cause__ = cause.value
    assert hint_for(error) == expected


WRONG = [
    ({"SECRET_KEY": ""}, "SECRET_KEY is not set"),
    ({"FIELD_KEYS": ""}, "FIELD_KEYS is not set"),
    ({"AUDIT_KEY": ""}, "AUDIT_KEY is not set"),
    ({"ALLOWED_HOSTS": ""}, "ALLOWED_HOSTS is not set"),
    ({"ALLOWED_HOSTS": "*"}, 'ALLOWED_HOSTS contains "*"'),
    ({"DATABASE_URL": ""}, "DATABASE_URL is not set"),
    ({"REDIS_URL": ""}, "REDIS_URL is not set"),
    ({"PORTAL_ENV": "prod"}, 'PORTAL_ENV is "prod"'),
    ({"PORTAL_DEMO": "1"}, "PORTAL_DEMO is set"),
    ({"DEBUG": "1"}, "DEBUG is set"),
    ({"SYNC_ITEM_DAYS": "31"}, "SYNC_ITEM_DAYS is 31"),
    ({"SYNC_ITEM_DAYS": "a month"}, 'SYNC_ITEM_DAYS is "a month"'),
    ({"TRUSTED_PROXIES": "-1"}, 'TRUSTED_PROXIES is "-1"'),
    ({"SESSION_IDLE_SECONDS": "8h"}, 'SESSION_IDLE_SECONDS is "8h"'),
    ({"LOG_LEVEL": "LOUD"}, 'LOG_LEVEL is "LOUD"'),
    ({"ALLOWED_HOSTS": " , "}, "ALLOWED_HOSTS is not set"),
    ({"ALLOWED_HOSTS": "a.example, *"}, 'ALLOWED_HOSTS contains "*"'),
    ({"LOOPBACK_ONLY": "1", "WEB_BIND": "0.0.0.0:8000"}, 'LOOPBACK_ONLY is set while WEB_BIND is "0.0.0.0:8000"'),
    ({"LOOPBACK_ONLY": "1", "WEB_BIND": "unix:/run/portal"}, "LOOPBACK_ONLY is set while WEB_BIND"),
    ({"DATABASE_URL": "postgres://portal@db.example.com/portal"}, "DATABASE_URL has no sslmode"),
    ({"DATABASE_URL": "postgres://db.example.com/portal?sslmode=require"}, "DATABASE_URL has sslmode=require"),
    ({"DATABASE_URL": "postgres:///portal?host=db.example.com&sslmode=prefer"}, "DATABASE_URL has sslmode=prefer"),
    ({"DATA_DIR": "/proc/postkeeper"}, 'The folder "/proc/postkeeper" can\'t be created'),
]


@pytest.mark.parametrize(
    "url",
    [
        "postgres://portal@db.example.com/portal?sslmode=verify-full&sslrootcert=system",
        "postgres://portal@postgres:5432/portal?sslmode=disable",
        "postgres://portal@127.0.0.1/portal", "postgres://portal@localhost/portal",
        "postgres:///portal", "postgres://%2Frun%2Fpostgresql/portal", "postgres:///portal?host=/run/postgresql",
        "sqlite:////var/lib/portal.sqlite3",
    ],
)  # fmt: skip
def test_a_database_that_is_verified_or_near_is_accepted(url: str) -> None:
    refuse_unverified_tls(url)


@pytest.mark.parametrize(("change", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_a_wrong_setting_stops_the_start(change: dict[str, str], sentence: str) -> None:
    done = _run("-c", "import portal.settings", env={**PRODUCTION, **change})
    assert done.returncode != 0
    assert sentence in done.stderr.splitlines()[-1]


def _settings(names: str, **change: str) -> dict[str, Any]:
    script = (
        "import json; from portal import settings as s;"
        f"print(json.dumps({{name: getattr(s, name, None) for name in {names.split()}}}))"
    )
    done = _run("-c", script, env={**PRODUCTION, **change})
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_blanks_in_lists_are_removed() -> None:
    lists = {
        "ALLOWED_HOSTS": "portal.example.com, 192.0.2.7 ,",
        "CSRF_TRUSTED_ORIGINS": " https://portal.example.com, https://www.example.com",
        "SECRET_KEY_FALLBACKS": "an older one , an old one",
    }
    assert _settings(" ".join(lists), **lists) == {
        "ALLOWED_HOSTS": ["portal.example.com", "192.0.2.7"],
        "CSRF_TRUSTED_ORIGINS": ["https://portal.example.com", "https://www.example.com"],
        "SECRET_KEY_FALLBACKS": ["an older one", "an old one"],
    }


def test_hsts_preload_is_a_choice() -> None:
    names = "SECURE_HSTS_PRELOAD SILENCED_SYSTEM_CHECKS"
    assert _settings(names) == {"SECURE_HSTS_PRELOAD": False, "SILENCED_SYSTEM_CHECKS": ["security.W021"]}
    assert _settings(names, HSTS_PRELOAD="1") == {"SECURE_HSTS_PRELOAD": True, "SILENCED_SYSTEM_CHECKS": []}


def test_loopback_only_replaces_what_is_for_a_proxy_with_tls() -> None:
    names = (
        "ALLOWED_HOSTS CSRF_TRUSTED_ORIGINS PORTAL_URL TRUSTED_PROXIES SECURE_PROXY_SSL_HEADER SECURE_SSL_REDIRECT"
        " SESSION_COOKIE_SECURE CSRF_COOKIE_SECURE SECURE_HSTS_SECONDS DEBUG"
    )
    assert _settings(names, LOOPBACK_ONLY="1", PORTAL_URL="https://portal.example.com", WEB_BIND="[::1]:8001") == {
        "ALLOWED_HOSTS": ["localhost", "127.0.0.1", "[::1]"],
        "CSRF_TRUSTED_ORIGINS": [],
        "PORTAL_URL": "http://[::1]:8001",
        "TRUSTED_PROXIES": 0,
        "DEBUG": False,
    } | dict.fromkeys(names.split()[4:-1])


def test_a_folder_for_data_is_created(tmp_path: Path) -> None:
    _settings("DEBUG", DATA_DIR=str(tmp_path / "var" / "portal"))
    assert (tmp_path / "var" / "portal").stat().st_mode & 0o777 == 0o700


class TestEnvFile:
    @pytest.fixture
    def file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(os, "environ", {"PORTAL_ENV_FILE": str(tmp_path / "settings"), "GIVEN": "by the shell"})
        return tmp_path / "settings"

    def test_it_is_read_before_all_settings(self, tmp_path: Path) -> None:
        """By gunicorn's configuration and the health probe as well, which load no settings."""
        env = {"PATH": PRODUCTION["PATH"], "PORTAL_ENV_FILE": str(tmp_path / "env"), "LOG_LEVEL": "ERROR"}
        (tmp_path / "env").write_text(
            "".join(f"{name}={value}\n" for name, value in PRODUCTION.items() if name not in env)
            + "WEB_BIND=127.0.0.1:8123\nLOG_LEVEL=LOUD\n"
        )
        script = "from portal import gunicorn, settings as s; print(gunicorn.bind, *s.ALLOWED_HOSTS)"
        done = _run("-c", script, env=env)
        assert done.stdout.split() == ["127.0.0.1:8123", "portal.example.com"], done.stderr[-2000:]

    def test_what_a_line_may_be(self, file: Path) -> None:
        file.write_text(
            "\ufeff# A comment\r\n\n  ONE=a, b \r\nexport TWO='x # y'\nTHREE=\"it's\"\nFOUR=\nFIVE=p#q=$r\nGIVEN=no\n",
            encoding="utf-8",
        )
        env_file.load()
        assert {name: value for name, value in os.environ.items() if not name.startswith("P")} == {
            "GIVEN": "by the shell", "ONE": "a, b", "TWO": "x # y", "THREE": "it's", "FOUR": "", "FIVE": "p#q=$r",
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("line", "sentence"),
        [
            ("SECRET_KEY: abc", "Line 2 of {file} is not NAME=value."),
            ("SECRET KEY=abc", "Line 2 of {file} is not NAME=value."),
            ("abc", "Line 2 of {file} is not NAME=value."),
            ("X=\0", "Line 2 of {file} is not NAME=value."),
            ("X='abc", "The value of X in line 2 of {file} has a quote without its pair"),
            ("X='a'b'", "The value of X in line 2 of {file} has a quote without its pair"),
            ('X="abc" # why', "The value of X in line 2 of {file} has a quote without its pair, or a comment"),
            ("X=abc # why", "The value of X in line 2 of {file} has a quote without its pair, or a comment"),
            ("X= # why", "The value of X in line 2 of {file} has a quote without its pair, or a comment"),
            ("FIRST=2", "Line 2 of {file} sets FIRST a second time."),
        ],
    )
    def test_a_malformed_line_is_refused_with_its_number(self, file: Path, line: str, sentence: str) -> None:
        file.write_text(f"FIRST=1\n{line}\n")
        with pytest.raises(ImproperlyConfigured) as refused:
            env_file.load()
        assert sentence.format(file=file) in str(refused.value)
        assert "abc" not in str(refused.value), "the value may be a secret"
        assert "FIRST" not in os.environ

    def test_a_file_that_cannot_be_read_is_refused(self, file: Path) -> None:
        with pytest.raises(ImproperlyConfigured, match="settings can't be read: No such file"):
            env_file.load()
        file.write_bytes(b"X=\xff\n")
        with pytest.raises(ImproperlyConfigured, match="settings can't be read: It is not UTF-8 text"):
            env_file.load()

    def test_the_file_beside_manage_py_may_be_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "environ", {})
        monkeypatch.setattr(env_file, "BASE_DIR", tmp_path)
        env_file.load()
        (tmp_path / ".env").write_text("X=1\n")
        env_file.load()
        assert os.environ == {"X": "1"}
        monkeypatch.setattr(os, "environ", {"PORTAL_ENV_FILE": ""})
        env_file.load()
        assert os.environ == {"PORTAL_ENV_FILE": ""}

    @pytest.mark.parametrize(("mode", "expected"), [(0o600, set()), (0o640, set()), (0o604, {"portal.W007"})])
    def test_others_cannot_read_it(self, file: Path, mode: int, expected: set[str]) -> None:
        file.touch()
        file.chmod(mode)
        assert _ids(checks.env_file_is_private(None)) == expected

    def test_tests_read_none(self) -> None:
        """Nor do the processes that they start with an environment of their own."""
        ours = [os.environ, KEYS, PRODUCTION, Installation(Path(), SandboxProcess(), PORTAL_ENV="development").env]
        assert [env["PORTAL_ENV_FILE"] for env in ours] == [""] * 4


class TestStaticFiles:
    @pytest.fixture(autouse=True)
    def collected(self, tmp_path: Path, settings: Settings) -> Iterator[Path]:
        """One file, collected as in production."""
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "one.css").write_text("a {}")
        settings.STATICFILES_DIRS, settings.STATIC_ROOT = [tmp_path / "source"], tmp_path / "collected"
        settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
        storage = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
        settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": storage}}
        get_finder.cache_clear()
        yield tmp_path
        get_finder.cache_clear()

    @staticmethod
    def _collect() -> None:
        call_command("collectstatic", interactive=False, clear=True, verbosity=0)

    def test_they_are_collected(self) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"one.css is missing in .* Run: python manage.py collectstatic"):
            checks.refuse_without_static_files()
        self._collect()
        checks.refuse_without_static_files()

    def test_those_of_another_version_do_not_count(self, collected: Path) -> None:
        self._collect()
        (collected / "source" / "one.css").write_text("a { color: red }")
        assert _ids(checks.static_files_are_collected(None)) == {"portal.E005"}
        self._collect()
        assert checks.static_files_are_collected(None) == []
        (collected / "source" / "two.css").write_text("b {}")
        assert _ids(checks.static_files_are_collected(None)) == {"portal.E005"}

    @pytest.mark.parametrize("name", [".DS_Store", "one.css~", "CVS"])
    def test_what_collectstatic_ignores_does_not_count(self, collected: Path, name: str) -> None:
        (collected / "source" / name).write_text("x")
        self._collect()
        assert checks.static_files_are_collected(None) == []

    def test_of_two_files_with_one_name_the_first_counts(self, collected: Path, settings: Settings) -> None:
        (collected / "more").mkdir()
        (collected / "more" / "one.css").write_text("b {}")
        settings.STATICFILES_DIRS = [*settings.STATICFILES_DIRS, collected / "more"]
        get_finder.cache_clear()
        self._collect()
        assert checks.static_files_are_collected(None) == []


class WithoutOptions(socketserver.BaseRequestHandler):
    """What PgBouncer does with `ignore_startup_parameters = options`: the client's options reach no server."""

    def handle(self) -> None:
        client, port = self.request, self.server.port  # type: ignore[attr-defined]
        while int.from_bytes(client.recv(4, socket.MSG_PEEK), "big") == 8:  # asks for TLS or GSS
            client.recv(8)
            client.sendall(b"N")
        length = int.from_bytes(client.recv(4), "big")
        message = client.recv(length - 4, socket.MSG_WAITALL)
        parts = message[4:].rstrip(b"\0").split(b"\0")
        kept = [pair for pair in zip(parts[::2], parts[1::2], strict=True) if pair[0] != b"options"]
        body = message[:4] + b"".join(name + b"\0" + value + b"\0" for name, value in kept) + b"\0"
        with socket.create_connection(("127.0.0.1", port)) as server:
            server.sendall((len(body) + 4).to_bytes(4, "big") + body)
            both = {client: server, server: client}
            while ready := select.select(list(both), [], [], 30)[0]:
                for one in ready:
                    if not (data := one.recv(65536)):
                        return
                    both[one].sendall(data)


@pytest.mark.postgres
@pytest.mark.long
def test_a_pooler_that_drops_the_limits_is_refused(postgres_server: Postgres) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), WithoutOptions) as pooler:
        pooler.port, pooler.daemon_threads = postgres_server.port, True  # type: ignore[attr-defined]
        threading.Thread(target=pooler.serve_forever, daemon=True).start()
        through = f"postgres://portal@127.0.0.1:{pooler.server_address[1]}/postgres"
        script = (
            "import django; django.setup(); from django.db import connection as c\n"
            "for _ in range(2):\n    try: print(c.cursor().execute('SELECT 1').fetchone())\n"
            "    except Exception as e: print(type(e).__name__, e)"
        )
        env = {**PRODUCTION, "DJANGO_SETTINGS_MODULE": "portal.settings", "PORTAL_STATEMENT_SECONDS": "90"}
        done = _run("-c", script, env={**env, "DATABASE_URL": through})
        direct = _run("-c", script, env={**env, "DATABASE_URL": postgres_server.url})
        pooler.shutdown()
    assert direct.stdout.splitlines() == ["(1,)", "(1,)"], direct.stderr[-2000:]
    first, second = done.stdout.splitlines()
    lost = "statement_timeout, lock_timeout, idle_in_transaction_session_timeout"
    assert first.startswith(f"ImproperlyConfigured The database connection lost {lost}: what stands at DATABASE_URL")
    assert second == first, "nor does the next query use the connection"


def _is_open(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.postgres
def test_both_sides_notice_that_the_other_is_gone(postgres_server: Postgres) -> None:
    """Within 75 seconds: a lost machine keeps no locks, and a worker doesn't wait for a lost server."""
    options = _settings("DATABASES", DATABASE_URL=postgres_server.url)["DATABASES"]["default"]["OPTIONS"]
    names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_user_timeout")
    with psycopg.connect(postgres_server.url, **options) as one:
        assert [one.execute(f"SHOW {name}").fetchone() for name in names] == [("30",), ("5",), ("30000",)]
        with socket.socket(fileno=os.dup(one.fileno())) as ours:
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


@pytest.mark.long
def test_a_level_of_logs_may_be_written_small() -> None:
    script = "import logging, django; django.setup(); print(logging.getLogger().level)"
    done = _run("-c", script, env={**PRODUCTION, "DJANGO_SETTINGS_MODULE": "portal.settings", "LOG_LEVEL": "warning"})
    assert done.stdout.strip() == "30", done.stderr[-2000:]


def test_production_has_strong_hashing_and_safe_cookies() -> None:
    script = (
        "from portal import settings as s; print(s.PASSWORD_HASHERS[0].rpartition('.')[2], s.SESSION_COOKIE_NAME,"
        " s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_NAME, s.CSRF_COOKIE_SECURE, s.DEVICE_COOKIE_NAME,"
        " s.SECURE_HSTS_SECONDS, s.DEBUG)"
    )
    done = _run("-c", script, env=PRODUCTION)
    assert done.stdout.split() == [
        "Argon2PasswordHasher",
        "__Host-sid",
        "True",
        "__Host-csrf",
        "True",
        "__Host-device",
        "31536000",
        "False",
    ]


def _ids(found: list[CheckMessage]) -> set[str]:
    return {str(each.id) for each in found}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("FIELD_KEYS", "k1:tooshort", {"portal.E001"}),
        ("FIELD_KEYS", "no id and no key", {"portal.E001"}),
        ("AUDIT_KEY", "short", {"portal.E002"}),
        ("AUDIT_KEY", PRODUCTION["SECRET_KEY"], {"portal.E003"}),
        ("AUDIT_KEY_FALLBACKS", ["short"], {"portal.E002"}),
    ],
)
def test_unusable_keys_are_errors(settings: Settings, name: str, value: str | list[str], expected: set[str]) -> None:
    settings.SECRET_KEY = PRODUCTION["SECRET_KEY"]
    assert _ids(checks.keys_are_usable(None)) == set()
    setattr(settings, name, value)
    found = checks.keys_are_usable(None)
    assert _ids(found) == expected
    assert not any(key in str(each) for each in found for key in ([value] if isinstance(value, str) else value))


def test_the_same_audit_key_as_current_and_former_is_an_error(settings: Settings) -> None:
    settings.AUDIT_KEY_FALLBACKS = [settings.AUDIT_KEY]
    assert _ids(checks.keys_are_usable(None)) == {"portal.E003"}


def test_a_process_may_do_without_keys(settings: Settings) -> None:
    settings.FIELD_KEYS = settings.AUDIT_KEY = settings.SECRET_KEY = UNUSED
    assert checks.keys_are_usable(None) == []
    settings.FIELD_KEYS = "k1:tooshort"
    assert _ids(checks.keys_are_usable(None)) == {"portal.E001"}


def test_a_silenced_check_is_an_error(settings: Settings) -> None:
    assert checks.nothing_is_silenced(None) == []
    settings.SILENCED_SYSTEM_CHECKS = ["security.W021"]
    assert checks.nothing_is_silenced(None) == []
    settings.SILENCED_SYSTEM_CHECKS = ["security.W021", "security.W004"]
    assert _ids(checks.nothing_is_silenced(None)) == {"portal.E004"}


# The suite runs on both, and only one of them is for production.
SQLITE = {"portal.W002"} if connection.vendor == "sqlite" else set()


def _production(settings: Settings) -> None:
    settings.PRODUCTION, settings.DEMO = True, False
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.TRUSTED_PROXIES = 1


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PRODUCTION", False, "portal.W001"),
        ("DEMO", True, "portal.W001"),
        ("EMAIL_BACKEND", "django.core.mail.backends.console.EmailBackend", "portal.W003"),
        ("SECURE_PROXY_SSL_HEADER", None, "portal.W004"),
        ("TRUSTED_PROXIES", 0, "portal.W005"),
        ("LOOPBACK_ONLY", True, "portal.W006"),
    ],
)
def test_what_only_people_outside_would_notice(settings: Settings, name: str, value: object, expected: str) -> None:
    _production(settings)
    assert _ids(checks.fit_for_people_outside(None)) == SQLITE
    setattr(settings, name, value)
    assert _ids(checks.fit_for_people_outside(None)) == SQLITE | {expected}


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    out = io.StringIO()
    try:
        call_command("makemigrations", check=True, dry_run=True, stdout=out)
    except SystemExit:
        pytest.fail(out.getvalue(), pytrace=False)
