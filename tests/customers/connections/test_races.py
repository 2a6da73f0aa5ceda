"""Several people and workers at one connection at the same moment. On PostgreSQL, with real processes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from customers.connections import commands as connection_commands
from customers.models import Attempt, Connection, Operation
from customers.operations import transitions
from portal.commands import Command
from portal.notices.models import Notice
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory, UserFactory
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]
HOST = "https://api.sendgrid.com"


def stored(connection: Connection) -> Connection:
    return Connection.objects.get(pk=connection.pk)


def test_two_edits_raise_the_revision_twice() -> None:
    admin, connection = UserFactory(role="admin"), ConnectionFactory()
    lost = 0
    for n in rounds():
        before = stored(connection)
        edits: list[dict[str, Any]] = [{"requests_per_minute": 700 + n}, {"creates_per_hour": 60 + n}]
        answers = together(
            lambda i, edits=edits, before=before: connection_commands.edit_connection(
                Command(admin), connection=before, facts=edits[i]
            ),
            2,
        )
        assert answers == [None, None]
        lost += stored(connection).revision != before.revision + 2
    assert lost == 0


def test_a_key_stored_while_settings_are_edited_raises_it_twice() -> None:
    admin, connection = UserFactory(role="admin"), ConnectionFactory()
    lost = 0
    for n in rounds():
        before = stored(connection)

        def work(i: int, n: int = n, before: Connection = before) -> None:
            if i:
                connection_commands.replace_key(Command(admin), connection=before, api_key=f"SG.another.key-{n:08}")
            else:
                connection_commands.edit_connection(
                    Command(admin), connection=before, facts={"creates_per_hour": 60 + n}
                )

        assert together(work, 2) == [None, None]
        after = stored(connection)
        assert (after.open("api_key_sealed"), after.creates_per_hour) == (f"SG.another.key-{n:08}", 60 + n)
        lost += after.revision != before.revision + 2
    assert lost == 0


def test_a_late_refusal_of_the_old_key_pauses_nothing() -> None:
    """Whichever comes first: refused before the new key was stored, the connection goes on; after it, nothing stops."""
    admin, connection = UserFactory(role="admin"), ConnectionFactory()
    stopped = 0
    reverse("customers:list")  # imports the pages once, and not in every process
    for n in rounds():
        asked = stored(connection)

        def work(i: int, n: int = n, asked: Connection = asked) -> None:
            if i:
                connection_commands.replace_key(Command(admin), connection=asked, api_key=f"SG.another.key-{n:08}")
                return
            late = False
            while not late:  # answers keep coming in, the last of them after the new key was stored
                late = not asked.is_current()
                connection_commands.pause_for_auth(asked, message="The key was refused (401).", now=timezone.now())

        assert together(work, 2) == [None, None]
        stopped += bool(stored(connection).paused)
        Connection.objects.update(paused="", paused_reason="", paused_at=None)
    assert stopped == 0
    assert not Notice.objects.filter(ended_at=None).exists()


def test_an_intent_and_a_new_address_come_one_after_the_other() -> None:
    """A create is sent to the address that holds, or the address stays: never sent to one and looked for at another."""
    admin, connection = UserFactory(role="admin"), ConnectionFactory()
    now = timezone.now()
    torn = 0
    for n in rounds():
        address = next(each for each in (HOST, "https://api.eu.sendgrid.com") if each != stored(connection).base_url)
        operation = OperationFactory(account=AccountFactory(connection=connection, pending=True), kind="create")
        claimed = transitions.claim(operation.pk, now=timezone.now() + timedelta(seconds=1))
        assert claimed

        def work(i: int, claimed: Operation = claimed, n: int = n, address: str = address) -> bool:
            if i:
                connection_commands.edit_connection(
                    Command(admin), connection=connection, facts={"base_url": address}, api_key=f"SG.another.key-{n:08}"
                )
            else:
                transitions.intend(claimed, call="create", request="", now=now)
            return True

        answers = together(work, 2)
        moved = stored(connection).base_url == address
        sent = Attempt.objects.filter(operation=operation).exists()
        assert moved or sent, answers
        torn += moved and sent
        Operation.objects.filter(pk=operation.pk).update(state="failed", finished_at=now, lease_until=None)
    assert torn == 0
