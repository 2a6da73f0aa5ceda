"""The migration that begins spans with what is stored, and renames the readings before deletes, on both engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.processes import told_by

STORY = """
import django; django.setup()
import json, time
from datetime import UTC, datetime
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.db.migrations.loader import MigrationLoader
call_command("migrate", "billing", "0008", verbosity=0)
call_command("migrate", "customers", "0023", verbosity=0)
call_command("migrate", "access", verbosity=0)
call_command("migrate", "audit", verbosity=0)
apps = MigrationLoader(connection).project_state(
    [("customers", "0023_import_unmatched"), ("billing", "0008_labels"), ("access", "0001_initial")]).apps
model = lambda name: apps.get_model("customers", name)
Connection, Customer, Account, Operation, FinalReading = map(
    model, ("Connection", "Customer", "Account", "Operation", "FinalReading"))
at = datetime(2026, 1, 1, tzinfo=UTC)
person = apps.get_model("access", "User").objects.create(email="one@postkeeper.example", role="admin")
one = Connection.objects.create(name="One", kind="sendgrid", base_url="https://api.sendgrid.com")
customer = Customer.objects.create(company_name="Northwind", email="ops@northwind.example")
rows = [{"name": "pack", "type": "package", "quantity": 1}]
Account.objects.bulk_create(
    Account(connection=one, customer=customer, provider_id=f"sg{n}", changed_at=at, state="active", state_read_at=at,
            offerings=rows, offerings_read_at=at, package="pack")
    for n in range(MANY))
Account.objects.create(connection=one, customer=customer, changed_at=at, state="pending")
deleted = Account.objects.create(connection=one, customer=customer, provider_id="gone", changed_at=at, state="deleted")
operation = Operation.objects.create(
    account=deleted, connection=one, number=1, version=1, requested_by=person, client_token="t", kind="delete",
    not_before=at, created_at=at, state="succeeded", finished_at=at)
FinalReading.objects.create(operation=operation, account=deleted, source="credits", taken_at=at, usage={"used": 7})
began = time.monotonic()
call_command("migrate", verbosity=0)
took = time.monotonic() - began

from customers.models import AccountSpan, UsageReading
reading = UsageReading.objects.get()
refused = 0
for change in (lambda: UsageReading.objects.update(source="x"), lambda: AccountSpan.objects.update(package="x"),
               lambda: UsageReading.objects.all()._raw_delete("default")):
    try:
        with transaction.atomic():
            change()
    except IntegrityError:
        refused += 1
spans = AccountSpan.objects.filter(account__provider_id__in=["sg0", "gone"])
print(json.dumps({
    "spans": [[s.account.provider_id, s.kind, s.value, s.package, s.from_at, s.seen_at == at, s.until_at, s.source]
              for s in spans.order_by("-account__provider_id", "kind")],
    "count": AccountSpan.objects.count(),
    "reading": [reading.moment, reading.usage, reading.failure],
    "refused": refused,
    "took": took,
}))
"""


@pytest.mark.long
def test_spans_begin_with_what_is_stored(empty_database: str, tmp_path: Path) -> None:
    found = told_by(STORY.replace("MANY", "3"), empty_database, tmp_path)
    rows = [{"name": "pack", "type": "package", "quantity": 1}]
    assert found["spans"] == [
        ["sg0", "offerings", rows, "pack", None, True, None, "stored"],
        ["sg0", "state", "active", "", None, True, None, "stored"],
        ["gone", "state", "deleted", "", None, True, None, "stored"],
    ]
    assert found["count"] == 7
    assert found["reading"] == ["final", {"used": 7}, ""]
    assert found["refused"] == 3
