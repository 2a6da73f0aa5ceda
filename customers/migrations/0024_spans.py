"""Usage readings at every change instead of before a delete alone, and spans of offerings and states."""

import django.db.models.deletion
from django.db import migrations, models

import portal.texts
from portal.audit.triggers import AppendOnly

# What is stored of an account is its current value; since when is not known. PostgreSQL needs the types named.
STATES = """
    INSERT INTO customers_accountspan (account_id, kind, value, package, from_at, seen_at, until_at, source, operation_id)
    SELECT id, 'state', {state}, '', NULL, COALESCE(state_read_at, changed_at), NULL, 'stored', NULL
    FROM customers_account WHERE state <> 'pending'
"""
OFFERINGS = """
    INSERT INTO customers_accountspan (account_id, kind, value, package, from_at, seen_at, until_at, source, operation_id)
    SELECT id, 'offerings', offerings, package, NULL, COALESCE(offerings_read_at, changed_at), NULL, 'stored', NULL
    FROM customers_account WHERE offerings IS NOT NULL
"""


def keep_what_is_stored(apps, schema_editor):
    state = "to_jsonb(state::text)" if schema_editor.connection.vendor == "postgresql" else "json_quote(state)"
    schema_editor.execute(STATES.format(state=state).replace("\n", " "))
    schema_editor.execute(OFFERINGS.replace("\n", " "))


class Migration(migrations.Migration):
    # Each statement in a transaction of its own: together they would lock tables for longer than a page waits.
    atomic = False

    # After the migrations of billing that name the model by its earlier name.
    dependencies = [("customers", "0023_import_unmatched"), ("billing", "0008_labels")]

    operations = [
        migrations.AlterModelTable(name="finalreading", table="customers_finalreading"),
        migrations.RenameModel(old_name="FinalReading", new_name="UsageReading"),
        migrations.AddField(
            model_name="usagereading",
            name="moment",
            field=models.CharField(
                choices=[
                    ("before", "Before a change"),
                    ("after", "After a change"),
                    ("final", "Before a delete"),
                    ("noticed", "After a change that was noticed"),
                ],
                db_default="final",
                default="final",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="usagereading",
            name="failure",
            field=portal.texts.StoredTextField(blank=True, db_default="", default=""),
        ),
        migrations.AlterField(
            model_name="usagereading",
            name="usage",
            field=models.JSONField(blank=True, default=dict),
        ),
        migrations.AlterField(
            model_name="usagereading",
            name="account",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="usage_readings", to="customers.account"
            ),
        ),
        migrations.AlterField(
            model_name="usagereading",
            name="operation",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="usage_readings",
                to="customers.operation",
            ),
        ),
        migrations.AddConstraint(
            model_name="usagereading",
            constraint=models.CheckConstraint(
                condition=models.Q(("moment", "noticed"), ("operation__isnull", False), _connector="OR"),
                name="usage_reading_has_operation",
            ),
        ),
        migrations.AddField(
            model_name="account",
            name="usage_due_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="account",
            index=models.Index(
                condition=models.Q(("usage_due_at__isnull", False)), fields=["usage_due_at"], name="account_usage_due"
            ),
        ),
        migrations.CreateModel(
            name="AccountSpan",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(choices=[("offerings", "Offerings"), ("state", "State")], max_length=10)),
                ("value", models.JSONField()),
                ("package", models.CharField(blank=True, default="", max_length=200)),
                ("from_at", models.DateTimeField(null=True)),
                ("seen_at", models.DateTimeField()),
                ("until_at", models.DateTimeField(null=True)),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("operation", "Operation"),
                            ("reading", "Reported by the provider"),
                            ("linked", "Linked to customer"),
                            ("decided", "Provider value accepted"),
                            ("stored", "Stored before spans were kept"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="spans", to="customers.account"
                    ),
                ),
                (
                    "operation",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="spans",
                        to="customers.operation",
                    ),
                ),
            ],
            options={
                "ordering": ("account", "kind", "id"),
                "indexes": [
                    models.Index(fields=["account", "kind", "until_at"], name="account_span_of_account"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("until_at", None)),
                        fields=("account", "kind"),
                        name="account_span_one_current",
                    ),
                ],
            },
        ),
        AppendOnly("customers_finalreading"),
        AppendOnly("customers_accountspan", once=["until_at"], until="until_at"),
        migrations.RunPython(keep_what_is_stored, migrations.RunPython.noop),
    ]
