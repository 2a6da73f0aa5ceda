"""An import that a person starts while a colleague proposes it again, in processes of their own."""

from __future__ import annotations

from datetime import UTC, datetime
from threading import Thread
from typing import Any

import pytest
from django.db import connections, transaction

from customers.models import AccountImport, Connection, RemoteAccount
from customers.reconcile import account_import as account_imports
from portal.access.models import User
from portal.commands import Command
from portal.refusals import Refusal
from tests.support.factories import ConnectionFactory, UserFactory
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]
NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)
ACCOUNTS = 6


def unlinked(connection: Connection) -> None:
    for n in range(ACCOUNTS):
        RemoteAccount.objects.create(
            connection=connection, provider_id=f"sg-{connection.pk}-{n}", email=f"a{n}@company.example",
            first_seen_at=NOW, last_seen_at=NOW,
        )  # fmt: skip


def propose(person: User, connection: Connection) -> str:
    try:
        account_imports.propose_import(Command(person, NOW), connection=connection, listed=[])
    except Refusal as refusal:
        return str(refusal)
    return "proposed"


def start(person: User, account_import: AccountImport) -> str:
    try:
        account_imports.start_import(Command(person, NOW), account_import=account_import)
    except Refusal as refusal:
        return str(refusal)
    return "started"


def test_a_proposal_made_again_never_takes_away_a_run() -> None:
    starter, colleague = UserFactory(name="Ines Roth", role="admin"), UserFactory(role="admin")
    for _ in rounds():
        connection = ConnectionFactory()
        unlinked(connection)
        account_import = account_imports.propose_import(Command(colleague, NOW), connection=connection, listed=[])

        def work(n: int, connection: Connection = connection, account_import: AccountImport = account_import) -> str:
            return start(starter, account_import) if n == 0 else propose(colleague, connection)

        answers = set(together(work, 2))
        [open_one] = AccountImport.objects.filter(connection=connection).exclude(state="ended")
        assert open_one.items.count() == ACCOUNTS
        if "started" in answers:
            assert (open_one.pk, open_one.state, open_one.total) == (account_import.pk, "running", ACCOUNTS)
            [refusal] = answers - {"started"}
            assert refusal.startswith("An import for this connection is in progress, started by Ines Roth.")
        else:
            assert answers == {
                "proposed",
                ("Someone else just matched these accounts again. Review the result, then start the import."),
            }
            assert open_one.state == "proposed"


def test_two_who_propose_at_once_come_one_after_the_other() -> None:
    people = UserFactory.create_batch(2, role="admin")
    for _ in rounds():
        connection = ConnectionFactory()
        unlinked(connection)
        answers = together(lambda n, c=connection: propose(people[n], c), 2)
        assert answers == ["proposed", "proposed"]
        assert AccountImport.objects.get(connection=connection).items.count() == ACCOUNTS


def test_operations_are_sent_while_a_large_import_is_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What intends to send holds the connection's row, and waits three seconds for it at the most."""
    connection, person = ConnectionFactory(), UserFactory(role="admin")
    unlinked(connection)
    match = account_imports._Matcher.item
    free: list[bool] = []

    def sends() -> None:
        with transaction.atomic():
            rows = Connection.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=connection.pk)
            free.append(bool(rows))
        connections.close_all()

    def slowly(*said: Any) -> Any:
        other = Thread(target=sends)
        other.start()
        other.join()
        return match(*said)

    monkeypatch.setattr(account_imports._Matcher, "item", slowly)
    assert propose(person, connection) == "proposed"
    assert free == [True] * ACCOUNTS
