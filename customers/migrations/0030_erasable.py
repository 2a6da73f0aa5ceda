"""Columns of append-only tables in which an erasure may replace the words of a person."""

from importlib import import_module

from django.db import migrations

from portal.audit.triggers import AppendOnly

ANSWER = import_module("customers.migrations.0002_guards").ANSWER


class Migration(migrations.Migration):
    atomic = False  # on PostgreSQL, each table is locked for its own statement alone

    dependencies = [("customers", "0029_bulk_submitted_at"), ("audit", "0005_erasure_permits")]

    operations = [
        AppendOnly("customers_step", erasable=["note"]),
        AppendOnly(
            "customers_attempt",
            once=ANSWER,
            until="answered_at",
            erasable=["call", "request", "response", "message", "result"],
        ),
        AppendOnly("customers_finalreading", erasable=["failure"]),
    ]
