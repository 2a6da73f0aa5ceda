"""The migration of a database in which accounts have several open creates, on both engines, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.processes import told_by

STORY = """
import django; django.setup()
import json
from django.core.management import call_command
call_command("migrate", "customers", "0017", verbosity=0)
call_command("migrate", "access", verbosity=0)
call_command("migrate", "audit", verbosity=0)

from datetime import UTC, datetime
from django.db import connection
from django.db.migrations.loader import MigrationLoader
apps = MigrationLoader(connection).project_state([("customers", "0017_workers"), ("access", "0001_initial")]).apps
model = lambda name: apps.get_model("customers", name)
Connection, Customer, Account, Operation, Step = map(
    model, ("Connection", "Customer", "Account", "Operation", "Step"))
at = datetime(2026, 1, 1, tzinfo=UTC)
person = apps.get_model("access", "User").objects.create(email="one@postkeeper.example", role="admin")
at_one = Connection.objects.create(name="One", kind="sendgrid", base_url="https://api.sendgrid.com")
customer = Customer.objects.create(company_name="Northwind", email="ops@northwind.example")
def account(name):
    return Account.objects.create(connection=at_one, customer=customer, email="shown@northwind.example",
                                  changed_at=at, changed_what=name, state="pending")
def create(of, number, email, **more):
    facts = {"kind": "create", "state": "queued", "follows": None, "identity": email, **more}
    payload = {"profile": {"email": email}, "is_test": False, "settings": None,
               "offerings": [{"name": "pack." + email, "type": "package", "quantity": 1}]}
    made = Operation.objects.create(
        account=of, connection=at_one, number=number, version=number, requested_by=person, payload=payload,
        client_token=f"{of.pk}-{number}", not_before=at, created_at=at, **facts)
    Step.objects.create(operation=made, n=1, before="", after="queued", at=at)
    if facts["state"] != "queued":
        Step.objects.create(operation=made, n=2, before="queued", after="claimed", at=at)
        Step.objects.create(operation=made, n=3, before="claimed", after=facts["state"], at=at)
    Account.objects.filter(pk=of.pk).update(last_operation=number)
    return made
waiting, begun, both, alone = map(account, ("waiting", "begun", "both", "alone"))
create(waiting, 1, "a1"); create(waiting, 2, "a2"); create(waiting, 3, "a3")
create(begun, 1, "b1"); create(begun, 2, "b2", state="needs_attention", lane=f"account:{begun.pk}", sends=1)
create(both, 1, "c1", sends=1)
second = create(both, 2, "c2", state="needs_attention", lane=f"account:{both.pk}", sends=1)
create(both, 3, "c3", kind="key_create", follows=second, identity="")
create(alone, 1, "d1", state="failed", finished_at=at); create(alone, 2, "d2")
call_command("migrate", verbosity=0)

from customers.monitoring import invariants
from customers.models import Account, Operation
from django.utils import timezone
from portal.audit.models import AuditEvent
try:
    Operation.objects.filter(identity="a2").update(state="queued", finished_at=None)
    refused = False
except Exception as error:
    refused = type(error).__name__
rows = Operation.objects.order_by("client_token")
print(json.dumps({
    "rows": [[each.identity or each.kind, each.state, each.account.changed_what, each.number, each.account.email,
              each.account.package] for each in rows.select_related("account")],
    "lanes": all(each.concurrency_key == f"account:{each.account_id}" for each in rows.exclude(concurrency_key="")),
    "refused": refused,
    "events": sorted(AuditEvent.objects.values_list("verb", flat=True)),
    "broken": [each.code for each in invariants.check(now=timezone.now()) if each.rows and each.code in ("I3", "I7")],
    "last": sorted(Account.objects.values_list("changed_what", "last_operation")),
}))
"""


@pytest.mark.long
def test_one_open_create_of_each_account_is_left(empty_database: str, tmp_path: Path) -> None:
    found = told_by(STORY, empty_database, tmp_path)
    assert found["rows"] == [
        ["a1", "queued", "waiting", 1, "a1", "pack.a1"],
        ["a2", "cancelled", "waiting", 2, "a1", "pack.a1"],
        ["a3", "cancelled", "waiting", 3, "a1", "pack.a1"],
        ["b1", "cancelled", "begun", 1, "b2", "pack.b2"],
        ["b2", "needs_attention", "begun", 2, "b2", "pack.b2"],
        ["c1", "queued", "both", 1, "c1", "pack.c1"],
        ["c2", "needs_attention", "Create, asked", 1, "c2", "pack.c2"],
        ["key_create", "queued", "Create, asked", 2, "c2", "pack.c2"],
        ["d1", "failed", "alone", 1, "shown@northwind.example", ""],
        ["d2", "queued", "alone", 2, "shown@northwind.example", ""],
    ]
    assert found["lanes"]
    assert found["refused"] == "IntegrityError"
    assert found["events"] == ["account.create_asked"] + ["operation.cancelled"] * 3
    assert found["broken"] == []
    assert found["last"] == [["Create, asked", 2], ["alone", 2], ["begun", 2], ["both", 3], ["waiting", 3]]
