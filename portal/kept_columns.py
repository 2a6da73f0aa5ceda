"""Columns and tables that no model has any more, and that PostgreSQL keeps for processes of an older release.

During a rolling upgrade the older release runs on the newer schema (docs/how-to/upgrade.md). SQLite drops them at once:
its processes are on one machine and are stopped together.

The migrations of the next release may drop what is named here. From then on 0.1.0 can't be started again.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations

KEPT = {
    "0.1.0": {
        "billing_acceptance": ("id", "snapshot_id", "reason", "by_id", "at"),
        "billing_syncitem": ("snapshot_id", "read_at"),
        "billing_usageperiod": ("held_id", "unread_seconds"),
        "billing_usagesnapshot": ("lower",),
    },
}


class KeepColumn(migrations.RemoveField):
    """Remove a field of the model, and keep its column without its foreign key on PostgreSQL.

    `default`: the value of new rows, as SQL; needed where the column is NOT NULL.
    """

    def __init__(self, model_name: str, name: str, default: str = "") -> None:
        super().__init__(model_name, name)
        self.default = default

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor == "sqlite":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = from_state.apps.get_model(app_label, self.model_name)
        _drop_foreign_keys(schema_editor, model, self.name)
        if self.default:
            self._alter(schema_editor, model, f"SET DEFAULT {self.default}")

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor == "sqlite":
            super().database_backwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        _add_foreign_keys(schema_editor, model, self.name)
        if self.default:
            self._alter(schema_editor, model, "DROP DEFAULT")

    def _alter(self, schema_editor: Any, model: Any, change: str) -> None:
        column = model._meta.get_field(self.name).column
        schema_editor.execute(f'ALTER TABLE "{model._meta.db_table}" ALTER COLUMN "{column}" {change}')


class KeepTable(migrations.DeleteModel):
    """Delete a model, and keep its table without its foreign keys on PostgreSQL."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor == "sqlite":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = from_state.apps.get_model(app_label, self.name)
        _drop_foreign_keys(schema_editor, model, *(field.name for field in model._meta.concrete_fields))

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor == "sqlite":
            super().database_backwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.name)
        _add_foreign_keys(schema_editor, model, *(field.name for field in model._meta.concrete_fields))


def _drop_foreign_keys(schema_editor: Any, model: Any, *names: str) -> None:
    """Drop the foreign keys of these fields: a table that no model has can't be emptied together with the others."""
    for name in names:
        columns = [model._meta.get_field(name).column]
        for constraint in schema_editor._constraint_names(model, columns, foreign_key=True):
            schema_editor.execute(schema_editor._delete_fk_sql(model, constraint))


def _add_foreign_keys(schema_editor: Any, model: Any, *names: str) -> None:
    for field in map(model._meta.get_field, names):
        if field.remote_field:
            sql = schema_editor._create_fk_sql(model, field, "_fk_%(to_table)s_%(to_column)s")
            schema_editor.deferred_sql.append(sql)
