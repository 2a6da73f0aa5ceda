"""Tasks and their schedule: a message carries ids, and every name in the schedule is a task somebody wrote."""

from __future__ import annotations

import ast
import importlib
import inspect
import operator
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import Task
from django.conf import settings

from portal import queue as portal_queue
from portal import queue_settings
from portal.celery import app
from portal.demo import run as demo_run

ROOT = Path(__file__).resolve().parents[2]

app.autodiscover_tasks(force=True)
OURS: dict[str, Task] = {name: task for name, task in app.tasks.items() if not name.startswith("celery.")}


def test_every_scheduled_name_is_a_task() -> None:
    scheduled = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert scheduled, "the dispatcher at least"
    assert scheduled <= set(OURS)


def test_scheduled_tasks_need_no_arguments() -> None:
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        inspect.signature(OURS[entry["task"]].run).bind()


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_task_takes_ids_only_and_tolerates_more(name: str) -> None:
    """An old worker must survive a newer sender, and whoever writes to the broker must not be believed."""
    parameters = list(inspect.signature(OURS[name].run).parameters.values())
    tolerant = [each for each in parameters if each.kind is inspect.Parameter.VAR_KEYWORD]
    assert tolerant, "add **_"
    for each in parameters:
        if each not in tolerant:
            assert each.annotation in {"int", "str", int, str}, f"{each.name} is no id"
            assert each.name.endswith("_id"), f"{each.name} is no id"


def test_only_json_is_accepted_and_nothing_is_kept() -> None:
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_serializer == "json"
    assert app.conf.task_ignore_result is True
    assert app.conf.result_backend is None
    assert app.conf.task_acks_late is True
    assert app.conf.task_reject_on_worker_lost is True


@pytest.mark.parametrize("name", sorted(OURS))
def test_limits_stay_inside_the_visibility_timeout(name: str) -> None:
    """A task that runs longer than this would be handed to a second worker while the first still works."""
    hard = OURS[name].time_limit or app.conf.task_time_limit
    soft = OURS[name].soft_time_limit or app.conf.task_soft_time_limit
    assert soft < hard < 900


def test_every_queue_has_its_worker_wherever_workers_are_started() -> None:
    """One row in portal/queue_settings.py, one worker of that name in production; the demo's worker consumes all."""
    compose = (ROOT / "docker-compose.yml").read_text()
    documented = (ROOT / "docs" / "reference" / "queues.md").read_text()
    (argv,) = [member.argv for member in demo_run._background({}) if member.name == "worker"]
    assert set(argv[argv.index("-Q") + 1].split(",")) == set(queue_settings.NAMES)
    for name in queue_settings.NAMES:
        assert f"worker, -n, {name}@%h, -Q, {name}," in compose
        assert f"worker -n {name}@%h -Q {name} " in documented


@pytest.mark.parametrize("task", ["customers.check_workers", "notices.deliver"])
def test_alarms_are_raised_and_mailed_from_every_queue(task: str) -> None:
    """A dead worker must not take the alarm about itself with it."""
    schedule = [entry for entry in settings.CELERY_BEAT_SCHEDULE.values() if entry["task"] == task]
    assert {entry["options"]["queue"] for entry in schedule} == set(queue_settings.NAMES)


def test_every_message_of_the_scheduler_expires() -> None:
    """Hours without a worker must not be worked off afterwards. Not sooner than workers' clocks may be wrong."""
    for name, entry in settings.CELERY_BEAT_SCHEDULE.items():
        assert entry.get("options", {}).get("expires") == max(entry["schedule"], queue_settings.EXPIRES), name


def test_what_is_poked_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dispatcher pokes what is due every five seconds, also while nobody consumes the queue."""
    sent: list[dict[str, object]] = []
    monkeypatch.setattr(portal_queue, "current_app", SimpleNamespace(send_task=lambda _task, **more: sent.append(more)))
    portal_queue._send("customers.perform", (1,), None)
    assert [each["expires"] for each in sent] == [queue_settings.EXPIRES]


CALLS_A_PROVIDER = re.compile(r"client_for|background_client|trial_client|executor|try_again|run_scan|import_chunk")


# Long work that nothing waits for: not among what decides that something is due.
NOT_URGENT = (
    "privacy.advance_requests",
    "billing.assess_figures",
    "billing.advance_exports",
    "billing.rate_statements",
    "billing.advance_parallel_months",
    "billing.advance_closings",
    "customers.mark_late_usage",
)


def test_the_clock_queue_calls_no_provider() -> None:
    """What decides that something is due or lost must not stand behind a provider's answer."""
    (clock,) = [queue for queue in queue_settings.QUEUES if queue.name == "clock"]
    assert set(clock.tasks) <= set(OURS)
    for name in clock.tasks:
        assert queue_settings.ROUTES[name] == {"queue": "clock"}
        assert not CALLS_A_PROVIDER.search(inspect.getsource(OURS[name].run)), name
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        if "queue" not in entry["options"] and entry["task"] not in NOT_URGENT:
            assert entry["task"] in clock.tasks


def test_every_enqueued_name_is_a_constant_that_names_a_task() -> None:
    """A misspelled name would be a message that no worker takes."""
    found = 0
    for path in (
        path for app_name in ("customers", "billing", "portal") for path in ROOT.joinpath(app_name).rglob("*.py")
    ):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = [node.args[0] for node in calls if ast.unparse(node.func).endswith("enqueue_on_commit")]
        if not names:
            continue
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for name in names:
            assert isinstance(name, ast.Name | ast.Attribute), f"{module.__name__}: {ast.unparse(name)} is no constant"
            assert operator.attrgetter(ast.unparse(name))(module) in OURS, f"{module.__name__}: {ast.unparse(name)}"
            found += 1
    assert found > 10
