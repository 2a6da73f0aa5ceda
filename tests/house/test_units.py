"""The processes of docker-compose.yml are those of the reference, of deploy/systemd and of deploy/Procfile."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from portal.queue_settings import NAMES
from tests.house.test_compose import COMPOSE, DOCKERFILE, OURS, SECRETS
from tests.house.test_deploy import ROOT
from tests.journeys.processes import PASSWORD, Installation, answers, installation, until
from tests.journeys.test_production_services import LOOK, PACKAGE, Visitor, _prepare
from tests.support.postgres import Postgres, free_port
from tests.support.redis import Redis
from tests.support.skips import require

pytestmark = pytest.mark.processes
SYSTEMD = ROOT / "deploy" / "systemd"
UNITS = {path.stem.removeprefix("postkeeper-"): path.read_text() for path in SYSTEMD.glob("*.service")}
COMMON = (SYSTEMD / "postkeeper-.service.d" / "common.conf").read_text()
LASTING = {"web", "worker-ops", "worker-clock", "worker-sync", "beat"}
PROCFILE = dict(line.split(": ", 1) for line in (ROOT / "deploy" / "Procfile").read_text().splitlines())


def _of_compose(name: str) -> str:
    default = json.loads(re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[0])
    return shlex.join(OURS[name].get("command", default))


def _option(unit: str, name: str) -> str:
    (value,) = re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)
    return str(value)


def _seconds(grace: str) -> str:
    return grace.removesuffix("s")


@pytest.mark.parametrize("name", sorted(LASTING | {"migrate"}))
def test_a_unit_is_the_service_of_compose(name: str) -> None:
    unit = UNITS[name]
    command = _option(unit, "ExecStart").replace("/opt/postkeeper/.venv/bin/", "").replace("%%", "%")
    assert command == _of_compose(name).replace("'", "")
    assert _option(unit, "MemoryMax").lower() == OURS[name]["mem_limit"]
    tasks = re.findall(r"^TasksMax=(\d+)$", f"{COMMON}\n{unit}", re.MULTILINE)
    assert tasks[-1] == str(OURS[name]["pids_limit"])
    for setting in ("PORTAL_WORKER", "PORTAL_STATEMENT_SECONDS"):
        expected = OURS[name]["environment"].get(setting)
        assert (f"Environment={setting}={expected}" in unit) == (expected is not None)
    if name != "migrate":
        assert _option(unit, "TimeoutStopSec") == _seconds(OURS[name]["stop_grace_period"])
        assert _option(unit, "Restart") == "always"


def test_every_process_has_its_unit() -> None:
    assert set(UNITS) == LASTING | {"migrate", "backup"}
    target = (SYSTEMD / "postkeeper.target").read_text()
    assert set(re.findall(r"postkeeper-([\w-]+)\.service", target)) == LASTING


@pytest.mark.parametrize("name", sorted(LASTING))
def test_the_procfile_and_the_reference_name_the_same_commands(name: str) -> None:
    expected = _of_compose(name).replace("'", "")
    assert PROCFILE[name].removeprefix("PORTAL_WORKER=1 ") == expected
    assert PROCFILE[name].startswith("PORTAL_WORKER=1 ") == ("PORTAL_WORKER" in OURS[name]["environment"])
    reference = (ROOT / "docs" / "reference" / "queues.md").read_text()
    assert f"| {name} | `{expected.replace(' --quiet', '')}` |" in reference


def test_secrets_are_handed_over_as_credentials() -> None:
    loaded = set(re.findall(r"^LoadCredential=(\w+):/etc/postkeeper/\1$", COMMON, re.MULTILINE))
    named = set(re.findall(r"^Environment=([A-Z_]+)_FILE=%d/\w+$", COMMON, re.MULTILINE))
    assert named == SECRETS
    assert loaded == set(COMPOSE["secrets"]) == {name.lower() for name in SECRETS}


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units for a checkout that exists, as systemd looks for them."""
    require(shutil.which("systemd-analyze"), "systemd-analyze is not installed (Debian: apt-get install systemd)")
    shutil.copytree(SYSTEMD, tmp_path / "units")
    for path in (tmp_path / "units").rglob("*"):
        if path.is_file():
            path.write_text(path.read_text().replace("/opt/postkeeper", str(ROOT)))
    return tmp_path / "units"


def _analyze(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:/lib/systemd/system"}
    return subprocess.run(["systemd-analyze", *arguments], env=env, capture_output=True, text=True, check=False)


def test_systemd_accepts_the_units(installed: Path) -> None:
    names = [path.name for path in installed.iterdir() if path.is_file()]
    done = _analyze(installed, "verify", "--recursive-errors=no", *names)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "postkeeper" in line]) == (0, [])


@pytest.mark.parametrize("name", sorted(UNITS))
def test_a_unit_may_do_little(installed: Path, name: str) -> None:
    """An exposure of 0 to 10, times ten; most services of a distribution have 90 and more."""
    unit = f"postkeeper-{name}.service"
    done = _analyze(installed, "security", "--offline=true", "--threshold=15", "--no-pager", unit)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.xdist_group("journeys")
def test_the_processes_of_the_procfile_run(tmp_path: Path, postgres_server: Postgres, redis_server: Redis) -> None:
    """All of them, as they stand: pages are ready, every queue has its worker, and an account is created."""
    with psycopg.connect(postgres_server.url, autocommit=True) as server:
        server.execute("CREATE DATABASE procfile")
    services: dict[str, Any] = {"DATABASE_URL": postgres_server.url_of("procfile"), "REDIS_URL": redis_server.url}
    with installation(tmp_path, WEB_BIND=f"127.0.0.1:{free_port()}", WEB_CONCURRENCY="1", **services) as portal:
        _prepare(portal)
        for name, line in PROCFILE.items():
            command = line.removeprefix("PORTAL_WORKER=1 ")
            more = {} if command == line else {"PORTAL_WORKER": "1"}
            portal.spawn(name, "-m", *shlex.split(command), **more)
        portal.url = f"http://{portal.env['WEB_BIND']}"
        until(lambda: answers(f"{portal.url}/readyz"), what="the pages")
        until(lambda: _queues(portal) == set(NAMES), what="the workers", every=1)
        visitor = Visitor(portal.url)
        assert visitor.post("/sign-in/", login="ada@example.com", password=PASSWORD) == "/"
        connection = portal.python("from customers.models import Connection; print(Connection.objects.get().public_id)")
        visitor.post(
            "/customers/new/",
            company_name="Northwind", email="ops@northwind.example", connection=connection, package=PACKAGE,
        )  # fmt: skip
        until(lambda: json.loads(portal.python(LOOK)) == [["active", PACKAGE]], what="the account", every=1)
        assert len(portal.sandbox.admin.accounts()) == 1
        for name in ("ops", "clock", "sync", "beat", "healthz"):
            assert _probe(portal, name) == 0, name


def _queues(portal: Installation) -> set[str]:
    workers = "Heartbeat.objects.filter(kind='worker')"
    look = f"from customers.models import Heartbeat; print(*[row.queues[0] for row in {workers}])"
    return set(portal.python(look).split())


def _probe(portal: Installation, name: str) -> int:
    command = [".venv/bin/python", "-m", "portal.health_probe", name]
    return subprocess.run(command, cwd=ROOT, env=portal.env, check=False).returncode
