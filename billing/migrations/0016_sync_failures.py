"""Items of a sync are kept for accounts that were not read; their figures say when the others were."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models

from portal.kept_columns import KeepColumn

CHUNK = 5000


def remove_done(apps: Any, schema_editor: Any) -> None:
    items = apps.get_model("billing", "SyncItem").objects
    while ids := list(items.filter(state="done").order_by("pk").values_list("pk", flat=True)[:CHUNK]):
        items.filter(pk__in=ids)._raw_delete(schema_editor.connection.alias)


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("billing", "0015_evidence")]

    operations = [
        migrations.RunPython(remove_done, migrations.RunPython.noop),
        migrations.RemoveConstraint("syncitem", "usage_item_done_has_reading"),
        migrations.RemoveIndex("syncitem", "usage_item_of_account"),
        KeepColumn("syncitem", "snapshot"),
        KeepColumn("syncitem", "read_at"),
        migrations.AlterField(
            "syncitem",
            "state",
            models.CharField(
                choices=[("pending", "Pending"), ("failed", "Failed"), ("skipped", "Skipped")],
                default="pending",
                max_length=10,
            ),
        ),
    ]
