"""One open full run per connection. Where several are open, the one that began last goes on: its list of accounts is the
newest and holds what the others still had to read. The others are aborted, with what they have read."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models
from django.db.models import Count, F, Q
from django.utils import timezone

FULL = Q(kind__in=("nightly", "asked"), state__in=("running", "paused"))
MESSAGE = "Another sync of this connection was running as well. That one went on."


def end_all_but_the_newest(apps: Any, schema_editor: Any) -> None:
    runs = apps.get_model("billing", "SyncRun").objects
    items = apps.get_model("billing", "SyncItem").objects
    goes_on: set[int] = set()
    for run in runs.filter(FULL).order_by("-started_at", "-pk"):
        if run.connection_id not in goes_on:
            goes_on.add(run.connection_id)
            continue
        # The fence first: a worker that still holds the run writes nothing more.
        runs.filter(pk=run.pk).update(fence=F("fence") + 1, lease_until=None)
        items.filter(run=run.pk, state="pending").update(state="skipped", cause="guard", not_before=None)
        counts = items.filter(run=run.pk).aggregate(
            total=Count("pk"), **{each: Count("pk", filter=Q(state=each)) for each in ("done", "failed", "skipped")}
        )
        runs.filter(pk=run.pk).update(state="aborted", finished_at=timezone.now(), message=MESSAGE, **counts)
    schema_editor.connection.check_constraints()  # PostgreSQL makes no index while deferred checks are waiting


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0005_retention"),
    ]

    operations = [
        migrations.RunPython(end_all_but_the_newest, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name="syncrun",
            constraint=models.UniqueConstraint(
                condition=Q(("kind__in", ("nightly", "asked")), ("state__in", ("running", "paused"))),
                fields=("connection",),
                name="usage_run_one_open_full_run",
            ),
        ),
    ]
