"""Columns for texts as codes, like customers 0021."""

from __future__ import annotations

from django.db import migrations

from portal.texts import StoredTextField

TEXT = StoredTextField(default="", blank=True)


class Migration(migrations.Migration):
    # Each statement in a transaction of its own: together they would lock tables for longer than a page waits.
    atomic = False

    dependencies = [
        ("billing", "0006_one_full_run"),
    ]

    operations = [
        migrations.AlterField("syncrun", "message", TEXT),
        migrations.AlterField("syncitem", "message", TEXT),
    ]
