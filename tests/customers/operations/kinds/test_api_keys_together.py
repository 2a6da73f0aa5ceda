"""Keys replaced by several people and processes at once: an account's, and the one that secrets are sealed under."""

from __future__ import annotations

import base64
import io
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.core.management import call_command
from pytest_django import Settings

from customers.models import Account, AccountKey, Connection, Operation
from customers.operations.kinds.api_key_create import request_key_create
from customers.operations.kinds.api_keys import request_key_delete
from portal import encryption
from portal.access.models import User
from portal.commands import Command
from portal.providers import NewKey
from portal.refusals import Refusal
from tests.support.factories import AccountFactory, ConnectionFactory, UserFactory
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]
NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)
NEW_KEY = "t2:" + base64.b64encode(b"another-test-only-key-of-32-byte").decode()


def ask(person: User, account: Account, n: int, *, deletes: bool) -> str:
    command = Command(person, NOW, reason="Leaked", token=uuid4().hex)
    try:
        if deletes:
            request_key_delete(command, account=account, key_id="old")
        else:
            new = NewKey(f"Website {n}", ("messages:send",))
            request_key_create(command, account=account, new=new, keep=False, replaces="old")
    except Refusal as refusal:
        return f"refused: {refusal}"
    return "asked"


@pytest.mark.parametrize("other", ["rotates", "deletes"])
def test_of_two_who_replace_one_key_the_second_is_told(other: str) -> None:
    people = UserFactory.create_batch(2)
    connection = ConnectionFactory(kind="ahasend", base_url="https://api.ahasend.com", account_id=str(uuid4()))
    for _ in rounds():
        account = AccountFactory(connection=connection, provider_id=str(uuid4()))
        AccountKey.objects.create(account=account, key_id="old", label="Website", scopes=["messages:send"], read_at=NOW)

        def work(n: int, account: Account = account) -> str:
            return ask(people[n], account, n, deletes=bool(n) and other == "deletes")

        told, refusal = sorted(together(work, 2))
        assert told == "asked", told
        assert refusal.startswith("refused: ")
        assert "lready" in refusal
        deletes = Operation.objects.filter(account=account, kind="key_delete")
        creates = Operation.objects.filter(account=account, kind="key_create")
        assert deletes.count() == 1
        assert creates.count() == deletes.exclude(follows=None).count(), "nothing is made that replaces nothing"


def test_processes_that_seal_anew_at_once_move_every_secret_once(settings: Settings) -> None:
    old = settings.FIELD_KEYS
    for _ in rounds():
        settings.FIELD_KEYS = old
        made = [ConnectionFactory(v2_password_sealed="") for _ in range(6)]
        settings.FIELD_KEYS = f"{NEW_KEY},{old}"

        def rotate(_n: int) -> int:
            out = io.StringIO()
            call_command("rotate_field_keys", stdout=out, stderr=out)
            assert "No secret uses" in out.getvalue()
            return int(out.getvalue().split()[0])

        moved = together(rotate, 3)
        assert sum(moved) == len(made), moved
        settings.FIELD_KEYS = NEW_KEY
        for row in Connection.objects.filter(pk__in=[each.pk for each in made]):
            assert row.open("api_key_sealed") == "SG.test.key-of-a-test"
        Connection.objects.all().delete()
    assert encryption.current_key_id() == "t2"
