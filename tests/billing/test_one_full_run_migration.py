"""The migration of a database in which several full runs of one connection are open already, on both engines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command

from billing.models import SyncItem, SyncRun
from customers.models import Connection
from tests.support.factories import AccountFactory, ConnectionFactory

NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)


def run(connection: Connection, kind: str, hours: int, **more: Any) -> SyncRun:
    at = NOW + timedelta(hours=hours)
    return SyncRun.objects.create(
        connection=connection, kind=kind, slot=f"{kind}/{hours}", source="credits", not_before=at, started_at=at,
        until=at + timedelta(hours=22), **more,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.long
def test_the_run_that_began_last_goes_on() -> None:
    call_command("migrate", "billing", "0005", verbosity=0)
    try:
        one, two = ConnectionFactory(), ConnectionFactory()
        accounts = AccountFactory.create_batch(3, connection=one)
        older = run(one, "nightly", 0, total=2, lease_until=NOW, fence=4)
        waiting, failed = (SyncItem.objects.create(run=older, account=each) for each in accounts[:2])
        SyncItem.objects.filter(pk=failed.pk).update(state="failed", cause="rate")
        newest = run(one, "asked", 2, total=3)
        SyncItem.objects.bulk_create(SyncItem(run=newest, account=each) for each in accounts)
        paused, deadline = run(one, "asked", 1, state="paused"), run(one, "deadline", 3)
        ended, alone = run(one, "nightly", 5, state="complete", finished_at=NOW), run(two, "asked", 0)
    finally:
        call_command("migrate", "billing", verbosity=0)
    found = {each.pk: each.state for each in SyncRun.objects.all()}
    assert found == {
        older.pk: "aborted", newest.pk: "running", paused.pk: "aborted", deadline.pk: "running", ended.pk: "complete",
        alone.pk: "running",
    }  # fmt: skip
    older.refresh_from_db()
    assert (older.total, older.done, older.failed, older.skipped, older.fence) == (2, 0, 1, 1, 5)
    assert older.lease_until is None
    assert older.message.startswith("Another sync of this connection")
    waiting.refresh_from_db()
    assert (waiting.state, waiting.cause) == ("skipped", "guard")
    assert newest.items.filter(state="pending").count() == 3
