"""The migration of a database in which several full runs of one connection are open already, on both engines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection as database
from django.db.migrations.executor import MigrationExecutor

from billing.models import SyncItem, SyncRun
from customers.models import Connection
from tests.support.factories import AccountFactory, ConnectionFactory

NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)


def run(runs: Any, connection: Connection, kind: str, hours: int, **more: Any) -> Any:
    at = NOW + timedelta(hours=hours)
    return runs.objects.create(
        connection_id=connection.pk, kind=kind, slot=f"{kind}/{hours}", source="credits", not_before=at, started_at=at,
        until=at + timedelta(hours=22), **more,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.long
def test_the_run_that_began_last_goes_on() -> None:
    one, two = ConnectionFactory(), ConnectionFactory()
    accounts = AccountFactory.create_batch(3, connection=one)
    call_command("migrate", "billing", "0005", verbosity=0)
    try:
        apps = MigrationExecutor(database).loader.project_state([("billing", "0005_retention")]).apps
        runs, items = apps.get_model("billing", "SyncRun"), apps.get_model("billing", "SyncItem")
        older = run(runs, one, "nightly", 0, total=2, lease_until=NOW, fence=4)
        waiting, failed = (items.objects.create(run=older, account_id=each.pk) for each in accounts[:2])
        items.objects.filter(pk=failed.pk).update(state="failed", cause="rate")
        newest = run(runs, one, "asked", 2, total=3)
        items.objects.bulk_create(items(run=newest, account_id=each.pk) for each in accounts)
        paused, deadline = run(runs, one, "asked", 1, state="paused"), run(runs, one, "deadline", 3)
        ended, alone = run(runs, one, "nightly", 5, state="complete", finished_at=NOW), run(runs, two, "asked", 0)
    finally:
        call_command("migrate", verbosity=0)  # the apps it depends on went back as well
    found = {each.pk: each.state for each in SyncRun.objects.all()}
    assert found == {
        older.pk: "aborted", newest.pk: "running", paused.pk: "aborted", deadline.pk: "running", ended.pk: "complete",
        alone.pk: "running",
    }  # fmt: skip
    older = SyncRun.objects.get(pk=older.pk)
    assert (older.total, older.done, older.failed, older.skipped, older.fence) == (2, 0, 1, 1, 5)
    assert older.lease_until is None
    assert older.message.startswith("Another sync of this connection")
    waiting = SyncItem.objects.get(pk=waiting.pk)
    assert (waiting.state, waiting.cause) == ("skipped", "guard")
    assert SyncItem.objects.filter(run=newest.pk, state="pending").count() == 3
