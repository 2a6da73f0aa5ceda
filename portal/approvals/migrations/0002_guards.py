from django.db import migrations

from portal.audit.triggers import AppendOnly


class Migration(migrations.Migration):
    dependencies = [("approvals", "0001_initial"), ("audit", "0003_search")]
    operations = [
        AppendOnly(
            "approvals_approval",
            once=["state", "decided_by_id", "approved_hash", "decision_reason", "secret_sealed", "finished_at"],
            until="finished_at",
        )
    ]
