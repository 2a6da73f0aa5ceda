"""Names only: every table, column, constraint and index stays as it is, and `sqlmigrate` prints nothing."""

from __future__ import annotations

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import Q

BUSY = ("claimed", "sending", "unknown", "needs_attention")
PROTECT = django.db.models.deletion.PROTECT


def _renamed(model: str, old: str, new: str, field: models.Field) -> list[migrations.operations.base.Operation]:
    """`field` says the column's name, which stays."""
    return [
        migrations.AlterField(model_name=model, name=old, field=field),
        migrations.RenameField(model_name=model, old_name=old, new_name=new),
    ]


def _constraints(model: str, *constraints: models.BaseConstraint) -> list[migrations.operations.base.Operation]:
    return [migrations.AddConstraint(model_name=model, constraint=each) for each in constraints]


class Migration(migrations.Migration):
    dependencies = [
        ("customers", "0019_queue_signs"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelTable(name="sighting", table="customers_sighting"),
        migrations.AlterModelTable(name="takeover", table="customers_takeover"),
        migrations.AlterModelTable(name="takeoveritem", table="customers_takeoveritem"),
        migrations.RenameModel(old_name="Sighting", new_name="RemoteAccount"),
        migrations.RenameModel(old_name="Takeover", new_name="AccountImport"),
        migrations.RenameModel(old_name="TakeoverItem", new_name="AccountImportItem"),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveConstraint("operation", "operation_one_busy_per_lane"),
                migrations.RemoveConstraint("operation", "operation_busy_holds_a_lane"),
                migrations.RemoveConstraint("accountimportitem", "takeover_item_once"),
                migrations.RemoveIndex("accountimportitem", "takeover_item_due"),
                *_renamed(
                    "operation", "lane", "concurrency_key",
                    models.CharField(blank=True, db_column="lane", default="", max_length=80),
                ),
                *_renamed(
                    "operation", "claims", "lost_claims", models.PositiveIntegerField(db_column="claims", default=0)
                ),
                *_renamed("operation", "tries", "requeues", models.PositiveIntegerField(db_column="tries", default=0)),
                *_renamed(
                    "operation", "sends", "attempt_count", models.PositiveIntegerField(db_column="sends", default=0)
                ),
                *_renamed(
                    "operation", "settles", "verifications",
                    models.PositiveIntegerField(db_column="settles", default=0),
                ),
                *_renamed(
                    "attempt", "sighting_mark", "remote_account_mark",
                    models.BigIntegerField(blank=True, db_column="sighting_mark", null=True),
                ),
                *_renamed(
                    "accountimportitem", "takeover", "account_import",
                    models.ForeignKey(
                        db_column="takeover_id", on_delete=django.db.models.deletion.CASCADE, related_name="items",
                        to="customers.accountimport",
                    ),
                ),
                *_renamed(
                    "accountimportitem", "sighting", "remote_account",
                    models.ForeignKey(
                        db_column="sighting_id", on_delete=PROTECT, related_name="+", to="customers.remoteaccount"
                    ),
                ),
                migrations.AlterField(
                    "remoteaccount", "connection",
                    models.ForeignKey(on_delete=PROTECT, related_name="remote_accounts", to="customers.connection"),
                ),
                migrations.AlterField(
                    "accountimport", "connection",
                    models.ForeignKey(on_delete=PROTECT, related_name="account_imports", to="customers.connection"),
                ),
                *_constraints(
                    "operation",
                    models.UniqueConstraint(
                        condition=Q(("state__in", BUSY)), fields=("concurrency_key",),
                        name="operation_one_busy_per_lane",
                    ),
                    models.CheckConstraint(
                        condition=~Q(("state__in", BUSY)) | ~Q(("concurrency_key", "")),
                        name="operation_busy_holds_a_lane",
                    ),
                ),
                *_constraints(
                    "accountimportitem",
                    models.UniqueConstraint(fields=("account_import", "remote_account"), name="takeover_item_once"),
                ),
                migrations.AddIndex(
                    "accountimportitem",
                    models.Index(fields=["account_import", "state", "take"], name="takeover_item_due"),
                ),
            ],
        ),
    ]  # fmt: skip
