"""Columns of requests in which an erasure may replace the words of a person."""

from django.db import migrations

from portal.audit.triggers import AppendOnly


class Migration(migrations.Migration):
    dependencies = [("approvals", "0004_close_month"), ("audit", "0005_erasure_permits")]

    operations = [
        AppendOnly(
            "approvals_approval",
            once=["state", "decided_by_id", "approved_hash", "decision_reason", "secret_sealed", "finished_at"],
            until="finished_at",
            erasable=["subject_label", "payload", "reason", "decision_reason"],
        )
    ]
