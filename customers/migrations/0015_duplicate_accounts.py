import uuid

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import OuterRef, Subquery
from django.utils import timezone

from customers.models import triggers

# The account that keeps the ID: one that is not deleted before one that is, one that a create of ours made before one
# that was linked, then the older one.
MARK = """
UPDATE customers_account
SET duplicate_of_id = ranked.owner_id, usage_used = NULL, usage_allowed = NULL, usage_overage = NULL,
    usage_start_on = NULL, usage_end_on = NULL, usage_read_at = NULL, usage_missing_since = NULL
FROM (
    SELECT a.id, FIRST_VALUE(a.id) OVER (
        PARTITION BY a.provider_kind, a.provider_id
        ORDER BY CASE WHEN a.state = 'deleted' THEN 1 ELSE 0 END, CASE WHEN made.account_id IS NULL THEN 1 ELSE 0 END,
                 a.created_at, a.id
    ) AS owner_id
    FROM customers_account a
    LEFT JOIN (
        SELECT DISTINCT account_id FROM customers_operation WHERE kind = 'create' AND state = 'succeeded'
    ) made ON made.account_id = a.id
    WHERE a.provider_id IS NOT NULL
) AS ranked
WHERE ranked.id = customers_account.id AND ranked.owner_id <> ranked.id
"""


def mark(apps, schema_editor):
    Account = apps.get_model("customers", "Account")
    Connection = apps.get_model("customers", "Connection")
    kind = Connection.objects.filter(pk=OuterRef("connection_id")).values("kind")
    Account.objects.update(provider_kind=Subquery(kind[:1]))
    schema_editor.execute(MARK)
    _audit(apps)
    if schema_editor.connection.vendor == "postgresql":  # an index cannot be made while foreign keys wait to be checked
        schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        schema_editor.execute("SET CONSTRAINTS ALL DEFERRED")


def _audit(apps):
    Account = apps.get_model("customers", "Account")
    AuditEvent = apps.get_model("audit", "AuditEvent")
    marked = Account.objects.filter(duplicate_of__isnull=False).select_related("customer", "connection", "duplicate_of")
    events = [
        AuditEvent(
            public_id=uuid.uuid4(), at=timezone.now(), verb="account.marked_duplicate",
            object_type="customers.account", object_id=each.public_id,
            object_label=f"{each.customer.company_name} at {each.connection.name}"[:200],
            customer_id=each.customer.public_id, customer_label=each.customer.company_name[:200],
            account_id=each.public_id,
            after={"provider_id": each.provider_id, "duplicate_of": str(each.duplicate_of.public_id)},
        )
        for each in marked.order_by("pk")
    ]  # fmt: skip
    AuditEvent.objects.bulk_create(events, batch_size=500)


def remove_triggers(apps, schema_editor):
    triggers.remove(schema_editor.connection.alias)


class Migration(migrations.Migration):
    dependencies = [("customers", "0014_credentials"), ("audit", "0002_append_only")]

    operations = [
        migrations.AddField(
            model_name="account",
            name="provider_kind",
            field=models.CharField(default="", editable=False, max_length=20),
        ),
        migrations.AddField(
            model_name="account",
            name="duplicate_of",
            field=models.ForeignKey(
                blank=True,
                default=None,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="duplicates",
                to="customers.account",
            ),
        ),
        migrations.AddField(
            model_name="account",
            name="merged_at",
            field=models.DateTimeField(blank=True, default=None, editable=False, null=True),
        ),
        migrations.RunPython(mark, remove_triggers),
        migrations.AddConstraint(
            model_name="account",
            constraint=models.UniqueConstraint(
                condition=models.Q(("duplicate_of__isnull", True), ("provider_id__isnull", False)),
                fields=("provider_kind", "provider_id"),
                name="account_unique_at_provider",
            ),
        ),
        migrations.AddConstraint(
            model_name="account",
            constraint=models.CheckConstraint(
                condition=models.Q(("duplicate_of__isnull", False), ("merged_at__isnull", True), _connector="OR"),
                name="account_merged_is_duplicate",
            ),
        ),
    ]
