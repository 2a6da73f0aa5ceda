from importlib import import_module

from django.db import migrations, models

from portal.audit.triggers import AppendOnly

ANSWER = import_module("customers.migrations.0002_guards").ANSWER
# Retention empties the bodies; the others hold personal data as well.
ERASABLE = ["call", "request", "response", "message", "result", "bodies_removed_at"]


class Migration(migrations.Migration):
    atomic = False  # on PostgreSQL, each table is locked for its own statement alone

    dependencies = [
        ("customers", "0029_bulk_submitted_at"),
        ("audit", "0005_erasure_permits"),
    ]

    operations = [
        migrations.AddField(
            model_name="attempt",
            name="bodies_removed_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        AppendOnly("customers_attempt", once=ANSWER, until="answered_at", erasable=ERASABLE),
    ]
