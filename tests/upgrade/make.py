"""Store a filled database of the current code for both engines: `python -m tests.upgrade.make 0.1.0`.

It plays the demo's three months, ended at a fixed moment, and adds rows in the states that the demo never shows. Two
runs tell the same story; IDs and ciphertexts differ. Needs PostgreSQL's programs and takes a few minutes.
"""

from __future__ import annotations

import gzip
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.env import KEYS
from tests.support.postgres import Postgres, programs
from tests.support.sandbox import ROOT, SandboxProcess
from tests.upgrade.stored import FOLDER

LIMIT = 1_000_000  # bytes of one stored file


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not re.fullmatch(r"\d+\.\d+\.\d+", arguments[0]):
        sys.stderr.write("Name the version: python -m tests.upgrade.make 0.1.0\n")
        return 2
    for engine, database in (("sqlite", _sqlite), ("postgres", _postgres)):
        with tempfile.TemporaryDirectory() as folder, database(Path(folder)) as (url, dump):
            _fill(url, folder)
            text = dump().encode()
        stored = gzip.compress(text, mtime=0)
        if len(stored) > LIMIT:
            raise SystemExit(f"{engine}: {len(stored)} bytes are too many to keep in the repository.")
        path = FOLDER / f"{arguments[0]}.{engine}.sql.gz"
        path.write_bytes(stored)
        sys.stdout.write(f"{path.relative_to(ROOT)}: {len(stored)} bytes\n")
    return 0


def _fill(url: str, folder: str) -> None:
    with SandboxProcess() as sandbox:
        demo = {
            "PORTAL_DEMO": "1", "DEMO_PASSWORD": "a long test password", "DATABASE_URL": url, "DATA_DIR": folder,
            "SANDBOX_URL": sandbox.base_url, "SANDBOX_ADMIN_KEY": sandbox.admin_key, "LOG_LEVEL": "ERROR",
            "SANDBOX_SENDGRID_KEY": sandbox.key, "SANDBOX_SENDGRID_EU_KEY": sandbox.eu_key, "PORTAL_WORKER": "1",
            "SANDBOX_AHASEND_KEY": sandbox.ahasend_key, "SANDBOX_AHASEND_ACCOUNT": sandbox.ahasend_account,
        }  # fmt: skip
        env = os.environ | KEYS | demo
        subprocess.run([sys.executable, "-m", "tests.upgrade.fill"], cwd=ROOT, env=env, check=True)


@contextmanager
def _sqlite(folder: Path) -> Iterator[tuple[str, object]]:
    path = folder / "portal.sqlite3"

    def dump() -> str:
        with sqlite3.connect(path) as database:
            return "\n".join(database.iterdump())

    yield f"sqlite:///{path}", dump


@contextmanager
def _postgres(folder: Path) -> Iterator[tuple[str, object]]:
    found = programs()
    assert found is not None
    server = Postgres()

    def dump() -> str:
        command = [str(found / "pg_dump"), "--no-owner", "--no-privileges", "--inserts", "--rows-per-insert=200"]
        text = subprocess.run([*command, server.url], capture_output=True, check=True, text=True).stdout
        # Lines for psql only, which newer releases write.
        return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("\\"))

    try:
        server.start()
        yield server.url, dump
    finally:
        server.remove()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
