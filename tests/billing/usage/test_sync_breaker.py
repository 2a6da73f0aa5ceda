"""A run whose provider is out of reach: it stops asking, waits, and loses nothing by it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from billing.models import SyncItem
from billing.usage import pipeline
from billing.usage.sync import claim_items
from customers.connections import circuit_breaker
from customers.connections.client import background_client
from customers.models import Breaker, Connection
from portal.providers.rate_limit import Pacing
from tests.billing.conftest import Meter

pytestmark = pytest.mark.django_db


@pytest.mark.long
def test_a_run_without_answers_opens_the_breaker_and_waits(meter: Meter) -> None:
    for _ in range(30):
        meter.account(per_day=10)
    meter.sandbox.admin.arm("status-503", "credits", count=None)
    run = meter.chunk(meter.start())
    standing = circuit_breaker.breaker_status(meter.connection)
    assert standing.is_open
    assert (run.state, run.not_before) == ("running", standing.retry_at)
    assert SyncItem.objects.filter(run=run, state="failed").count() == 0

    meter.now = run.not_before
    assert claim_items(run.pk, now=meter.now) is None, "asked nothing while it is out of reach"
    run.refresh_from_db()
    assert run.not_before > meter.now

    meter.sandbox.admin.clear_faults()
    circuit_breaker.close(meter.connection)
    meter.now += timedelta(minutes=1)
    run = meter.finish(run)
    assert (run.state, run.done) == ("complete", 30)


@pytest.mark.long
def test_failures_among_more_answers_open_nothing(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "BREAKER_SECONDS", 60.0)  # all of them weighed together
    monkeypatch.setattr(pipeline, "MOST_THREADS", 1)
    for _ in range(16):
        meter.account(per_day=10)
    meter.sandbox.admin.arm("status-503", "credits", count=6 * 3)  # a reading is tried three times
    assert meter.chunk(meter.start()).done == 10
    assert not Breaker.objects.exclude(opened_at=None).exists()


def test_a_run_leaves_a_part_of_the_pace_to_people(meter: Meter) -> None:
    Connection.objects.filter(pk=meter.connection.pk).update(requests_per_minute=120)
    meter.connection.refresh_from_db()
    pacer = background_client(meter.connection)._http._pacer  # type: ignore[attr-defined]
    assert isinstance(pacer, Pacing)
    assert pacer._background
