"""What an event holds, and that the database refuses to change it."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import Model
from django.test import RequestFactory

from customers.models import Customer, RemoteAccount
from portal import audit
from portal.access.models import User
from portal.audit.models import AuditEvent
from tests.support.factories import OperationFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> User:
    return User.objects.create_user("Ada@Portal.example", name="Ada", role="admin")


def test_an_event_says_who_what_and_from_where(admin: User) -> None:
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.7")
    request.request_id = "abc"  # type: ignore[attr-defined]
    event = audit.record(
        actor=admin, verb="staff.role_changed", obj=admin, before={"role": "auditor"}, after={"role": "admin"},
        reason="Asked by Bo", request=request,
    )  # fmt: skip
    event.refresh_from_db()
    assert (event.actor_label, event.actor_role, event.object_type) == ("Ada", "admin", "access.user")
    assert (event.object_id, event.ip, event.request_id) == (admin.public_id, "192.0.2.7", "abc")
    assert (event.before, event.after) == ({"role": "auditor"}, {"role": "admin"})


def test_account_and_customer_are_those_of_the_object() -> None:
    operation = OperationFactory()
    account, customer = operation.account, operation.account.customer
    events = [audit.record(actor=None, verb="x.y", obj=obj) for obj in (operation, account, customer)]
    assert [each.account_id for each in events] == [account.public_id, account.public_id, None]
    assert {(each.customer_id, each.customer_label) for each in events} == {(customer.public_id, str(customer))}


def test_secrets_are_masked(admin: User) -> None:
    event = audit.record(actor=None, verb="x.y", obj=admin, after={"api_key": "k-1", "note": "SG.abcdefgh.ijklmnop"})
    assert "k-1" not in str(event.after)
    assert "abcdefgh" not in str(event.after)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_auditevent SET reason = 'x'",
        "DELETE FROM audit_auditevent",
        "DELETE FROM audit_auditevent WHERE id > 0",
    ],
)
def test_the_database_refuses_to_change_an_event(admin: User, sql: str) -> None:
    audit.record(actor=admin, verb="x.y", obj=admin)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)
    assert AuditEvent.objects.get().reason == ""


@pytest.mark.parametrize(
    ("obj", "kind"), [(RemoteAccount(provider_id="a-1"), "customers.sighting"), (Customer(), "customers.customer")]
)
def test_a_renamed_class_keeps_the_type_of_signed_events(obj: Model, kind: str) -> None:
    assert audit.record(actor=None, verb="account.possible_duplicate", obj=obj).object_type == kind
