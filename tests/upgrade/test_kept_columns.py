"""What the database has beside the models is what `portal.kept_columns` names."""

from __future__ import annotations

from collections import defaultdict

import pytest
from django.apps import apps
from django.db import connection

from portal.kept_columns import KEPT

APPS = ("access", "audit", "billing", "customers", "notices")


@pytest.mark.django_db
def test_kept_columns_are_those_without_a_field() -> None:
    fields: dict[str, set[str]] = defaultdict(set)
    for app in APPS:
        for model in apps.get_app_config(app).get_models(include_auto_created=True):
            fields[model._meta.db_table] |= {field.column for field in model._meta.concrete_fields}
    found = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if not table.startswith(tuple(f"{app}_" for app in APPS)):
                continue
            columns = {each.name for each in connection.introspection.get_table_description(cursor, table)}
            if more := columns - fields[table]:
                found[table] = more
    kept = {table: set(columns) for tables in KEPT.values() for table, columns in tables.items()}
    assert found == (kept if connection.vendor == "postgresql" else {})
