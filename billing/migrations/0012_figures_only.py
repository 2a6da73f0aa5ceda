"""Remove what figures and anomalies replace, and make their history append-only."""

from typing import Any

from django.db import migrations, models

from portal.audit.triggers import AppendOnly
from portal.kept_columns import KeepColumn, KeepTable


def keep_append_only(apps: Any, schema_editor: Any) -> None:
    """Make the triggers again that a rebuilt table loses on SQLite, forward and backward."""
    for table in ("billing_usagesnapshot", "billing_pooledsnapshot"):
        AppendOnly(table).database_forwards("billing", schema_editor, None, None)


class Migration(migrations.Migration):
    # Each statement in a transaction of its own: together they would lock tables for longer than a page waits.
    atomic = False

    dependencies = [("billing", "0011_stored_figures")]

    operations = [
        migrations.RunPython(migrations.RunPython.noop, keep_append_only),
        KeepColumn("usageperiod", "held"),
        KeepColumn("usageperiod", "unread_seconds", default="0"),
        KeepColumn("usagesnapshot", "lower", default="false"),
        migrations.AddConstraint(
            model_name='usageperiod',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('current', None), ('status', 'missing'), ('used', None)), models.Q(models.Q(('status', 'missing'), _negated=True), ('current__isnull', False), ('used__isnull', False)), _connector='OR'), name='usage_period_missing_has_no_figure'),
        ),
        migrations.AddConstraint(
            model_name='usageperiod',
            constraint=models.CheckConstraint(condition=models.Q(('high', None), ('high__gte', models.F('used')), _connector='OR'), name='usage_period_low_to_high'),
        ),
        migrations.AddConstraint(
            model_name='usageperiod',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('status__in', ('final', 'derived')), _negated=True), ('high', models.F('used')), _connector='OR'), name='usage_period_final_is_exact'),
        ),
        KeepTable("Acceptance"),
        migrations.RunPython(keep_append_only, migrations.RunPython.noop),
        AppendOnly("billing_decision"),
        AppendOnly("billing_statisticsreading"),
        AppendOnly("billing_figureversion", once=["to_batch"], until="to_batch"),
    ]
