"""Secrets in files: read in place of a variable, refused with a sentence, and written once."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from kombu import Connection
from pytest_django import Settings

from portal import make_secrets, secret_files
from portal.audit import chain
from portal.audit.models import AuditSeal
from tests.house.test_deploy import PRODUCTION, _run, _settings

NASTY = "p@ss:w/rd?#%25 +é"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "secret"
    path.touch(mode=0o640)
    path.chmod(0o640)
    monkeypatch.setattr(os, "environ", {"SECRET_KEY_FILE": str(path)})
    return path


def test_the_value_is_the_file_without_its_last_line_end(file: Path) -> None:
    file.write_text(" abc \n")
    for _ in range(2):  # gunicorn's configuration and the settings both read it
        secret_files.load_secrets()
    assert os.environ["SECRET_KEY"] == " abc "


def test_an_empty_variable_counts_as_unset(file: Path) -> None:
    file.write_text("abc")
    os.environ["SECRET_KEY"] = ""
    secret_files.load_secrets()
    assert os.environ["SECRET_KEY"] == "abc"


def test_a_variable_beside_the_file_is_refused(file: Path) -> None:
    file.write_text("abc")
    os.environ["SECRET_KEY"] = "another"
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY and SECRET_KEY_FILE are both set") as refused:
        secret_files.load_secrets()
    assert "abc" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"a\0b", b"\xff"])
def test_a_file_without_text_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(ImproperlyConfigured, match=r"secret, which SECRET_KEY_FILE names, (is empty|can't be read)"):
        secret_files.load_secrets()


def test_a_missing_file_is_refused(file: Path) -> None:
    file.unlink()
    with pytest.raises(ImproperlyConfigured, match="which SECRET_KEY_FILE names, can't be read: No such file"):
        secret_files.load_secrets()


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644])
def test_a_file_that_everyone_can_read_is_refused(file: Path, mode: int) -> None:
    file.write_text("abc")
    file.chmod(mode)
    with pytest.raises(ImproperlyConfigured, match=r"Every user of this machine .* Run: chmod o= "):
        secret_files.load_secrets()


def test_an_optional_secret_may_be_empty(file: Path) -> None:
    os.environ.clear()
    os.environ["EMAIL_PASSWORD_FILE"] = str(file)
    secret_files.load_secrets()
    assert os.environ["EMAIL_PASSWORD"] == ""


def test_the_start_is_stopped_with_the_sentence(tmp_path: Path) -> None:
    env = {**PRODUCTION, "SECRET_KEY": "", "SECRET_KEY_FILE": str(tmp_path / "absent")}
    for command in (("-c", "import portal.gunicorn"), ("manage.py", "check")):
        done = _run(*command, env=env)
        assert done.returncode != 0
        assert "absent, which SECRET_KEY_FILE names, can't be read" in done.stderr.splitlines()[-1]


def test_passwords_stand_beside_their_urls(tmp_path: Path) -> None:
    """In files, once each, with any character. Every client gets them back as they are."""
    urls = {
        "DATABASE_URL": "postgres://portal@db.example.com/portal?sslmode=verify-full",
        "REDIS_URL": "redis://redis.example.com:6379/0",
        "EMAIL_URL": "smtp+tls://me%40example.com@smtp.example.com:587",
    }
    files = {name: tmp_path / name.lower() for name in secret_files.PASSWORDS.values()}
    for path in files.values():
        path.write_text(NASTY)
        path.chmod(0o600)
    more = urls | {f"{name}_FILE": str(path) for name, path in files.items()}
    found = _settings("DATABASES CELERY_BROKER_URL CACHE_URL EMAIL_HOST_PASSWORD EMAIL_HOST_USER", **more)
    assert found["DATABASES"]["default"]["PASSWORD"] == NASTY
    assert (found["EMAIL_HOST_USER"], found["EMAIL_HOST_PASSWORD"]) == ("me@example.com", NASTY)
    assert Connection(found["CELERY_BROKER_URL"]).password == NASTY
    assert found["CACHE_URL"] == found["CELERY_BROKER_URL"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://portal@db/portal", "postgres://portal:a%20b@db/portal"),
        ("postgres://portal:a%20b@db:5432/portal?x=1", "postgres://portal:a%20b@db:5432/portal?x=1"),
        ("postgres://portal:a b@[::1]/portal", "postgres://portal:a b@[::1]/portal"),
        ("sqlite:////tmp/portal.sqlite3", "sqlite:////tmp/portal.sqlite3"),
        ("", ""),
    ],
)
def test_a_url_gets_the_password_it_lacks(monkeypatch: pytest.MonkeyPatch, url: str, expected: str) -> None:
    monkeypatch.setattr(os, "environ", {"POSTGRES_PASSWORD": "a b"})
    assert secret_files.with_password("DATABASE_URL", url) == expected


def test_two_different_passwords_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"POSTGRES_PASSWORD": "one"})
    with pytest.raises(ImproperlyConfigured, match="The password in DATABASE_URL is not the one in POSTGRES_PASSWORD"):
        secret_files.with_password("DATABASE_URL", "postgres://portal:other@db/portal")


class TestMake:
    def test_every_file_is_written_once_and_private(self, tmp_path: Path) -> None:
        written = make_secrets.make(tmp_path / "new", {})
        before = {path.name: path.read_text() for path in (tmp_path / "new").iterdir()}
        assert sorted(written) == sorted(before) == sorted(name.lower() for name in make_secrets.GENERATED)
        assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()} == {0o600}
        (tmp_path / "new" / "audit_key").unlink()
        assert make_secrets.make(tmp_path / "new", {}) == ["audit_key"]
        after = {path.name: path.read_text() for path in (tmp_path / "new").iterdir()}
        assert {name for name in before if before[name] != after[name]} == {"audit_key"}

    def test_a_group_may_read_them(self, tmp_path: Path) -> None:
        make_secrets.make(folder := tmp_path / "new", {}, group=os.getgid())
        modes = {(path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) for path in (folder, *folder.iterdir())}
        assert modes == {(os.getgid(), 0o750), (os.getgid(), 0o440)}

    def test_the_values_of_an_installation_are_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Those of its .env, also the passwords inside URLs."""
        urls = {"DATABASE_URL": "postgres://portal:a%20b@db/portal", "EMAIL_URL": "smtp+tls://me:m%40il@mail:587"}
        (tmp_path / "env").write_text(
            "".join(f"{name}={value}\n" for name, value in {"SECRET_KEY": "old", **urls}.items())
        )
        monkeypatch.setattr(os, "environ", {"PORTAL_ENV_FILE": str(tmp_path / "env"), "REDIS_PASSWORD": "r"})
        assert make_secrets.main([str(tmp_path / "new")]) == 0
        found = {path.name: path.read_text() for path in (tmp_path / "new").iterdir()}
        expected = {"secret_key": "old", "postgres_password": "a b", "email_password": "m@il", "redis_password": "r"}
        assert {name: found[name].strip() for name in expected} == expected
        assert len(found["audit_key"]) > 32

    def test_the_portal_starts_with_them(self, tmp_path: Path) -> None:
        done = _run("manage.py", "make_secrets", str(tmp_path), env={"PATH": PRODUCTION["PATH"], "PORTAL_ENV_FILE": ""})
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"Written to {tmp_path}: secret_key, field_keys, audit_key, ")
        own = {f"{path.name.upper()}_FILE": str(path) for path in tmp_path.iterdir()}
        kept = {name: value for name, value in PRODUCTION.items() if f"{name}_FILE" not in own}
        urls = {"DATABASE_URL": "postgres://portal@db/portal?sslmode=disable", "REDIS_URL": "redis://redis/0"}
        checked = _run("manage.py", "check", env={**kept, **own, **urls, "EMAIL_URL": "smtp://mail:25"})
        assert checked.stdout.startswith("System check identified no issues"), checked.stderr


def test_a_process_without_the_audit_key_seals_nothing(settings: Settings) -> None:
    settings.AUDIT_KEY = secret_files.UNUSED
    with pytest.raises(ImproperlyConfigured, match="no AUDIT_KEY"):
        chain.row_hash(AuditSeal(seq=1, prev_hash=chain.GENESIS), b"")
