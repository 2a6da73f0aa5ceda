"""An index for the search by customer or object. SQLite has none of this kind, and few events."""

from django.db import migrations

INDEX = """
    CREATE INDEX audit_labels ON audit_auditevent
    USING gin (upper(customer_label::text) gin_trgm_ops, upper(object_label::text) gin_trgm_ops)
"""


def add_index(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        schema_editor.execute(INDEX)


def drop_index(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX IF EXISTS audit_labels")


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_append_only")]

    operations = [migrations.RunPython(add_index, drop_index)]
