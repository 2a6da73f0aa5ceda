"""Production: the deployment checks are clean, and a wrong setting stops the start with a sentence that names it."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from django.core.checks import CheckMessage
from django.core.management import call_command
from django.db import connection
from pytest_django import Settings

from portal import checks

pytestmark = pytest.mark.processes
ROOT = Path(__file__).resolve().parents[2]
PRODUCTION = {
    "PATH": "/usr/bin:/bin",
    "SECRET_KEY": "made-up-for-this-test-0123456789-abcdefghijklmnopqrstuvwxyz-!",
    "FIELD_KEYS": "k1:" + base64.b64encode(bytes(range(32))).decode(),
    "AUDIT_KEY": "made-up-audit-key-of-this-test-0123456789",
    "ALLOWED_HOSTS": "portal.example.com",
    "CSRF_TRUSTED_ORIGINS": "https://portal.example.com",
    "DATABASE_URL": "postgres://portal:made-up@db.example.com/portal",
    "REDIS_URL": "redis://:made-up@redis.example.com:6379/0",
    "EMAIL_URL": "smtp+tls://portal:made-up@smtp.example.com:587",
    "BEHIND_TLS_PROXY": "1",
    "TRUSTED_PROXIES": "1",
}


def _run(*arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=dict(env), capture_output=True, text=True, check=False
    )


def test_the_deployment_checks_are_clean_in_production() -> None:
    done = _run("manage.py", "check", "--deploy", "--fail-level", "WARNING", env=PRODUCTION)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "0 silenced" in done.stdout + done.stderr


WRONG = [
    ({"SECRET_KEY": ""}, "SECRET_KEY is not set"),
    ({"FIELD_KEYS": ""}, "FIELD_KEYS is not set"),
    ({"AUDIT_KEY": ""}, "AUDIT_KEY is not set"),
    ({"ALLOWED_HOSTS": ""}, "ALLOWED_HOSTS is not set"),
    ({"ALLOWED_HOSTS": "*"}, 'ALLOWED_HOSTS holds "*"'),
    ({"DATABASE_URL": ""}, "DATABASE_URL is not set"),
    ({"REDIS_URL": ""}, "REDIS_URL is not set"),
    ({"PORTAL_ENV": "prod"}, 'PORTAL_ENV is "prod"'),
    ({"PORTAL_DEMO": "1"}, "PORTAL_DEMO is on"),
    ({"DEBUG": "1"}, "DEBUG is on"),
    ({"SYNC_ITEM_DAYS": "31"}, "SYNC_ITEM_DAYS is 31"),
    ({"SYNC_ITEM_DAYS": "a month"}, 'SYNC_ITEM_DAYS is "a month"'),
    ({"TRUSTED_PROXIES": "-1"}, 'TRUSTED_PROXIES is "-1"'),
    ({"SESSION_IDLE_SECONDS": "8h"}, 'SESSION_IDLE_SECONDS is "8h"'),
    ({"LOG_LEVEL": "LOUD"}, 'LOG_LEVEL is "LOUD"'),
]


@pytest.mark.parametrize(("change", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_a_wrong_setting_stops_the_start(change: dict[str, str], sentence: str) -> None:
    done = _run("-c", "import portal.settings", env={**PRODUCTION, **change})
    assert done.returncode != 0
    assert sentence in done.stderr.splitlines()[-1]


def test_a_level_of_logs_may_be_written_small() -> None:
    script = "import logging, django; django.setup(); print(logging.getLogger().level)"
    done = _run("-c", script, env={**PRODUCTION, "DJANGO_SETTINGS_MODULE": "portal.settings", "LOG_LEVEL": "warning"})
    assert done.stdout.strip() == "30", done.stderr[-2000:]


def test_the_scheduler_has_the_environment_of_a_worker() -> None:
    """docs/operations.md: workers and beat carry PORTAL_WORKER."""
    parts = re.split(r"^  ([a-z-]+):\n", (ROOT / "docker-compose.yml").read_text(), flags=re.MULTILINE)[1:]
    celery = {name: part for name, part in zip(parts[::2], parts[1::2], strict=True) if "[celery, " in part}
    assert set(celery) == {"worker-ops", "worker-clock", "worker-sync", "beat"}
    assert all('PORTAL_WORKER: "1"' in part for part in celery.values())


def test_production_has_strong_hashing_and_safe_cookies() -> None:
    script = (
        "from portal import settings as s; print(s.PASSWORD_HASHERS[0].rpartition('.')[2], s.SESSION_COOKIE_NAME,"
        " s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_NAME, s.CSRF_COOKIE_SECURE, s.SECURE_HSTS_SECONDS, s.DEBUG)"
    )
    done = _run("-c", script, env=PRODUCTION)
    assert done.stdout.split() == [
        "Argon2PasswordHasher",
        "__Host-sid",
        "True",
        "__Host-csrf",
        "True",
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
    ],
)
def test_unusable_keys_are_errors(settings: Settings, name: str, value: str, expected: set[str]) -> None:
    settings.SECRET_KEY = PRODUCTION["SECRET_KEY"]
    assert _ids(checks.keys_are_usable(None)) == set()
    setattr(settings, name, value)
    found = checks.keys_are_usable(None)
    assert _ids(found) == expected
    assert not any(value in str(each) for each in found), "the key itself is not shown"


def test_a_silenced_check_is_an_error(settings: Settings) -> None:
    assert checks.nothing_is_silenced(None) == []
    settings.SILENCED_SYSTEM_CHECKS = ["security.W004"]
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


def test_every_variable_the_settings_read_is_explained() -> None:
    """.env.example is the list people copy: a variable that is missing there is one nobody sets."""
    source = "".join((ROOT / "portal" / name).read_text() for name in ("settings.py", "gunicorn.py"))
    read = set(re.findall(r'(?:env\.\w+|_required|environ\.get)\(\s*"([A-Z_]+)"', source))
    named = set(re.findall(r"^#?\s?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert read - named == set()
