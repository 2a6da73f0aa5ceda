"""Operations are numbered in their account. Those that exist get the order in which they were stored."""

from django.db import migrations, models
from django.db.models import Q

FILL = """
UPDATE customers_operation SET number = numbered.n
FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY account_id ORDER BY id) AS n FROM customers_operation) AS numbered
WHERE numbered.id = customers_operation.id
"""
LAST = """
UPDATE customers_account SET last_operation = counted.n
FROM (SELECT account_id, COUNT(*) AS n FROM customers_operation GROUP BY account_id) AS counted
WHERE counted.account_id = customers_account.id
"""


class Migration(migrations.Migration):
    dependencies = [("customers", "0011_bulk")]

    operations = [
        migrations.AddField("account", "last_operation", models.PositiveIntegerField(default=0)),
        migrations.AddField("operation", "number", models.PositiveIntegerField(default=0), preserve_default=False),
        migrations.RunSQL([FILL, LAST], migrations.RunSQL.noop),
        migrations.AddConstraint(
            "operation",
            models.UniqueConstraint(fields=("account", "number"), name="operation_numbered_in_account"),
        ),
        migrations.AddIndex(
            "operation",
            models.Index(
                fields=["account", "number"],
                condition=~Q(state__in=("succeeded", "failed", "cancelled")),
                name="operation_open_in_account",
            ),
        ),
    ]
