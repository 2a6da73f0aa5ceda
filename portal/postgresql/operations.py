"""Migration operations that build indexes on PostgreSQL while pages read and write their tables.

The migration has `atomic = False`. On SQLite, where one process migrates alone, these are Django's own.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations


class AddIndexConcurrently(migrations.AddIndex):
    """Add an index; on PostgreSQL without a lock against writes."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        schema_editor.add_index(to_state.apps.get_model(app_label, self.model_name), self.index, concurrently=True)


class AddUniqueConcurrently(migrations.AddConstraint):
    """Add a unique constraint over columns; on PostgreSQL from an index that is built without a lock against writes."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        table, name = f'"{model._meta.db_table}"', f'"{self.constraint.name}"'
        fields = [model._meta.get_field(each) for each in self.constraint.fields]  # type: ignore[attr-defined]  # unique
        columns = ", ".join(f'"{each.column}"' for each in fields)
        schema_editor.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} ({columns})")
        schema_editor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}")
