"""What the pipeline of a sync does beside reading: it says what binds it, and ends where its connection is another."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection as database

from billing.models import SyncItem, SyncRun, UsageSnapshot
from billing.usage import pipeline, runs
from billing.usage import sync as usage_sync
from customers.connections import circuit_breaker
from customers.connections.client import background_client
from customers.models import Account, Connection
from tests.billing.conftest import Meter

pytestmark = pytest.mark.django_db


@pytest.mark.long
def test_a_run_says_that_the_quota_binds_it(meter: Meter) -> None:
    for _ in range(25):
        meter.account()
    Connection.objects.filter(pk=meter.connection.pk).update(requests_per_minute=600)
    meter.connection.refresh_from_db()
    run = meter.start()
    usage_sync.sync_chunk(run.pk, clock=lambda: meter.now, connect=background_client)
    run.refresh_from_db()
    assert (run.state, run.limit) == (SyncRun.State.COMPLETE, SyncRun.Limit.QUOTA)


@pytest.mark.long
def test_a_slow_provider_gets_more_threads(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "THREADS", 2)
    monkeypatch.setattr(pipeline, "WORKS", 9.0)
    for _ in range(24):
        meter.account()
    meter.sandbox.admin.switch("latency_ms", 300)
    used: set[int] = set()
    ask = usage_sync._ask

    def noted(*given: Any) -> Any:
        used.add(threading.get_ident())
        return ask(*given)

    monkeypatch.setattr(usage_sync, "_ask", noted)
    run = meter.chunk(meter.start())
    assert (run.state, run.limit) == (SyncRun.State.COMPLETE, SyncRun.Limit.LATENCY)
    assert len(used) > 4


def test_a_connection_paused_meanwhile_is_not_asked_further(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(30):
        meter.account()
    monkeypatch.setattr(pipeline, "BATCH", 3)
    monkeypatch.setattr(pipeline, "THREADS", 1)
    monkeypatch.setattr(pipeline, "MOST_THREADS", 1)

    def paused(execute: Any, sql: str, *more: Any) -> Any:
        result = execute(sql, *more)
        if "billing_usagesnapshot" in sql and sql.startswith("INSERT"):
            with database.cursor() as cursor:
                cursor.execute("UPDATE customers_connection SET paused = 'person'")
        return result

    with database.execute_wrapper(paused):
        run = meter.chunk(meter.start())
    assert 3 <= UsageSnapshot.objects.count() < 30
    assert run.state == SyncRun.State.RUNNING
    assert run.done == UsageSnapshot.objects.count() == 30 - SyncItem.objects.filter(run=run).count()
    assert usage_sync.claim_items(run.pk, now=meter.now) is None
    run.refresh_from_db()
    assert run.state == SyncRun.State.PAUSED


def test_many_lost_requests_wait_for_the_breaker(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an answer in sight, no more is asked before the breaker knows."""
    monkeypatch.setattr(pipeline, "BREAKER_SECONDS", 600.0)
    monkeypatch.setattr(pipeline, "BATCH_SECONDS", 600.0)
    monkeypatch.setattr(pipeline, "MOST_LOST", 6)
    for _ in range(60):
        meter.account()
    meter.sandbox.admin.arm("status-503", "credits", count=None)
    run = meter.chunk(meter.start())
    assert circuit_breaker.breaker_status(meter.connection).is_open
    tried = SyncItem.objects.filter(run=run, tries__gt=0).count()
    assert 6 <= tried <= 6 + pipeline.THREADS
    assert Account.objects.filter(usage_read_at__isnull=False).count() == 0
    assert runs.next_due(run) is None
