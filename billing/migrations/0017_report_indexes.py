"""Indexes of what the usage pages ask for."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    # Each statement in a transaction of its own: together they would lock tables for longer than a page waits.
    atomic = False

    dependencies = [("billing", "0016_sync_failures"), ("customers", "0024_spans")]

    operations = [
        migrations.RemoveIndex("usageperiod", "usage_period_to_assess"),
        migrations.AddIndex(
            "usageperiod",
            models.Index(
                condition=models.Q(("status__in", ("open", "stale"))),
                fields=["status", "ends_at"],
                name="usage_period_to_assess",
            ),
        ),
        migrations.AddIndex(
            "usageperiod",
            models.Index(
                condition=models.Q(("status__in", ("interval", "missing", "disputed"))),
                fields=["month", "status"],
                name="usage_period_to_decide",
            ),
        ),
        migrations.RemoveIndex("usagesnapshot", "usage_snapshot_of_account"),
        migrations.AddIndex(
            "usagesnapshot",
            models.Index(
                fields=["period_start_on", "account", "as_of", "seq", "id", "batch", "used"],
                name="usage_snapshot_of_period",
            ),
        ),
    ]
