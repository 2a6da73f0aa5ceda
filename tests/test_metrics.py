"""Metrics: who may read them, what they say, and that the files about them name metrics that exist."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from pytest_django import DjangoAssertNumQueries, Settings

from billing.models import SyncRun
from customers.connections.client import client_for
from customers.models import Breaker, Heartbeat, InvariantCheck
from portal import metrics
from portal.installation.models import Backup
from portal.notices.models import Notice
from tests.env import KEYS
from tests.house.test_docs import _leads_nowhere, _rows
from tests.support.factories import ConnectionFactory, OperationFactory, UserFactory
from tests.support.sandbox import SandboxProcess
from tests.support.skips import require

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
TOKEN = "a-token-of-the-tests-0123456789"
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
Figures = dict[tuple[str, ...], float]


def _read(text: bytes | str) -> list[Sample]:
    said = text.decode() if isinstance(text, bytes) else text
    return [sample for family in text_string_to_metric_families(said) for sample in family.samples]


def _figures(samples: list[Sample]) -> Figures:
    """The values by name and labels, those in the order of their names."""
    return {(each.name, *(text for _, text in sorted(each.labels.items()))): each.value for each in samples}


def _now() -> Figures:
    return _figures(_read(metrics.exposition(database=True)))


def _scrape(client: Client, token: str = TOKEN, **more: Any) -> Any:
    return client.get("/metrics", headers={"Authorization": f"Bearer {token}"}, **more)


@pytest.fixture
def token(settings: Settings) -> str:
    settings.METRICS_TOKEN = TOKEN
    return TOKEN


# --- Who may read them ------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_without_the_setting_there_is_no_page(client: Client, settings: Settings) -> None:
    client.force_login(UserFactory(role="admin"))
    settings.METRICS_TOKEN = ""
    assert [_scrape(client, known).status_code for known in ("", TOKEN)] == [404, 404]


@pytest.mark.django_db
@pytest.mark.parametrize("given", ["", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer ключ"])
def test_another_token_reads_nothing(client: Client, token: str, given: str) -> None:
    client.force_login(UserFactory(role="admin"))
    answer = client.get("/metrics", headers={"Authorization": given})
    assert (answer.status_code, answer.content) == (401, b"")


@pytest.mark.django_db
def test_the_token_reads_them_by_whatever_name(client: Client, token: str) -> None:
    """Prometheus asks for "web:8000", which is none of ALLOWED_HOSTS."""
    answer = _scrape(client, HTTP_HOST="web:8000")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain")
    assert ("postkeeper_database_up",) in _figures(_read(answer.content))
    assert client.post("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 405


# --- Counted by processes ---------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_requests_are_counted_by_route_and_not_by_path(client: Client, token: str) -> None:
    before = _now()
    client.get("/sign-in/")
    client.get("/no-such-path-0815/")
    client.generic("BREW", "/sign-in/")
    client.get("/healthz")
    risen = {key: value - before.get(key, 0) for key, value in _now().items() if key[0] == "postkeeper_requests_total"}
    assert {key[1:]: n for key, n in risen.items() if n} == {
        ("GET", "account_login", "2xx"): 1,
        ("GET", "-", "4xx"): 1,
        ("other", "account_login", "4xx"): 1,
    }
    counted = ("postkeeper_request_seconds_count", "account_login")
    assert _now()[counted] - before.get(counted, 0) == 2


@pytest.mark.django_db
def test_calls_of_providers_are_counted_by_outcome(sandbox: SandboxProcess) -> None:
    link = ConnectionFactory(base_url=sandbox.base_url, api_key_sealed="")
    link.seal("api_key_sealed", sandbox.key)
    before = _now()
    client_for(link).catalog()
    name = ("postkeeper_provider_calls_total", "catalogue", "sendgrid")
    assert _now()[*name, "2xx"] - before.get((*name, "2xx"), 0) == 1
    metrics.count_provider_call(kind="sendgrid", endpoint="catalogue", status=429, failure="", seconds=1)
    metrics.count_provider_call(kind="sendgrid", endpoint="catalogue", status=500, failure="cut off", seconds=1)
    assert {_now()[*name, outcome] - before.get((*name, outcome), 0) for outcome in ("429", "failed")} == {1}


COUNT = """
import django, os, sys
django.setup()
from portal import metrics
from prometheus_client.parser import text_string_to_metric_families
metrics.SLOW_QUERIES.labels("SELECT").inc(int(sys.argv[1]))
if sys.argv[2] == "fork":
    if child := os.fork():
        os.waitpid(child, 0)
    else:
        metrics.SLOW_QUERIES.labels("SELECT").inc(100)
        os._exit(0)
families = text_string_to_metric_families(metrics.exposition(database=False).decode())
print(*[sample.value for family in families for sample in family.samples], flush=True)
sys.stdin.read()
"""


@pytest.mark.processes
@pytest.mark.long
def test_processes_add_up_and_their_files_stay_few(tmp_path: Path) -> None:
    """A killed process loses nothing, the next one counts on in its file, and all of them at an end begin anew."""
    env = {
        **os.environ, **KEYS, "DATA_DIR": str(tmp_path), "DATABASE_URL": f"sqlite:///{tmp_path}/x.sqlite3",
        "DJANGO_SETTINGS_MODULE": "portal.settings",
    }  # fmt: skip
    running: list[subprocess.Popen[str]] = []

    def count(n: int, how: str = "") -> float:
        process = subprocess.Popen(
            [sys.executable, "-c", COUNT, str(n), how],
            cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.append(process)
        assert process.stdout
        return float(process.stdout.readline())

    def kill(process: subprocess.Popen[str]) -> None:
        process.kill()
        process.communicate()

    assert count(1) == 1
    assert count(2) == 3
    kill(running[0])
    assert count(4) == 7
    assert count(8, "fork") == 115
    assert sorted(path.name for path in (tmp_path / "metrics").glob("*.db")) == [f"counter_{n}.db" for n in range(4)]
    for process in running:
        kill(process)
    assert count(16) == 16
    kill(running[-1])


# --- Read from the database -------------------------------------------------------------------------------------------


def _a_busy_portal(n: int) -> None:
    """`n` rows of each kind that is counted."""
    now = timezone.now()
    for number in range(n):
        link = ConnectionFactory(paused="auth" if number % 2 else "")
        Breaker.objects.create(connection=link, opened_at=now, retry_at=now, failures=5)
        OperationFactory(account__connection=link, state="needs_attention")
        OperationFactory(account__connection=link, state="queued", not_before=now - timedelta(minutes=9))
        Notice.objects.create(
            kind="queue.late", about=str(number), title="t", text="t", path="/", raised_at=now, not_before=now
        )
        SyncRun.objects.create(
            connection=link, kind="nightly", slot="2026-05-04", source="credits", state="running", total=10, done=6,
            failed=1, until=now, started_at=now, not_before=now, lease_until=None,
        )  # fmt: skip
        Heartbeat.objects.create(
            kind="worker", name=f"w{number}", instance=str(number), queues=["ops"], processes=2, started_at=now,
            seen_at=now, clock_skew=-7,
        )  # fmt: skip


@pytest.mark.django_db
def test_what_the_database_says() -> None:
    _a_busy_portal(2)
    check = InvariantCheck.objects.create(slot="x", started_at=NOW, finished_at=NOW, broken=3)
    found = _now()
    assert found["postkeeper_database_up",] == 1
    assert found["postkeeper_operations", "suspend", "queued"] == 2
    assert found["postkeeper_needs_review", "operation.suspend"] == 2
    assert found["postkeeper_work_due", "syncs"] == 2
    assert time_since(found["postkeeper_work_oldest_due_timestamp_seconds", "syncs"]) < timedelta(minutes=1)
    assert found["postkeeper_queue_workers", "ops"] == 2
    assert found["postkeeper_queue_processes", "ops"] == 4
    assert found["postkeeper_queue_workers", "sync"] == 0
    assert found["postkeeper_workers", "alive"] == 2
    assert found["postkeeper_clock_skew_seconds",] == 7
    assert found["postkeeper_scheduler_timestamp_seconds",] == 0
    assert found["postkeeper_connections", "sendgrid", "auth"] == 1
    assert found["postkeeper_connections", "sendgrid", "no"] == 1
    assert found["postkeeper_breakers_open", "sendgrid"] == 2
    assert found["postkeeper_provider_quota_per_minute", "sendgrid"] == 600
    assert found["postkeeper_alerts_open", "queue.late"] == 2
    assert found["postkeeper_integrity_checks_failed",] == 3
    assert found["postkeeper_integrity_check_timestamp_seconds",] == check.started_at.timestamp()
    assert found["postkeeper_sync_accounts", "sendgrid", "pending"] == 3
    assert found["postkeeper_sync_timestamp_seconds", "sendgrid"] == 0
    assert found["postkeeper_backup_timestamp_seconds",] == 0
    Backup.objects.create(name="good", started_at=NOW, finished_at=NOW)
    assert _now()["postkeeper_backup_timestamp_seconds",] == NOW.timestamp()


def time_since(moment: float) -> timedelta:
    return timezone.now() - datetime.fromtimestamp(moment, UTC)


@pytest.mark.django_db
def test_a_scrape_has_a_fixed_number_of_queries(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for n in (1, 6):
        _a_busy_portal(n) if n == 1 else _more()
        with django_assert_num_queries(QUERIES):
            metrics.exposition(database=True)


QUERIES = 24


def _more() -> None:
    Heartbeat.objects.all().delete()
    Notice.objects.all().delete()
    _a_busy_portal(5)


@pytest.mark.django_db
def test_a_database_that_is_down_leaves_the_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(now: datetime) -> Iterator[metrics.Measure]:
        raise OperationalError("down")

    metrics.ATTEMPTS.labels("suspend", "applied").inc()
    monkeypatch.setattr(metrics, "_COLLECTORS", [down])
    found = _now()
    assert found["postkeeper_database_up",] == 0
    assert found["postkeeper_attempts_total", "suspend", "applied"] >= 1
    assert [name for name, *_ in found if name.startswith("postkeeper_queue")] == []


# --- The files about them ---------------------------------------------------------------------------------------------

ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
PANELS = [
    each for each in json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())["panels"] if "targets" in each
]
EXPRESSIONS = [each["expr"] for each in ALERTS] + [each["expr"] for panel in PANELS for each in panel["targets"]]
OF_HISTOGRAMS = ("_bucket", "_sum", "_count")


def _declared() -> dict[str, tuple[str, tuple[str, ...]]]:
    counted = {
        each._name + ("_total" if each._type == "counter" else ""): (each._type, tuple(each._labelnames))
        for each in metrics.COUNTED
    }
    return counted | {each.name: ("gauge", each.labels) for each in metrics.STORED}


def test_the_reference_has_every_metric() -> None:
    rows = {row[0].strip("`"): (row[1], tuple(re.findall(r"`(\w+)`", row[2]))) for row in _rows("metrics.md")}
    assert rows == _declared()


@pytest.mark.django_db
def test_dashboard_and_alerts_name_what_a_scrape_has() -> None:
    """Every metric, every label it is selected or grouped by, in a scrape of a portal where everything occurs."""
    _a_busy_portal(1)
    Heartbeat.objects.create(kind="queue", name="ops", started_at=NOW, seen_at=NOW, ended_at=NOW)
    metrics.count_request(route="home", method="GET", status=500, seconds=1)
    metrics.count_provider_call(kind="sendgrid", endpoint="usage", status=200, failure="", seconds=1)
    for counter in (metrics.ATTEMPTS, metrics.STEPS):
        counter.labels("suspend", "unknown").inc()
    metrics.SLOW_QUERIES.labels("SELECT").inc()
    labels: dict[str, set[str]] = {}
    for sample in _read(metrics.exposition(database=True)):
        labels.setdefault(sample.name, set()).update(sample.labels)
    used = {name for text in EXPRESSIONS for name in re.findall(r"\bpostkeeper_\w+", text)}
    assert used - labels.keys() == set()
    wrong = [
        (text, label)
        for text in EXPRESSIONS
        if (names := re.findall(r"\bpostkeeper_\w+", text))
        for group in re.findall(r"by \(([^)]*)\)", text)
        + re.findall(r"(\w+)=~?\"", text)
        + re.findall(r"(\w+)!=", text)
        for label in re.split(r"\s*,\s*", group)
        if not all(label in labels[name] for name in names)
    ]
    assert wrong == []
    unused = {name for name in _declared() if not {name, *(name + end for end in OF_HISTOGRAMS)} & used}
    assert unused == set()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_what_to_do(alert: dict[str, Any]) -> None:
    said = alert["annotations"]
    assert said["summary"].strip().endswith(".")
    assert not _leads_nowhere(ROOT / "README.md", said["docs"])


def test_the_scrape_targets_are_those_of_the_compose_file() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    jobs = yaml.safe_load((DEPLOY / "prometheus" / "scrape.yml").read_text())["scrape_configs"]
    targets = {target for job in jobs for each in job["static_configs"] for target in each["targets"]}
    binds = {name: each.get("environment", {}).get("METRICS_BIND", "") for name, each in services.items()}
    assert targets == {"web:8000"} | {f"{name}:{bind.rpartition(':')[2]}" for name, bind in binds.items() if bind}


@pytest.mark.processes
def test_promtool_accepts_the_alerts_and_they_fire() -> None:
    """tests/alerts.yml plays values through the rules: each alert fires on its fault, and on nothing else."""
    require(shutil.which("promtool"), "promtool is not installed (Debian: apt-get install prometheus)")
    rules = ["promtool", "check", "rules", str(DEPLOY / "prometheus" / "alerts.yml")]
    for command in (rules, ["promtool", "test", "rules", str(ROOT / "tests" / "alerts.yml")]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    tried = {each["alertname"] for test in yaml.safe_load((ROOT / "tests" / "alerts.yml").read_text())["tests"]
             for each in test["alert_rule_test"]}  # fmt: skip
    assert tried == {each["alert"] for each in ALERTS}


def test_the_metrics_have_no_label_for_people() -> None:
    """Labels name kinds, states, and routes: nothing that a customer, a person, or a provider chooses."""
    allowed = {
        "route", "method", "status", "kind", "endpoint", "outcome", "state", "statement", "subject", "work", "queue",
        "paused", "alert",
    }  # fmt: skip
    assert {label for _, labels in _declared().values() for label in labels} <= allowed
