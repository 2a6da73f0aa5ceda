"""docs/reference/security.md and input.md, and SECURITY.md: what they say is what the code does."""

from __future__ import annotations

import math
import re
from importlib import reload

import pytest
from django.conf import settings as configured
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.contrib.sessions.backends import base
from packaging.version import Version

from portal import secret_files, sign_in_settings
from portal.access import breached, forms, passwords, throttling
from portal.access.models import User
from portal.access.roles import CUSTOM, Role
from portal.access.session_store import SessionStore
from portal.access.sso.tokens import ALGORITHMS
from tests.house.test_asvs import rows
from tests.house.test_source import ROOT

SECURITY = (ROOT / "docs/reference/security.md").read_text()
POLICY = (ROOT / "SECURITY.md").read_text()
SEVERITIES = ("Critical", "High", "Medium", "Low")


def section(text: str, heading: str) -> str:
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def test_the_pages_that_rows_name_have_their_sections() -> None:
    pattern = re.compile(r"((?:docs/\S+|SECURITY)\.md), ([A-Z][a-z ]+)")
    named = {match.groups() for row in rows() for match in pattern.finditer(row["how"])}
    assert len(named) >= 10
    for page, heading in named:
        text = (ROOT / page).read_text()
        title = heading.removesuffix(" and").strip()
        assert f"\n## {title}" in text or f"**{title}" in text, (page, title)


def test_the_documented_words_are_those_of_the_code() -> None:
    told = section(SECURITY, "Passwords")
    assert all(f"`{word}`" in told for word in passwords.PRODUCT_WORDS)
    assert f"{len(breached.FILE.read_bytes()) // breached.BYTES:,} leaked passwords" in told


def test_the_documented_numbers_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SESSION_IDLE_SECONDS", "SESSION_ABSOLUTE_SECONDS"):
        monkeypatch.delenv(name, raising=False)
    fresh = reload(sign_in_settings)
    (least,) = (each["OPTIONS"]["min_length"] for each in fresh.AUTH_PASSWORD_VALIDATORS if "Minimum" in each["NAME"])
    assert f"- {least} to 256 characters" in section(SECURITY, "Passwords")
    sessions = section(SECURITY, "Sessions")
    assert f"after {fresh.SESSION_COOKIE_AGE // 3600} hours (`SESSION_IDLE_SECONDS`)" in sessions
    assert f"after {fresh.SESSION_ABSOLUTE_SECONDS // 3600} hours (`SESSION_ABSOLUTE_SECONDS`)" in sessions
    hasher = Argon2PasswordHasher
    told = f"Argon2id, {hasher.memory_cost // 1024} MB, {hasher.time_cost} rounds"
    assert told in section(SECURITY, "Keys and algorithms")
    attempts = section(SECURITY, "Attempts")
    assert "passwords of an account | 10 in 15 minutes" in attempts
    assert throttling._OF_ACCOUNT == {
        "password": "10/15m/key", "code": "5/15m/key,20/d/key", "recovery": "5/15m/key,50/d/key",
        "reset_link": "3/15m/key",
    }  # fmt: skip
    assert (throttling._OF_ADDRESS, throttling._OF_PORTAL) == ("30/15m/key", "1000/15m/key")
    source = (ROOT / "portal/sign_in_settings.py").read_text()
    budgets = {"file": "60 files", "secret": "120 secrets", "provider": "300 requests", "change": "900 other"}
    for budget, told in budgets.items():
        assert f'"{budget}": "{told.split()[0]}/10m/key"' in source
        assert told in attempts


def test_every_role_needs_a_second_factor_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECOND_FACTOR_ROLES")
    assert set(reload(sign_in_settings).SECOND_FACTOR_ROLES) == {*Role.values, CUSTOM}


def test_no_password_expires() -> None:
    fields = {field.name for field in User._meta.get_fields()}
    assert not {name for name in fields if re.search("expire|must_change|password_(at|age|changed)", name)}
    assert not {name for name in dir(configured) if re.search("PASSWORD.*(EXPIR|AGE|DAYS)", name)}


def test_there_are_no_hints_and_no_questions() -> None:
    fields = {field.name for field in User._meta.get_fields()}
    for form in (forms.NewPasswordForm, forms.ForgotForm, forms.SignInForm, forms.ChangePasswordForm):
        fields |= set(form.base_fields)
    assert not {name for name in fields if re.search("hint|question|answer|maiden|birth", name)}


def test_a_session_id_has_enough_bits() -> None:
    store = SessionStore()
    store.create()
    assert set(store.cookie) <= set(base.VALID_KEY_CHARS)
    assert len(store.cookie) * math.log2(len(base.VALID_KEY_CHARS)) >= 128


test_a_session_id_has_enough_bits = pytest.mark.django_db(test_a_session_id_has_enough_bits)


def test_every_key_of_the_settings_is_in_the_inventory() -> None:
    told = section(SECURITY, "Keys and algorithms")
    keys = {name for name in secret_files.NAMES if name.endswith(("_KEY", "_KEYS"))}
    assert keys
    assert {key for key in keys if f"`{key}`" not in told} == set()
    assert all(name in told for name in (*ALGORITHMS, "AES-256-GCM", "HMAC-SHA256", "Argon2id", "X25519"))
    assert "rotate-keys.md" in told


def test_outgoing_hosts_are_those_of_the_settings() -> None:
    told = section(SECURITY, "Outgoing requests")
    names = (*configured.PROVIDER_HOSTS, "OIDC_ISSUER", "EMAIL_URL", "DATABASE_URL", "REDIS_URL", "SENTRY_DSN")
    assert [name for name in names if f"`{name}`" not in told] == []


def test_times_for_fixes_are_named_for_each_severity() -> None:
    told = section(POLICY, "Dependencies")
    days = [int(found[1]) for each in SEVERITIES if (found := re.search(rf"\| {each} \| (\d+) days", told))]
    assert len(days) == len(SEVERITIES)
    assert days == sorted(days)


def test_packages_that_are_behind_are_listed_with_their_day() -> None:
    """The list of the last review: each is still pinned below the release that it names, or its row is removed."""
    told = section(POLICY, "Dependencies")
    found = re.findall(r"(?m)^\| (\S+) \| (\S+) \| (\S+) \| (\d{4}-\d\d-\d\d) \|", told)
    requirements = (ROOT / "requirements-production.txt").read_text()
    pinned = dict(re.findall(r"(?m)^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", requirements))
    reviewed = re.search(r"Reviewed on (\d{4}-\d\d-\d\d)", POLICY)
    assert reviewed
    for name, has, newest, due in found:
        assert pinned[name] == has, f"{name} was updated: remove or renew its row"
        assert Version(has) < Version(newest)
        assert due > reviewed[1]
