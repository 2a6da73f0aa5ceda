"""Columns of append-only tables in which an erasure may replace the words of a person."""

from django.db import migrations

from portal.audit.triggers import AppendOnly


class Migration(migrations.Migration):
    atomic = False  # on PostgreSQL, each table is locked for its own statement alone

<<<<<<<< HEAD:billing/migrations/0026_erasable.py
    dependencies = [("billing", "0025_export_files"), ("audit", "0005_erasure_permits")]
========
    dependencies = [("billing", "0024_account_moves"), ("audit", "0005_erasure_permits")]
>>>>>>>> i22-privacy:billing/migrations/0025_erasable.py

    operations = [
        AppendOnly("billing_decision", erasable=["reason"]),
        AppendOnly(
            "billing_priceversion",
            once=["valid_from", "prices", "note", "edits", "published_at", "published_by_id"],
            until="published_at",
            erasable=["note"],
        ),
        AppendOnly(
            "billing_contract",
            once=[
                "valid_from",
                "valid_until",
                "currency",
                "terms",
                "purchase_order",
                "accounting_reference",
                "note",
                "edits",
                "published_at",
                "published_by_id",
            ],
            until="published_at",
            erasable=["purchase_order", "accounting_reference", "note"],
        ),
        AppendOnly("billing_exchangerate", erasable=["source"]),
    ]
