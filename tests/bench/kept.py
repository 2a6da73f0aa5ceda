"""Seeded databases that are kept between runs, in one PostgreSQL cluster in the folder `.bench`."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import psycopg

from tests.support.postgres import Postgres

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".bench"  # not in var/, which nobody but its owner may enter: not PostgreSQL's user either
# A database of another name is made anew. Migrations are not part of it: a kept database is migrated.
_CODE = sorted((ROOT / "portal" / "demo" / "seed").glob("*.py"))


def open_month() -> date:
    return datetime.now(UTC).date().replace(day=1)


def name_of(accounts: int, months: int) -> str:
    """Return the name of a seeded database: of its size, the open month and the code that seeds it."""
    code = hashlib.sha256(b"".join(file.read_bytes() for file in _CODE)).hexdigest()[:8]
    return f"{_size(accounts, months)}_{open_month():%Y%m}_{code}"


def _size(accounts: int, months: int) -> str:
    return f"bench_{accounts}_{months}"


@contextmanager
def server() -> Iterator[Postgres]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    one = Postgres(folder=FOLDER / "postgres")
    one.start()
    try:
        yield one
    finally:
        one.stop()


def seeded(server: Postgres, accounts: int, months: int) -> str:
    """Return the address of the seeded database of this size, seeding it if there is none. An older one is dropped."""
    name, unfinished = name_of(accounts, months), f"{_size(accounts, months)}_unfinished"
    with psycopg.connect(server.url, autocommit=True) as admin:
        there = [row[0] for row in admin.execute("SELECT datname FROM pg_database WHERE datname LIKE 'bench%'")]
        for old in there:
            if old != name and old.startswith(f"{_size(accounts, months)}_"):
                admin.execute(f'DROP DATABASE "{old}" WITH (FORCE)')
        if name not in there:
            admin.execute(f'CREATE DATABASE "{unfinished}"')
            command = [sys.executable, "-m", "tests.bench", "seed", "--database-url", server.url_of(unfinished)]
            subprocess.run([*command, "--accounts", str(accounts), "--months", str(months)], cwd=ROOT, check=True)
            admin.execute(f'ALTER DATABASE "{unfinished}" RENAME TO "{name}"')
    return server.url_of(name)
