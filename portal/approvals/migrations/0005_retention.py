from importlib import import_module

from django.db import migrations

from portal.audit.triggers import AppendOnly

(GUARD,) = import_module("portal.approvals.migrations.0002_guards").Migration.operations


class Migration(migrations.Migration):
    dependencies = [("approvals", "0004_close_month"), ("audit", "0005_erasure_permits")]

    operations = [
        AppendOnly(
            "approvals_approval",
            once=GUARD.once,
            until=GUARD.until,
            erasable=["subject_label", "payload", "reason", "decision_reason"],  # they hold personal data
            ages_by="finished_at",
            least_days=365,
        ),
    ]
