"""A rolling upgrade from 0.1.0 under load: every process is replaced by its successor, one after the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.env import KEYS
from tests.journeys.processes import CELERY, PASSWORD, ROOT, Installation, until
from tests.support.postgres import Postgres
from tests.support.redis import Redis
from tests.support.sandbox import SandboxProcess
from tests.support.skips import require
from tests.upgrade.load import Fleet, Person
from tests.upgrade.stored import FOLDER, loaded_postgres

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.redis, pytest.mark.xdist_group("journeys")]

RELEASE, COMMIT = "0.1.0", "a61dd27"
NAME = "Rolling"
OLD_QUEUES, QUEUES = ("ops", "sync"), ("ops", "sync", "clock")
PEOPLE = """
from portal.access.models import User
for n in range({n}):
    User.objects.create_user(f"person-{{n}}@load.example", "{password}", name=f"Person {{n}}", role="admin")
"""
LOOK = f"""
import json
from collections import Counter
from customers.models import Account, Operation
from customers.models.operation_states import FINAL
mine = Operation.objects.filter(connection__name="{NAME}")
print(json.dumps({{
    "open": mine.exclude(state__in=FINAL).count(), "states": Counter(mine.values_list("state", flat=True)),
    "asked": mine.count(), "kinds": Counter(mine.values_list("kind", flat=True)),
    "unknown": mine.filter(steps__after="unknown").count(),
    "accounts": dict(Account.objects.filter(connection__name="{NAME}").values_list("provider_id", "state")),
}}))
"""


BROKEN = """
import json
from customers.monitoring import invariants
from django.utils import timezone
found = invariants.check(now=timezone.now())
print(json.dumps({each.code: each.rows or each.error for each in found if each.is_broken}))
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The files of the release."""
    archive = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, capture_output=True, check=False)
    require(archive.returncode == 0, f"The git history lacks release {RELEASE} ({COMMIT}).")
    folder = tmp_path / RELEASE
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder


@pytest.fixture
def releases(
    code: Path, tmp_path: Path, postgres_server: Postgres, redis_server: Redis
) -> Iterator[tuple[Installation, Installation]]:
    """The release on its filled database, and the present code beside it, with nothing started yet."""
    stored = loaded_postgres(FOLDER / f"{RELEASE}.postgres.sql.gz", postgres_server.url, f"rolling_{os.getpid()}")
    data = tmp_path / "data"
    data.mkdir()
    with stored as url, SandboxProcess(data=data / "sandbox.sqlite3") as sandbox:
        env = {**KEYS, "DATABASE_URL": url, "REDIS_URL": redis_server.url, "DATA_DIR": str(data), "LOG_LEVEL": "INFO"}
        old, new = (Installation(data, sandbox, where, **env) for where in (code, ROOT))
        try:
            yield old, new
        finally:
            old.end_all()
            new.end_all()


def prepare(old: Installation, people: int) -> str:
    """Connect the release to the simulator, pause what the stored story is connected to, and return the connection."""
    old.manage("createcachetable", "-v", "0")
    old.sandbox.admin.add_organisation("rolling")
    key = old.sandbox.admin.add_key(organisation="rolling", key="sandbox-key-rolling")
    old.manage("connect", "sendgrid", "--name", NAME, "--base-url", old.sandbox.base_url, PORTAL_API_KEY=key)
    old.manage("shell", "--no-imports", "-v", "0", "-c", PEOPLE.format(n=people, password=PASSWORD))
    with psycopg.connect(old.env["DATABASE_URL"], autocommit=True) as database:
        database.execute("UPDATE customers_connection SET paused = 'person' WHERE name <> %s", [NAME])
        found = database.execute("SELECT public_id FROM customers_connection WHERE name = %s", [NAME]).fetchone()
        assert found
        return str(found[0])


def start_worker(portal: Installation, name: str, queue: str) -> subprocess.Popen[bytes]:
    argv = ("worker", "-c", "2", "-Q", queue, "-n", f"{name}@rolling", "--without-gossip", "--without-mingle")
    return portal.spawn(name, *CELERY, *argv, PORTAL_WORKER="1")


def look(portal: Installation) -> dict[str, object]:
    return dict(json.loads(portal.python(LOOK)))


def test_nothing_fails_while_every_process_is_replaced(releases: tuple[Installation, Installation]) -> None:
    old, new = releases
    fleet, stop = Fleet(), threading.Event()
    connection = prepare(old, 3)
    webs = {name: old.start_web_process(name) for name in ("web-a", "web-b")}
    for url, _process in webs.values():
        fleet.add(url)
    workers = {name: start_worker(old, name, name.partition("-")[0]) for name in ("ops-1", "ops-2", "sync-1")}
    beat = old.start_beat()
    people = [Person(fleet, f"person-{n}@load.example", connection, stop) for n in range(3)]
    for each in people:
        each.start()

    def go_on(requests: int = 15) -> None:
        """Until everybody had so many more answers."""
        goal = {each: len(each.answers) + requests for each in people}
        until(
            lambda: any(each.error for each in people) or all(len(p.answers) >= n for p, n in goal.items()), what="load"
        )
        assert not [each.error for each in people if each.error], people

    go_on(30)
    old.end(workers.pop("sync-1"))
    new.manage("migrate", "-v", "0", PORTAL_STATEMENT_SECONDS="0")
    go_on()
    for name, (url, process) in webs.items():
        fresh, _process = new.start_web_process(f"{name}-new")
        fleet.add(fresh)
        fleet.remove(url)
        old.end(process)
        go_on()
    for name, process in workers.items():
        old.end(process)
        start_worker(new, f"{name}-new", "ops")
        go_on()
    for queue in ("clock", "sync"):
        start_worker(new, f"{queue}-new", queue)
    old.end(beat)
    new.start_beat()
    go_on(30)
    stop.set()
    for each in people:
        each.join(60)
    until(lambda: not look(new)["open"], what="the end of every operation", every=1)

    found = look(new)
    statuses = Counter(status for each in people for _, status, _ in each.answers)
    failed = [answer for each in people for answer in each.answers if answer[1] >= 500]
    sys.stdout.write(f"{statuses} {found}\n")
    assert not [each.error for each in people if each.error]
    assert failed == []
    assert found["unknown"] == 0
    assert found["asked"] == sum(each.accepted for each in people) > 20
    there = {each["id"] for each in new.sandbox.admin.accounts()}
    assert set(found["accounts"]) == there
    # Usage after the last changes is still being stored, and a check reads more than one table. What is wrong stays so.
    # I20: the stored accounts were read long ago, and are at paused connections.
    until(lambda: not json.loads(new.python(BROKEN)).keys() - {"I20"}, what=f"clean checks: {new.python(BROKEN)}")
    new.manage("verify_audit")
