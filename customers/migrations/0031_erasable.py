"""Columns of append-only tables, beside those of attempts, in which an erasure may replace the words of a person."""

from django.db import migrations

from portal.audit.triggers import AppendOnly


class Migration(migrations.Migration):
    atomic = False  # on PostgreSQL, each table is locked for its own statement alone

    dependencies = [("customers", "0030_retention"), ("audit", "0005_erasure_permits")]

    operations = [
        AppendOnly("customers_step", erasable=["note"]),
        AppendOnly("customers_finalreading", erasable=["failure"]),
    ]
