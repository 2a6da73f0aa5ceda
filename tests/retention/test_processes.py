"""A worker that is killed half way, and workers beside each other: every row is removed once, and counted once."""

from __future__ import annotations

import multiprocessing
import os
import signal
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from portal.audit.models import AuditEvent
from portal.notices.models import Notice
from portal.retention import runs
from portal.retention.models import RetentionRun
from portal.retention.rules import RetentionRule
from tests.retention import rows
from tests.support.together import together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow, pytest.mark.long, pytest.mark.both]
NOW = timezone.now()
LATER = NOW + timedelta(minutes=6)  # the lease of a worker that is gone has expired


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    right = RetentionRule.remove_batch
    monkeypatch.setattr(RetentionRule, "remove_batch", lambda rule, before: right(rule, before, limit=2))


def prepared(old: int) -> RetentionRun:
    rows.retention_run(NOW - timedelta(days=2))
    for _ in range(old):
        rows.notice(NOW - timedelta(days=91))
    run = runs.begin_retention_run("night", now=NOW)
    assert run is not None
    return run


@pytest.mark.parametrize("batch", [1, 3])
def test_a_killed_worker_is_continued(batch: int) -> None:
    run = prepared(9)

    def die() -> None:
        connections["default"].connection = None
        right, calls = RetentionRun.write, iter(range(1, 100))

        def write(row: RetentionRun, **facts: Any) -> None:
            right(row, **facts)
            if "removed" in facts and next(calls) == batch:  # removed and counted, not committed
                os.kill(os.getpid(), signal.SIGKILL)

        RetentionRun.write = write  # type: ignore[method-assign]  # of this process alone
        runs.apply_rules(run.pk, clock=lambda: NOW)

    connections.close_all()
    process = multiprocessing.get_context("fork").Process(target=die)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    run.refresh_from_db()
    done = 2 * (batch - 1)
    assert Notice.objects.filter(kind="kind").count() == 9 - done
    assert run.removed.get("notices", 0) == done
    assert not runs.apply_rules(run.pk, clock=lambda: NOW), "its lease holds"
    assert not runs.apply_rules(run.pk, clock=lambda: LATER)
    run.refresh_from_db()
    assert (run.state, run.removed) == ("ended", {"notices": 9})
    assert AuditEvent.objects.filter(verb="retention.applied").count() == 1


def test_workers_beside_each_other_remove_each_row_once() -> None:
    run = prepared(30)

    def work(place: int) -> None:
        for _ in range(60):
            runs.apply_rules(run.pk, clock=lambda: NOW, seconds=0)

    assert together(work, 3) == [None] * 3
    while runs.apply_rules(run.pk, clock=lambda: LATER):
        pass
    run.refresh_from_db()
    assert (run.state, run.removed) == ("ended", {"notices": 30})
    assert AuditEvent.objects.filter(verb="retention.applied").count() == 1
