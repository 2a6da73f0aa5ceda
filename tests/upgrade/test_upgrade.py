"""Databases filled by earlier releases: they migrate, hold what must hold, and show their pages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection as database

from tests.env import KEYS
from tests.support.sandbox import ROOT
from tests.upgrade.stored import load_sqlite, loaded_postgres, stored

ENGINE = "sqlite" if database.vendor == "sqlite" else "postgres"


@pytest.fixture(params=stored(ENGINE), ids=lambda path: path.name)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    path: Path = request.param
    if ENGINE == "sqlite":
        yield load_sqlite(path, tmp_path / "portal.sqlite3")
        return
    name = f"upgrade_{path.name.removesuffix('.sql.gz')}_{os.getpid()}"
    with loaded_postgres(path, os.environ["DATABASE_URL"], name) as loaded:
        yield loaded


@pytest.mark.long
def test_a_database_of_an_earlier_release_can_be_upgraded(url: str, tmp_path: Path) -> None:
    env = os.environ | KEYS | {"DATABASE_URL": url, "DATA_DIR": str(tmp_path), "LOG_LEVEL": "ERROR"}
    command = [sys.executable, "-m", "tests.upgrade.check"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=600)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-6000:]
    assert "The audit log is intact." in said


def test_both_engines_have_the_same_versions_stored() -> None:
    on_sqlite, on_postgres = (
        [path.name.removesuffix(f".{engine}.sql.gz") for path in stored(engine)] for engine in ("sqlite", "postgres")
    )
    assert on_sqlite == on_postgres != []
