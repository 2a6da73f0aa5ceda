"""What the matching of unknown creates is decided by: keys instead of clocks, measured clocks, the first address seen."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import F

from portal.audit.triggers import AppendOnly

ANSWER = [
    "outcome",
    "status",
    "provider_request_id",
    "duration_ms",
    "response",
    "message",
    "result",
    "answered_at",
    "request",
]


def keep_addresses(apps, schema_editor):
    """The oldest address known of an account is the present one."""
    sightings = apps.get_model("customers", "Sighting").objects
    sightings.filter(first_email="").exclude(email="").update(first_email=F("email"))


def rewrite_identities(apps, schema_editor):
    """Open creates were known by a casefolded address; the same rule as for new ones from now on.

    Where two open creates turn out to be for the same mailbox, the later one keeps its old form: the constraint allows
    one of each, and both are judged by their address anyway.
    """
    from customers.models.account import identity_of
    from portal.email_addresses import mailbox_key
    from portal.providers import AccountSettings

    operations = apps.get_model("customers", "Operation").objects
    open_creates = operations.filter(kind="create", finished_at=None).exclude(identity="").order_by("pk")
    rows = list(open_creates.values_list("pk", "connection_id", "identity", "payload"))
    taken = {(connection, identity) for _, connection, identity, _ in rows}
    for pk, connection, old, payload in rows:
        settings = payload.get("settings")
        new = identity_of(AccountSettings(**settings)) if settings else mailbox_key(payload["profile"]["email"])
        if (connection, new) not in taken:
            operations.filter(pk=pk).update(identity=new)
            taken.discard((connection, old))
            taken.add((connection, new))


class Migration(migrations.Migration):

    dependencies = [
        ('customers', '0012_operation_numbers'),
    ]

    operations = [
        migrations.AddField(
            model_name='attempt',
            name='clock_skew',
            field=models.IntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='attempt',
            name='scan_mark',
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='attempt',
            name='sighting_mark',
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='heartbeat',
            name='clock_skew',
            field=models.IntegerField(default=0),
        ),
        migrations.AddField(
            model_name='scan',
            name='clock_skew',
            field=models.IntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='scan',
            name='proves_absence',
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name='sighting',
            name='first_email',
            field=models.CharField(blank=True, default='', max_length=254),
        ),
        migrations.AddField(
            model_name='sighting',
            name='first_offerings',
            field=models.JSONField(blank=True, default=None, null=True),
        ),
        migrations.AddField(
            model_name='sighting',
            name='possible_duplicate_of',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='customers.operation'),
        ),
        migrations.AddField(
            model_name='sighting',
            name='read_tried_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        AppendOnly("customers_attempt", once=ANSWER, until="answered_at"),
        migrations.RunPython(keep_addresses, migrations.RunPython.noop),
        migrations.RunPython(rewrite_identities, migrations.RunPython.noop),
    ]
