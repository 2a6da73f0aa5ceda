"""Two drills on the same keys by several processes at the same moment: each key is rotated or deleted once."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from customers.bulk import commands as bulk_commands
from customers.bulk import keys as bulk_keys
from customers.bulk import run as bulk_run
from customers.bulk.plan import hash_of
from customers.models import Account, AccountKey, ChangeSet, ChangeSetItem, Operation
from portal.access.models import User
from portal.commands import Command
from tests.customers.keys import account_with_keys, connection_with_keys, key_of
from tests.support.factories import UserFactory
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]
NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)
KEYS = 6


def running(person: User, keys: list[AccountKey], kind: str, old: str) -> ChangeSet:
    """A drill as its draft leaves it once the lists are read, and applied."""
    wanted = {"old": old} if kind == "key_rotate" else {}
    made = bulk_commands.plan_bulk_change(
        Command(person, NOW, reason="Laptop stolen", token=uuid4().hex),
        kind=kind,
        wanted=wanted,
        account_ids=(),
        named_keys=[(key.account_id, key.key_id) for key in keys],
    )
    for item in made.items.all():
        key = AccountKey.objects.get(account=item.account_id, key_id=item.key_id)
        after = {"old": old, "keep": False} if wanted else {"deleted": True}
        ChangeSetItem.objects.filter(pk=item.pk).update(state="ready", before=bulk_keys.key_facts(key), after=after)
    ChangeSet.objects.filter(pk=made.pk).update(state="planned", plan_hash=hash_of(made), not_before=NOW)
    made.refresh_from_db()
    return bulk_commands.submit_bulk_change(Command(person, NOW), change_set=made)


def work_off(made: ChangeSet) -> str:
    while made.items.filter(state="ready").exists():
        ChangeSet.objects.filter(pk=made.pk).update(not_before=NOW)
        bulk_run.run_bulk_change(made.pk, seconds=0.0)
    return "done"


@pytest.mark.parametrize(("other", "old"), [("key_rotate", "then"), ("key_rotate", "later"), ("key_delete", "then")])
def test_of_two_drills_each_key_belongs_to_one(other: str, old: str) -> None:
    person, connection = UserFactory(), connection_with_keys()
    for _ in rounds():
        account: Account = account_with_keys(connection)
        keys = [key_of(account, f"key-{n}") for n in range(KEYS)]
        sets = [running(person, keys, "key_rotate", old), running(person, keys, other, old)]
        assert together(lambda n, sets=sets: work_off(sets[n]), 2) == ["done", "done"]
        for key in keys:
            items = ChangeSetItem.objects.filter(account=account, key_id=key.key_id)
            assert sorted(items.values_list("state", flat=True)) == ["asked", "failed"]
        asked = Operation.objects.filter(account=account, follows=None)
        assert asked.count() == KEYS
        if old == "then":
            assert Operation.objects.filter(account=account, kind="key_delete").count() == KEYS
