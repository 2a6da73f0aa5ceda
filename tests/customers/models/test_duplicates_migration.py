"""The migration of a database in which accounts are doubled already, on both engines, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.processes import told_by

MANY = 3000

STORY = """
import django; django.setup()
import json
from django.core.management import call_command
call_command("migrate", "customers", "0011", verbosity=0)

from datetime import UTC, datetime, timedelta
from django.db import connection
from django.db.migrations.loader import MigrationLoader
apps = MigrationLoader(connection).project_state([("customers", "0011_bulk"), ("access", "0001_initial")]).apps
model = lambda name: apps.get_model("customers", name)
Connection, Customer, Account, Operation = map(model, ("Connection", "Customer", "Account", "Operation"))
at = datetime(2026, 1, 1, tzinfo=UTC)
person = apps.get_model("access", "User").objects.create(email="one@postkeeper.example", role="admin")
customer = lambda name: Customer.objects.create(company_name=name, email=name.lower() + "@northwind.example")
first, second, aha = (Connection.objects.create(name=name, kind=kind, base_url="https://api.sendgrid.com")
                      for name, kind in (("One", "sendgrid"), ("Two", "sendgrid"), ("Aha", "ahasend")))
one, two = customer("Northwind"), customer("Southwind")
def account(connection, of, provider_id, days, **more):
    made = Account.objects.create(connection=connection, customer=of, provider_id=provider_id, email=of.email,
                                  changed_at=at, usage_used=7, **{"state": "active", **more})
    Account.objects.filter(pk=made.pk).update(created_at=at + timedelta(days=days))
    return made
account(first, one, "sg-older", 0); account(second, two, "sg-older", 1)
account(first, one, "sg-deleted", 0, state="deleted"); account(second, two, "sg-deleted", 1)
account(first, one, "sg-linked", 0); created = account(second, two, "sg-linked", 1)
Operation.objects.create(kind="create", account=created, connection=second, version=1, requested_by=person,
                         client_token="a token", state="succeeded", not_before=at, created_at=at, finished_at=at)
account(first, one, "same", 0); account(aha, two, "same", 0)
account(first, one, None, 0, state="pending"); account(first, two, None, 0, state="pending")
account(first, one, "sg-alone", 0)
Account.objects.bulk_create(
    Account(connection=connection, customer=one, provider_id=f"sg-many-{n}", email=one.email, changed_at=at)
    for connection in (first, second) for n in range(MANY)
)
call_command("migrate", verbosity=0)

from customers.models import Account
from customers.monitoring import invariants
from django.utils import timezone
from portal.audit.models import AuditEvent
rows = Account.objects.exclude(provider_id__startswith="sg-many").exclude(provider_id=None)
values = rows.values_list(
    "provider_id", "connection__name", "provider_kind", "duplicate_of__connection__name", "usage_used"
)
many = Account.objects.filter(provider_id__startswith="sg-many", connection__name="Two")
pending = Account.objects.filter(provider_id=None)
try:
    Account.objects.filter(pk=pending.first().pk).update(provider_id="sg-alone")
    refused = False
except Exception as error:
    refused = type(error).__name__
print(json.dumps({
    "rows": sorted(values), "many": many.exclude(duplicate_of=None).count(), "refused": refused,
    "kinds": sorted(set(pending.values_list("provider_kind", flat=True))),
    "events": AuditEvent.objects.filter(verb="account.marked_duplicate").count(),
    "i1": next(bool(each.rows) for each in invariants.check(now=timezone.now()) if each.code == "I1"),
}))
""".replace("MANY", str(MANY))


@pytest.mark.long
def test_what_is_doubled_is_marked_and_kept_apart(empty_database: str, tmp_path: Path) -> None:
    found = told_by(STORY, empty_database, tmp_path)
    assert found["rows"] == [
        ["same", "Aha", "ahasend", None, 7],
        ["same", "One", "sendgrid", None, 7],
        ["sg-alone", "One", "sendgrid", None, 7],
        ["sg-deleted", "One", "sendgrid", "Two", None],
        ["sg-deleted", "Two", "sendgrid", None, 7],
        ["sg-linked", "One", "sendgrid", "Two", None],
        ["sg-linked", "Two", "sendgrid", None, 7],
        ["sg-older", "One", "sendgrid", None, 7],
        ["sg-older", "Two", "sendgrid", "One", None],
    ]
    assert found["many"] == MANY
    assert found["events"] == MANY + 3
    assert found["kinds"] == ["sendgrid"]
    assert found["refused"] == "IntegrityError"
    assert found["i1"], "the integrity check reports while they are not merged"
