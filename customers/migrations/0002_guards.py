"""What the database itself holds: append-only tables, and on PostgreSQL a trigram index for the search column."""

from django.db import migrations

from portal.audit.triggers import AppendOnly

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


def add_search_index(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        schema_editor.execute(
            "CREATE INDEX customer_search_trigram ON customers_customer USING gin (search gin_trgm_ops)"
        )


def drop_search_index(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX IF EXISTS customer_search_trigram")


class Migration(migrations.Migration):
    dependencies = [("customers", "0001_initial"), ("audit", "0001_initial")]

    operations = [
        AppendOnly("customers_step"),
        AppendOnly("customers_finalreading"),
        AppendOnly("customers_attempt", once=ANSWER, until="answered_at"),
        migrations.RunPython(add_search_index, drop_search_index),
    ]
