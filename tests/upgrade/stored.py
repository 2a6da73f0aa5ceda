"""The databases that are stored, one for each released version and engine, and how they are loaded."""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

FOLDER = Path(__file__).parent
# Every story ends here. Checks of a stored database take place an hour later: some things must be recent.
TODAY = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)


def stored(engine: str) -> list[Path]:
    return sorted(FOLDER.glob(f"*.{engine}.sql.gz"))


def text_of(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def load_sqlite(path: Path, into: Path) -> str:
    """Load into a new file; returns its `DATABASE_URL`."""
    with closing(sqlite3.connect(into)) as database:
        database.executescript(text_of(path))
    return f"sqlite:///{into}"


@contextmanager
def loaded_postgres(path: Path, server: str, name: str) -> Iterator[str]:
    """Load into a new database of the server; yields its `DATABASE_URL`, and drops it in the end."""
    with psycopg.connect(server, autocommit=True) as database:
        database.execute(f'CREATE DATABASE "{name}"')  # type: ignore[call-overload]
        try:
            url = urlsplit(server)._replace(path=f"/{name}").geturl()
            with psycopg.connect(url, autocommit=True) as loading:
                loading.execute(text_of(path).encode())
            yield url
        finally:
            database.execute(f'DROP DATABASE "{name}" WITH (FORCE)')  # type: ignore[call-overload]
