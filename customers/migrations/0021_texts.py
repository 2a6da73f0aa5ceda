"""Columns for texts as codes: they have no limit, so that none is cut in its middle. Old rows keep their sentences.

On PostgreSQL this changes the catalog only. On SQLite it makes new tables, so the triggers of two are made again.
"""

from __future__ import annotations

from django.db import migrations

from portal.audit.triggers import AppendOnly
from portal.texts import StoredTextField

TEXT = StoredTextField(default="", blank=True)
ANSWER = [
    "outcome",
    "status",
    "provider_request_id",
    "duration_ms",
    "response",
    "message",
    "result",
    "answered_at",
    "request",
]


class Migration(migrations.Migration):
    # Each statement in a transaction of its own: together they would lock tables for longer than a page waits.
    atomic = False

    dependencies = [
        ("customers", "0020_names"),
    ]

    operations = [
        migrations.AlterField("operation", "summary", TEXT),
        migrations.AlterField("step", "note", TEXT),
        migrations.AlterField("attempt", "message", TEXT),
        AppendOnly("customers_step"),
        AppendOnly("customers_attempt", once=ANSWER, until="answered_at"),
    ]
