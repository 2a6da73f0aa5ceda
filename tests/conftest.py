"""Fixtures every test may ask for. A server starts once per run and worker, when the first test asks."""

from __future__ import annotations

import gc
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from django.db import connection as database
from pytest_django import DjangoDbBlocker
from redis import Redis as Client

from tests.support import postgres, redis, samples, template
from tests.support.skips import require, skip_or_fail

# A case has no time limit: its default of 200 ms is little where a machine does much else. The same cases in every run;
# `make proof` looks for others.
hypothesis.settings.register_profile("proof", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("suite", hypothesis.settings.get_profile("proof"), derandomize=True)
hypothesis.settings.load_profile("proof" if samples.is_proof() else "suite")
pytest_plugins = [
    "tests.support.fixtures", "tests.support.append_only", "tests.support.updates", "tests.support.browser",
]  # fmt: skip

TESTS = Path(__file__).parent
# Markers that follow from what a test uses or where it stands (tests/run.py selects by them).
MARKED_BY_FIXTURE = {"postgres_server": "processes", "sandbox_process": "simulator"}
MARKED_BY_FOLDER = {
    "journeys": "processes", "chaos": "processes", "upgrade": "processes", "simulation": "simulation slow",
    "sandbox": "simulator",
}  # fmt: skip
# `make test` runs everything on PostgreSQL, as customers do, and on SQLite too what depends on the database most:
# locks, conditions of an UPDATE, triggers, constraints. `make test-fast` runs all quick tests on SQLite.
ON_BOTH = {
    "audit/append_only",
    "audit/chain",
    "audit/expiry",
    "audit/redaction",
    "audit/tamperings",
    "audit/together",
    "audit/recording",
    "billing/scaled_costs_migration",
    "billing/usage/pooled_sync",
    "billing/usage/snapshots",
    "billing/usage/retention",
    "billing/usage/sync",
    "figures/billed_months",
    "figures/months",
    "customers/connections/circuit_breaker",
    "customers/dispatcher",
    "customers/observed/duplicates",
    "customers/operations/transitions",
    "customers/schedules/holds",
    "customers/observed/accounts",
    "customers/directory/list",
    "customers/observed/account_list",
    "customers/schedules/commands",
    "leases",
    "money_field",
    "customers/operations/submissions",
    "customers/recovery/recovery",
    "recovery/archive",
    "recovery/drill",
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NO_BROWSER = "no Chromium on this machine (Debian: apt-get install chromium fonts-dejavu-core)"


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    _take_samples(config, items)
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in MARKED_BY_FIXTURE:
                item.add_marker(MARKED_BY_FIXTURE[fixture])
        if item.get_closest_marker("proof"):
            item.add_marker("slow")
            if database.vendor == "sqlite":
                item.add_marker(pytest.mark.skip(reason="a race that PostgreSQL alone can have"))
        where = item.path.relative_to(TESTS)
        for marker in MARKED_BY_FOLDER.get(where.parts[0], "").split():
            item.add_marker(marker)
        if where.as_posix().removesuffix(".py").replace("test_", "") in ON_BOTH:
            item.add_marker("both")
    # What takes long begins first, so that no worker waits for another one at the end.
    items.sort(key=lambda item: not any(map(item.get_closest_marker, ("slow", "long"))))
    yield
    # The simulation before any browser: that leaves an event loop, in which Django keeps other connections than the one
    # that the simulation puts in place. (After pytest-django, which puts tests without a database of its own last.)
    items.sort(key=lambda item: item.get_closest_marker("simulation") is None)


def pytest_collection_finish() -> None:
    """What was loaded stays: the collector of unused objects need not look at it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def _take_samples(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave n parameter sets of a test marked `sample(n)`, save where somebody named one."""
    if any("[" in argument for argument in config.args):
        return
    families = defaultdict(list)
    for item in items:
        if marker := item.get_closest_marker("sample"):
            families[item.nodeid.partition("[")[0], marker.args[0]].append(item)
    left_out: set[pytest.Item] = set()
    for (name, count), family in families.items():
        left_out |= set(family) - set(samples.sample(family, count, name=name))
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=list(left_out))


@pytest.fixture(scope="session")
def django_db_keepdb(django_db_modify_db_settings: None) -> bool:
    """Begin with a copy of a migrated database (on PostgreSQL the server copies it)."""
    if database.vendor != "sqlite":
        return False
    template.copy_to(Path(database.settings_dict["TEST"]["NAME"]))
    return True


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """End the sessions that the processes of tests left: PostgreSQL drops no database that another session uses."""
    yield
    if database.vendor == "postgresql":
        with django_db_blocker.unblock(), database.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


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


@pytest.fixture(autouse=True)
def _rows_may_go_back(request: pytest.FixtureRequest) -> None:
    """Tests share a Redis and empty their databases: forget the last rows of the test before (portal.installation)."""
    if "redis_server" in request.fixturenames:
        client = Client.from_url(request.getfixturevalue("redis_server").url)
        for mark in client.scan_iter("postkeeper:rows:*"):
            client.delete(mark)


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, object]:
    """pytest-playwright starts the system's browser; its own download is not used."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    require(found, NO_BROWSER)
    assert found is not None
    # Root (in a container) cannot use Chromium's sandbox; a small /dev/shm makes it crash; a GPU is only imitated.
    return {"executable_path": str(Path(found)), "args": ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict[str, object]) -> dict[str, object]:
    """Nothing moves: what is drawn again and again takes most of the time of a browser without a GPU."""
    return browser_context_args | {"reduced_motion": "reduce"}
