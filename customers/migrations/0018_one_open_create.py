import uuid

from django.db import migrations, models
from django.db.models import Count
from django.utils import timezone

FINAL = ("succeeded", "failed", "cancelled")
WHY = "Cancelled by an upgrade: another create of the same account was requested first."
SPLIT = "Moved to an account of its own by an upgrade: two creates of one account had begun."


def settle(apps, schema_editor):
    """Leave one open create for each account: the one that has begun, else the one requested first.

    The others were never sent, since an account's operations are performed in order, and are cancelled. One that has
    begun all the same may have made an account, so it stays open and gets an account row of its own.
    """
    Operation = apps.get_model("customers", "Operation")
    creates = Operation.objects.filter(kind="create").exclude(state__in=FINAL)
    twice = creates.order_by().values("account").annotate(n=Count("pk")).filter(n__gt=1)
    for account_id in list(twice.values_list("account", flat=True)):
        rows = list(creates.filter(account=account_id).select_related("account__customer").order_by("number"))
        rows.sort(key=lambda each: (not _has_begun(each), each.number))
        kept, *others = rows
        for each in others:
            _split(apps, each) if _has_begun(each) else _cancel(apps, each)
        apps.get_model("customers", "Account").objects.filter(pk=account_id).update(**_columns(kept))
    if schema_editor.connection.vendor == "postgresql":  # an index cannot be made while foreign keys wait to be checked
        schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        schema_editor.execute("SET CONSTRAINTS ALL DEFERRED")


def _has_begun(operation):
    return operation.state != "queued" or operation.sends > 0


def _columns(operation):
    payload = operation.payload
    offerings = payload.get("offerings", [])
    return {
        "email": payload.get("profile", {}).get("email", ""),
        "is_test": payload.get("is_test", False),
        "desired_offerings": offerings,
        "desired_settings": payload.get("settings") or {},
        "package": next((row["name"] for row in offerings if row["type"] == "package"), ""),
    }


def _cancel(apps, operation):
    now = timezone.now()
    Step = apps.get_model("customers", "Step")
    Step.objects.create(
        operation=operation, n=Step.objects.filter(operation=operation).count() + 1, before=operation.state,
        after="cancelled", at=now, note=WHY,
    )  # fmt: skip
    type(operation).objects.filter(pk=operation.pk).update(
        state="cancelled", summary=WHY, finished_at=now, lease_until=None, fence=operation.fence + 1
    )
    _audit(apps, "operation.cancelled", operation, operation.account, WHY)


def _split(apps, operation):
    """Give it and what follows it an account row of their own."""
    before = operation.account
    account = apps.get_model("customers", "Account").objects.create(
        public_id=uuid.uuid4(), customer_id=before.customer_id, connection_id=before.connection_id, state="pending",
        provider_kind=before.provider_kind, changed_at=timezone.now(), changed_what="Create, asked",
        **_columns(operation),
    )  # fmt: skip
    moved = [operation, *type(operation).objects.filter(follows=operation).order_by("number")]
    for number, each in enumerate(moved, start=1):
        lane = each.lane.replace(f"account:{before.pk}", f"account:{account.pk}")
        type(operation).objects.filter(pk=each.pk).update(account=account, number=number, lane=lane)
    type(account).objects.filter(pk=account.pk).update(last_operation=len(moved))
    _audit(apps, "account.create_asked", operation, account, SPLIT)


def _audit(apps, verb, operation, account, reason):
    customer = account.customer
    connection = operation.connection
    apps.get_model("audit", "AuditEvent").objects.create(
        public_id=uuid.uuid4(), at=timezone.now(), verb=verb, object_type="customers.operation",
        object_id=operation.public_id, object_label=f"{customer.company_name} at {connection.name}"[:200],
        customer_id=customer.public_id, customer_label=customer.company_name[:200], account_id=account.public_id,
        reason=reason,
    )  # fmt: skip


class Migration(migrations.Migration):
    dependencies = [("customers", "0017_workers"), ("audit", "0002_append_only")]

    operations = [
        migrations.RunPython(settle, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name="operation",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "create"), models.Q(("state__in", FINAL), _negated=True)),
                fields=("account",),
                name="operation_one_open_create_of_account",
            ),
        ),
    ]
