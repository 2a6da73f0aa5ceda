"""Columns of append-only tables in which an erasure may replace the words of a person."""

from django.db import migrations

from portal.audit.triggers import AppendOnly


class Migration(migrations.Migration):
    atomic = False  # on PostgreSQL, each table is locked for its own statement alone

    dependencies = [("billing", "0025_export_files"), ("audit", "0005_erasure_permits")]

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
