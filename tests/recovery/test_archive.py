"""Backups of a filled database: encrypted, whole, and restored into an empty one with every connection on hold."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import connection as database

from tests.env import KEYS
from tests.journeys.processes import until
from tests.support.sandbox import ROOT
from tests.support.skips import require
from tests.upgrade.stored import load_sqlite, loaded_postgres, stored

pytestmark = [pytest.mark.processes, pytest.mark.long]
SQLITE = database.vendor == "sqlite"
# What a restore changes on purpose, and what the restored portal writes then.
CHANGED = {
    "installation_epoch",
    "customers_recovery",
    "customers_connection",
    "customers_operation",
    "django_session",
    "audit_auditevent",
    "installation_backup",
}
# Tables without a row, of libraries or of what neither 0.1.0 nor its upgrade stores. A new table needs rows:
# tests/upgrade/extras_access.py, extras_protection.py. A checkpoint needs events that are a year old, and permits never
# outlive their transaction.
WITHOUT_ROWS = re.compile(
    r"account_|auth_|socialaccount_social(app|token)|billing_|customers_(recovery|signin)|portal_cache|"
    r"audit_(auditcheckpoint|erasurepermit)"
)
ADD = """
import django.utils.timezone as t
from tests.upgrade import extras_access, extras_protection
extras_access.add(now=t.now())
extras_protection.add(now=t.now())
"""


class Place:
    """An installation's environment, in which commands are run; its keys are those of the stored databases."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        own = {
            "DATA_DIR": str(folder),
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "portal.settings",
            "LOG_LEVEL": "ERROR",
        }
        self.env = os.environ | KEYS | own

    @property
    def backups(self) -> list[Path]:
        return sorted(each.parent for each in (self.folder / "backups").glob("*/manifest.json"))

    def manage(self, *arguments: str, fails: bool = False, **env: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.env | env, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) is fails, (done.stdout + done.stderr)[-3000:]
        return done.stderr if fails else done.stdout

    def rows(self, query: str) -> list[Any]:
        if SQLITE:
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as opened:
                return opened.execute(query).fetchall()
        with psycopg.connect(self.url) as connected:
            return connected.execute(query.encode()).fetchall()

    def tables(self) -> dict[str, list[Any]]:
        """All rows of every table, in an order of their own."""
        names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        names = names if SQLITE else "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        return {name: sorted(self.rows(f'SELECT * FROM "{name}"'), key=repr) for (name,) in self.rows(names)}  # noqa: S608  names of tables


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """What makes one more empty database and returns its URL."""
    with ExitStack() as stack:
        made: list[str] = []

        def make() -> str:
            if SQLITE:
                return f"sqlite:///{tmp_path_factory.mktemp('restored') / 'portal.sqlite3'}"
            name = f"restored_{os.getpid()}_{len(made)}"
            made.append(name)
            server = stack.enter_context(psycopg.connect(os.environ["DATABASE_URL"], autocommit=True))
            server.execute(f'CREATE DATABASE "{name}"'.encode())
            stack.callback(server.execute, f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
            return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()

        yield make


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A filled installation with one backup. Its identity is in `identity.txt`."""
    folder = tmp_path_factory.mktemp("backed-up")
    [path] = stored("sqlite" if SQLITE else "postgres")
    with ExitStack() as stack:
        if SQLITE:
            url = load_sqlite(path, folder / "portal.sqlite3")
        else:
            url = stack.enter_context(loaded_postgres(path, os.environ["DATABASE_URL"], f"backed_up_{os.getpid()}"))
        one = Place(folder, url)
        one.manage("migrate", "-v", "0", PORTAL_STATEMENT_SECONDS="0")
        one.manage("shell", "--no-imports", "-v", "0", "-c", ADD)
        said = one.manage("make_backup_identity", str(folder / "identity.txt"))
        one.env["BACKUP_RECIPIENTS"] = said.strip().removeprefix("BACKUP_RECIPIENTS=")
        one.manage("backup")
        yield one


def _at(place: Place, folder: Path, url: str) -> Place:
    """Another machine that has the keys and a copy of the backup."""
    other = Place(folder, url)
    other.env["BACKUP_RECIPIENTS"] = place.env["BACKUP_RECIPIENTS"]
    return other


def _restore(other: Place, place: Place, *, backup: Path | None = None, fails: bool = False, **env: str) -> str:
    folder = backup or place.backups[0]
    return other.manage("restore", str(folder), "--identity", str(place.folder / "identity.txt"), fails=fails, **env)


def test_a_restore_gives_back_every_row_on_hold(place: Place, empty: Callable[[], str], tmp_path: Path) -> None:
    before = place.tables()
    empty_ones = {name for name, rows in before.items() if not rows and name not in CHANGED}
    assert not [name for name in empty_ones if not WITHOUT_ROWS.match(name)]
    other = _at(place, tmp_path, empty())
    said = _restore(other, place)
    assert "Restored" in said
    assert "On hold: " in said
    after = other.tables()
    assert {name: len(after[name]) for name in before if name not in CHANGED} == {
        name: len(before[name]) for name in before if name not in CHANGED
    }
    assert [name for name in before if name not in CHANGED and after[name] != before[name]] == []
    assert {paused for (paused,) in other.rows("SELECT paused FROM customers_connection")} == {"restore"}
    connections, (recoveries,) = (
        len(after["customers_connection"]),
        other.rows("SELECT count(*) FROM customers_recovery")[0],
    )
    assert recoveries == connections > 0
    assert other.rows("SELECT max(number) FROM installation_epoch") == [(2,)]
    assert "The audit log is intact" in other.manage("verify_audit")
    # The restored portal is backed up and restored in turn: what is on hold stays on hold.
    other.manage("backup")
    third = _at(place, tmp_path / "third", empty())
    _restore(third, place, backup=other.backups[0])
    assert third.rows("SELECT max(number) FROM installation_epoch") == [(3,)]
    held = "SELECT count(*), count(DISTINCT backup_at) FROM customers_recovery WHERE released_at IS NULL"
    assert third.rows(held) == [(connections, 1)]
    oldest = "SELECT count(DISTINCT backup_at) FROM customers_recovery"
    assert third.rows(oldest) == [(1,)], "the hold counts from the first backup"


def test_a_backup_tells_what_it_is_and_nothing_secret(place: Place) -> None:
    [folder] = place.backups
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["engine"] == database.vendor
    assert manifest["facts"]["key_ids"] == ["t1"]
    assert manifest["migrations"]["customers"] >= "0027"
    assert manifest["tables"]["customers_account"] == place.rows("SELECT count(*) FROM customers_account")[0][0] > 0
    seq, row_hash = place.rows("SELECT seq, row_hash FROM audit_auditseal ORDER BY seq DESC LIMIT 1")[0]
    assert manifest["audit_head"] == f"{seq}:{row_hash}"
    assert manifest["facts"]["ledger_batch"] == (place.rows("SELECT max(number) FROM billing_ledgerbatch")[0][0] or 0)
    assert (folder / "database.age").read_bytes().startswith(b"age-encryption.org/v1")
    (email,) = place.rows("SELECT email FROM customers_customer LIMIT 1")[0]
    everything = (folder / "database.age").read_bytes() + (folder / "manifest.json").read_bytes()
    for secret in (email, KEYS["AUDIT_KEY"], KEYS["FIELD_KEYS"].partition(":")[2], "customers_customer ("):
        assert secret.encode() not in everything
    assert oct(folder.stat().st_mode & 0o077) == "0o0"


def test_a_backup_is_decrypted_by_age_itself(place: Place, tmp_path: Path) -> None:
    """The format is that of age-encryption.org: no release of ours is needed to get at the rows."""
    require(shutil.which("age"), "age is not installed (Debian: apt-get install age)")
    command = ["age", "--decrypt", "-i", str(place.folder / "identity.txt"), str(place.backups[0] / "database.age")]
    dump = subprocess.run(command, capture_output=True, check=True).stdout
    assert dump.startswith(b"SQLite format 3" if SQLITE else b"PGDMP")


Damage = Callable[[Path], None]


def _flip(folder: Path) -> None:
    data = bytearray((folder / "database.age").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "database.age").write_bytes(data)


def _cut(folder: Path) -> None:
    path = folder / "database.age"
    path.write_bytes(path.read_bytes()[:-100_000])


def _forge(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"t1"', '"t2"'))


def _unfinish(folder: Path) -> None:
    (folder / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("damage", "told"),
    [(_flip, "was damaged"), (_cut, "was damaged"), (_forge, "was altered"), (_unfinish, "no complete backup")],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_damaged_backup_is_refused(place: Place, tmp_path: Path, damage: Damage, told: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(place.backups[0], copy)
    damage(copy)
    assert told in place.manage("backup", "--check", str(copy), fails=True)


def test_a_restore_that_cannot_serve_says_why(place: Place, empty: Callable[[], str], tmp_path: Path) -> None:
    """And changes nothing."""
    url = empty()
    other = _at(place, tmp_path, url)
    another = tmp_path / "another.txt"
    other.manage("make_backup_identity", str(another))
    args = ("restore", str(place.backups[0]), "--identity")
    refusals = {
        "The identity doesn't fit": other.manage(*args, str(another), fails=True),
        "is no readable file with an identity": other.manage(*args, str(tmp_path / "none"), fails=True),
        "FIELD_KEYS has no key t1": _restore(
            other, place, fails=True, FIELD_KEYS=KEYS["FIELD_KEYS"].replace("t1:", "t9:")
        ),
        "under another AUDIT_KEY": _restore(other, place, fails=True, AUDIT_KEY=KEYS["AUDIT_KEY"] + "x"),
        "has tables already": _restore(place, place, fails=True),
    }
    for told, said in refusals.items():
        assert told in said
        assert said.rstrip().endswith("Nothing was restored.")
    if not SQLITE:
        assert other.rows("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]


def test_old_backups_are_deleted_but_the_last_few(place: Place, tmp_path: Path) -> None:
    other = _at(place, tmp_path, place.url)
    for name in ("20200101T000000Z", "20200102T000000Z", "20200103T000000Z"):
        shutil.copytree(place.backups[0], tmp_path / "backups" / name)
    (tmp_path / "backups" / "notes").mkdir()
    other.manage("backup", BACKUP_KEEP_DAYS="30")
    kept = [each.name for each in other.backups]
    assert kept[:2] == ["20200102T000000Z", "20200103T000000Z"]
    assert len(kept) == 3
    assert (tmp_path / "backups" / "notes").exists()


def test_a_backup_that_fails_is_recorded_and_leaves_nothing(place: Place, tmp_path: Path) -> None:
    (tmp_path / "backups").write_text("a file where the folder should be")
    other = _at(place, tmp_path, place.url)
    assert "Check its owner and the space on its disk." in other.manage("backup", fails=True)
    other.manage("backup", fails=True, BACKUP_RECIPIENTS="")
    told = place.rows("SELECT error FROM installation_backup WHERE error <> '' ORDER BY id DESC LIMIT 2")
    assert "BACKUP_RECIPIENTS is not set" in told[0][0]
    assert "backups" in told[1][0]


def test_a_restore_that_is_killed_leaves_nothing(place: Place, empty: Callable[[], str], tmp_path: Path) -> None:
    if SQLITE:
        pytest.skip("the file gets its name when it is complete")
    other = _at(place, tmp_path, empty())
    arguments = ("restore", str(place.backups[0]), "--identity", str(place.folder / "identity.txt"))
    process = subprocess.Popen([sys.executable, "manage.py", *arguments], cwd=ROOT, env=other.env)
    writing = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'psql'"
    until(lambda: other.rows(writing), what="psql to write", every=0.01)
    process.kill()
    process.wait()
    until(lambda: not other.rows(writing), what="psql to end")
    assert other.rows("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
