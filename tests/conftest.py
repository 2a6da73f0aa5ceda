"""Fixtures every test may ask for. A server starts once per run and worker, when the first test asks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection as database

from tests.support import postgres, redis, template
from tests.support.skips import require, skip_or_fail

pytest_plugins = ["tests.support.fixtures", "tests.support.append_only", "tests.support.updates"]

TESTS = Path(__file__).parent
# Markers that follow from what a test uses or where it stands (tests/run.py selects by them).
MARKED_BY_FIXTURE = {"postgres_server": "processes", "sandbox_process": "simulator"}
MARKED_BY_FOLDER = {
    "journeys": "processes", "chaos": "processes", "upgrade": "processes", "simulation": "slow", "sandbox": "simulator",
}  # fmt: skip
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NO_BROWSER = "no Chromium on this machine (Debian: apt-get install chromium fonts-dejavu-core)"


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in MARKED_BY_FIXTURE:
                item.add_marker(MARKED_BY_FIXTURE[fixture])
        if item.get_closest_marker("proof"):
            item.add_marker("slow")
            if database.vendor == "sqlite":
                item.add_marker(pytest.mark.skip(reason="a race that PostgreSQL alone can have"))
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in MARKED_BY_FOLDER:
            item.add_marker(MARKED_BY_FOLDER[folder])
    # What takes long begins first, so that no worker waits for another one at the end.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def django_db_keepdb(django_db_modify_db_settings: None) -> bool:
    """Begin with a copy of a migrated database (on PostgreSQL the server copies it)."""
    if database.vendor != "sqlite":
        return False
    template.copy_to(Path(database.settings_dict["TEST"]["NAME"]))
    return True


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Postgres]:
    """A PostgreSQL server beside the run's own database, for tests that restart or restore one."""
    require(postgres.programs(), postgres.MISSING)
    try:
        server = postgres.Postgres(durable=True)
    except postgres.Unavailable as error:
        skip_or_fail(str(error))
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[redis.Redis]:
    require(shutil.which("redis-server"), redis.MISSING)
    server = redis.Redis()
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, object]:
    """pytest-playwright starts the system's browser; its own download is not used."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    require(found, NO_BROWSER)
    assert found is not None
    # Root (in a container) cannot use Chromium's sandbox; a small /dev/shm makes it crash.
    return {"executable_path": str(Path(found)), "args": ["--no-sandbox", "--disable-dev-shm-usage"]}
