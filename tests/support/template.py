"""A migrated, empty database, made once and then copied: migrating takes eight seconds, a copy a moment.

It is kept in `.test-databases/` under a hash of all that makes it. PostgreSQL's is kept as SQL text, since each run
starts a server of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.postgres import Postgres

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".test-databases"
APPS = ("portal", "customers", "billing")
MADE_BY = ("migrations/*.py", "models/*.py", "models.py", "triggers.py", "apps.py")
DATABASE = "template_portal"


def copy_to(path: Path) -> None:
    """Make `path` a migrated SQLite database."""
    kept = KEPT / f"{_hash()}.sqlite3"
    with _alone():
        if not kept.exists():
            made = kept.with_suffix(".new")
            made.unlink(missing_ok=True)
            _migrate(f"sqlite:///{made}")
            made.rename(kept)
    path.unlink(missing_ok=True)
    shutil.copyfile(kept, path)


def prepare(server: Postgres) -> None:
    """Give a PostgreSQL server a migrated database `DATABASE`, for `CREATE DATABASE ... TEMPLATE`."""
    kept = KEPT / f"{_hash()}.postgres-{server.version}.sql"
    server.client("psql", "-c", f"CREATE DATABASE {DATABASE}")
    with _alone():
        if kept.exists():
            server.client("psql", "-d", DATABASE, "-f", str(kept))
            return
        _migrate(server.url_of(DATABASE))
        made = kept.with_suffix(".new")
        server.client("pg_dump", "-d", DATABASE, "-f", str(made))
        made.rename(kept)


def _migrate(url: str) -> None:
    env = os.environ | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "portal.settings"}
    for command in ("migrate", "createcachetable"):
        subprocess.run([sys.executable, "manage.py", command, "-v", "0"], cwd=ROOT, env=env, check=True)


def _hash() -> str:
    files = sorted(path for app in APPS for pattern in MADE_BY for path in (ROOT / app).rglob(pattern))
    digest = hashlib.sha256()
    for path in [*files, *sorted((ROOT / "portal").glob("*settings.py")), ROOT / "requirements.txt"]:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _alone() -> Iterator[None]:
    KEPT.mkdir(exist_ok=True)
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
