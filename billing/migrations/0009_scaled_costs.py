"""Store costs as integer numbers of millionths on SQLite. PostgreSQL keeps its decimal columns, which the release before
reads and writes during an upgrade; more digits before the point change the catalog only.

On SQLite a cost is a floating-point number of at most 15 significant digits, below 10^9. Its error is at most 2^-53 of
it, and so is that of the product with a million, together less than 10^15 * 2 * 2^-53 < 0.23 millionths: rounding to
a whole number finds the one that was stored.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations, models

from portal.money_field import ScaledDecimalField
from portal.audit.triggers import AppendOnly

COSTS = {
    "usagesnapshot": ("allocated_cost",),
    "usageperiod": ("allocated_cost",),
    "pooledsnapshot": ("parent_cost", "accounts_cost", "unmapped_cost", "removed_cost", "total_cost"),
}
APPEND_ONLY = ("usagesnapshot", "pooledsnapshot")
OPTIONAL = {"allocated_cost"}


def scale(apps: Any, schema_editor: Any) -> None:
    for model, names in COSTS.items():
        if schema_editor.connection.vendor == "postgresql":
            _alter(schema_editor, model, names, "numeric(18, 6)")
        else:
            fields = {name: ScaledDecimalField(null=name in OPTIONAL) for name in names}
            _rebuild(apps, schema_editor, model, fields, "CAST(ROUND({} * 1000000.0) AS INTEGER)")


def unscale(apps: Any, schema_editor: Any) -> None:
    for model, names in COSTS.items():
        if schema_editor.connection.vendor == "postgresql":
            _alter(schema_editor, model, names, "numeric(15, 6)")
        else:
            fields = {
                name: models.DecimalField(max_digits=15, decimal_places=6, null=name in OPTIONAL) for name in names
            }
            _rebuild(apps, schema_editor, model, fields, "{} / 1000000.0")


def _alter(schema_editor: Any, model: str, names: tuple[str, ...], type_: str) -> None:
    changes = (f'ALTER COLUMN "{name}" TYPE {type_}' for name in names)
    schema_editor.execute(f'ALTER TABLE "billing_{model}" {", ".join(changes)}')


def _rebuild(apps: Any, schema_editor: Any, model: str, fields: dict[str, Any], value: str) -> None:
    """Rebuild the table once (AlterField would for each column), convert, and add the triggers, which the rebuild drops."""
    old = apps.get_model("billing", model)
    for name, field in fields.items():
        field.set_attributes_from_name(name)
    schema_editor._remake_table(old, alter_fields=[(old._meta.get_field(name), new) for name, new in fields.items()])
    changes = ", ".join(f'"{name}" = {value.format(name)}' for name in fields)
    filled = " OR ".join(f'"{name}" IS NOT NULL' for name in fields)
    schema_editor.execute(f'UPDATE "billing_{model}" SET {changes} WHERE {filled}')
    if model in APPEND_ONLY:
        AppendOnly(f"billing_{model}").database_forwards("billing", schema_editor, None, None)


class Migration(migrations.Migration):
    # Each statement in a transaction of its own: together they would lock tables for longer than a page waits.
    atomic = False

    dependencies = [
        ('billing', '0008_labels'),
        ('customers', '0024_spans'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(scale, unscale)],
            state_operations=[
                migrations.AlterField(model, name, ScaledDecimalField(null=name in OPTIONAL))
                for model, names in COSTS.items()
                for name in names
            ],
        ),
    ]
