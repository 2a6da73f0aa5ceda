"""A changed credential: encrypted while it waits, stored and tested once approved, and in no table or log before."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from customers.connections import commands as connection_commands
from customers.connections.credentials import secrets_by_key
from customers.models import Connection
from customers.monitoring.operation_invariants import approved_by_who_asked
from portal.access.models import User
from portal.approvals.gate import ApprovalRequired
from portal.approvals.models import Approval, ApprovalRule
from portal.audit.models import AuditEvent
from portal.commands import Command
from tests.customers.conftest import Desk
from tests.customers.page_helpers import fields, prose_of
from tests.support.approvals import switch_on
from tests.support.edits import fields_of, seen_at
from tests.support.factories import UserFactory
from tests.support.people import sign_in
from tests.support.sandbox import EU_KEY, KEY

GLASS = {"glass-reason": "The provider ends this key tonight", "glass-confirmed": "1"}


@pytest.fixture
def ada(db: None) -> User:
    return UserFactory(role="admin", name="Ada")


@pytest.fixture
def bo(db: None) -> User:
    return UserFactory(role="admin", name="Bo")


@pytest.fixture(autouse=True)
def _on(db: None) -> None:
    switch_on("credential")


def replace_key(person: User, connection: Connection, key: str = EU_KEY, **more: str) -> Any:
    client, url = sign_in(Client(), person), reverse("customers:connection-key", args=[connection.public_id])
    return client.post(url, seen_at(client, url) | {"api_key": key} | more)


def decide(person: User, do: str = "approve", **said: str) -> Any:
    approval = Approval.objects.get()
    url = reverse("approvals:decide", args=[approval.public_id])
    return sign_in(Client(), person).post(url, {"do": do, "plan": approval.payload_hash} | said, follow=True)


def everything() -> str:
    """All columns of all tables."""
    found = []
    with database.cursor() as cursor:
        for table in database.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608  our own tables
            found.append(str(cursor.fetchall()))
    return "\n".join(found)


def test_requested_stored_and_tested(desk: Desk, ada: User, bo: User, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    connection, canary = desk.connection, EU_KEY
    form = sign_in(Client(), ada).get(reverse("customers:connection-key", args=[connection.public_id]))
    assert "Replacing a key or password needs approval by Bo." in prose_of(form)
    answer = replace_key(ada, connection)
    approval = Approval.objects.get()
    assert answer["Location"] == approval.get_absolute_url()
    connection.refresh_from_db()
    assert connection.open("api_key_sealed") == KEY
    assert approval.secrets() == {"api_key": canary}
    assert sum(secrets_by_key().values()) == 2
    page = sign_in(Client(), bo).get(approval.get_absolute_url())
    assert f"API key ends in {KEY[-4:]} {canary[-4:]}" in prose_of(page)
    for text in (everything(), caplog.text, page.content.decode()):
        assert canary not in text
    assert "Connection tested." in prose_of(decide(bo))
    connection.refresh_from_db()
    assert connection.open("api_key_sealed") == canary
    assert Approval.objects.get().secret_sealed == ""
    event = AuditEvent.objects.get(verb="connection.key_replaced")
    assert (event.actor, event.after["approved_by"]) == (ada, "Bo")
    assert canary not in everything()
    assert canary not in caplog.text
    assert list(approved_by_who_asked(timezone.now())) == []


def test_a_rejected_one_is_forgotten(desk: Desk, ada: User, bo: User) -> None:
    replace_key(ada, desk.connection)
    decide(bo, "refuse", reason="Which key is this?")
    approval = Approval.objects.get()
    assert (approval.state, approval.secret_sealed) == ("rejected", "")
    assert Connection.objects.get().open("api_key_sealed") == KEY


def test_an_edit_with_a_key_waits_as_a_whole(desk: Desk, ada: User, bo: User) -> None:
    client, url = sign_in(Client(), ada), reverse("customers:connection-edit", args=[desk.connection.public_id])
    said = fields_of(client.get(url).content.decode())
    client.post(url, said | {"name": "SendGrid new", "api_key": EU_KEY})
    connection = Connection.objects.get()
    assert (connection.name == "SendGrid new", connection.open("api_key_sealed")) == (False, KEY)
    decide(bo)
    connection.refresh_from_db()
    assert (connection.name, connection.open("api_key_sealed")) == ("SendGrid new", EU_KEY)


def test_an_edit_without_a_key_needs_nobody(desk: Desk, ada: User, bo: User) -> None:
    connection_commands.edit_connection(Command(ada), connection=desk.connection, facts={"name": "SendGrid new"})
    assert Connection.objects.get().name == "SendGrid new"
    assert not Approval.objects.exists()


def test_a_connection_that_changed_keeps_its_key(desk: Desk, ada: User, bo: User) -> None:
    replace_key(ada, desk.connection)
    connection_commands.edit_connection(Command(bo), connection=desk.connection, facts={"creates_per_hour": 5})
    assert "ask Ada to request it again" in prose_of(decide(bo))
    assert Connection.objects.get().open("api_key_sealed") == KEY


def test_a_rejected_key_needs_approval_too(desk: Desk, ada: User, bo: User) -> None:
    Connection.objects.update(paused="auth", paused_reason="Rejected")
    replace_key(ada, desk.connection)
    assert Connection.objects.get().paused == "auth"
    decide(bo)
    assert Connection.objects.get().paused == ""


def test_the_glass_asks_for_the_key_again(desk: Desk, ada: User) -> None:
    refused = replace_key(ada, desk.connection)
    assert refused.status_code == 422
    assert EU_KEY not in refused.content.decode()
    assert 'name="api_key"' in refused.content.decode()
    again = fields(refused) | GLASS
    url = reverse("customers:connection-key", args=[desk.connection.public_id])
    assert sign_in(Client(), ada).post(url, again).status_code == 422  # without the key
    assert sign_in(Client(), ada).post(url, again | {"api_key": EU_KEY}).status_code == 303
    assert Connection.objects.get().open("api_key_sealed") == EU_KEY
    assert AuditEvent.objects.get(verb="connection.key_replaced").after["broke_glass"] is True
    assert list(approved_by_who_asked(timezone.now())) == []


def test_the_invariant_finds_a_key_past_the_gate(desk: Desk, ada: User) -> None:
    ApprovalRule.objects.update(is_on=False)
    before = timezone.now()
    connection_commands.replace_key(Command(ada), connection=desk.connection, api_key=EU_KEY)
    switch_on("credential", on_since=before)
    assert list(approved_by_who_asked(timezone.now())) == [
        f"connection.key_replaced of {desk.connection} was made without approval"
    ]


def test_no_part_of_a_password_is_stored(desk: Desk, ada: User, bo: User) -> None:
    with pytest.raises(ApprovalRequired) as needed:
        connection_commands.replace_key(
            Command(ada), connection=desk.connection, api_key=EU_KEY, v2_password="correct-horse-Zq9!"
        )
    assert needed.value.change.payload["ends_in"] == {"api_key": EU_KEY[-4:], "v2_password": ""}
