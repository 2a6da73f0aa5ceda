"""Fixtures any test may ask for. Registered through `pytest_plugins` in the root conftest."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from pytest_django import Settings

from customers.connections import rate_limit
from tests.support import postgres
from tests.support.sandbox import SandboxProcess
from tests.support.skips import require


@pytest.fixture(autouse=True)
def pace_of_its_own(settings: Settings) -> None:
    """Without Redis a process divides a provider's rate by all processes that made a call lately: here by those of this
    test alone, not by those that earlier tests forked."""
    settings.PACE_FOLDER = settings.DATA_DIR / "pace" / uuid4().hex
    rate_limit._ledger.cache_clear()


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[SandboxProcess]:
    with SandboxProcess() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(sandbox_process: SandboxProcess) -> SandboxProcess:
    """The provider simulator, as new: one process for the session, reset for every test."""
    sandbox_process.admin.reset()
    return sandbox_process


@pytest.fixture(
    params=[pytest.param("sqlite", marks=pytest.mark.long), pytest.param("postgres", marks=pytest.mark.postgres)]
)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without a table, on either engine: for migrations from an older state."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/portal.sqlite3"
    require(postgres.programs(), postgres.MISSING)
    server: postgres.Postgres = request.getfixturevalue("postgres_server")
    with psycopg.connect(server.url, autocommit=True) as database:
        database.execute("DROP DATABASE IF EXISTS older")
        database.execute("CREATE DATABASE older")
    return server.url_of("older")
