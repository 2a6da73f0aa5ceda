"""Real workers, one per queue: one is killed, and the admins are told which queue nobody consumes."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portal.queue_settings import NAMES
from tests.chaos.clock import VARIABLE, Clock
from tests.journeys.processes import Installation, installation, until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("journeys")]

LOOK = """
import json
from customers.models import Heartbeat
from portal.notices.models import Notice
print(json.dumps({
    "workers": [[row.name, row.queues] for row in Heartbeat.objects.filter(kind="worker", ended_at=None)],
    "tick": str(Heartbeat.objects.filter(kind="scheduler").values_list("seen_at", flat=True).first() or ""),
    "alarms": [[row.title, row.mailed_to] for row in Notice.objects.filter(ended_at=None)],
}))
"""
ADMIN = "from portal.access.models import User; User.objects.create_user('ada@example.com', name='Ada', role='admin')"
ALARM = "No worker consumes the sync queue"


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[tuple[Installation, Clock]]:
    clock = Clock(tmp_path / "ahead")
    more = {VARIABLE: str(tmp_path / "ahead"), "DJANGO_SETTINGS_MODULE": "tests.chaos.settings"}
    with installation(tmp_path / "data", **more) as one:
        one.prepare()
        one.python(ADMIN)
        yield one, clock


@pytest.mark.long
def test_a_killed_worker_is_an_alarm_until_it_is_replaced(
    portal: tuple[Installation, Clock],
) -> None:
    here, clock = portal
    here.start_beat()
    every = {name: [name] for name in NAMES}
    started = {name: here.start_worker(name, queues=name) for name in NAMES}
    sync = started["sync"]
    until(lambda: _queues(here) == every, what="the workers", every=1)
    until(lambda: _look(here)["tick"], what="the scheduler's tick", every=1)
    sync.send_signal(signal.SIGKILL)
    sync.wait()

    for _ in range(2):  # not at once: after a standstill of two minutes the scheduler would count as just started
        before = _look(here)["tick"]
        clock.move(80)
        until(lambda old=before: _look(here)["tick"] > old, what="the scheduler's next tick", every=1)
    assert until(lambda: _look(here)["alarms"], what="the alarm", every=1)[0][0] == ALARM
    until(lambda: [ALARM, 1] in _look(here)["alarms"], what="its mail, by the worker that is left", every=1)

    here.start_worker("sync", queues="sync")
    until(lambda: _look(here)["alarms"] == [], what="the end of the alarm", every=1)
    assert _queues(here) == every
    assert "worker.started queues=['sync']" in re.sub(r"worker=\S+ ?", "", here.said("sync"))


@pytest.mark.long
def test_two_workers_of_one_name_are_an_alarm(portal: tuple[Installation, Clock]) -> None:
    here, clock = portal
    here.start_beat()
    here.start_worker("celery")
    until(lambda: _queues(here), what="the first worker", every=1)
    here.start_worker("celery")
    clock.move(31)  # the next heartbeat of both
    until(lambda: _look(here)["alarms"], what="the alarm", every=1)
    (title, _mailed) = _look(here)["alarms"][0]
    assert title.startswith("More than one worker is named celery@")


def _look(portal: Installation) -> dict[str, Any]:
    return dict(json.loads(portal.python(LOOK)))


def _queues(portal: Installation) -> dict[str, list[str]]:
    return {name.partition("@")[0]: queues for name, queues in _look(portal)["workers"]}
