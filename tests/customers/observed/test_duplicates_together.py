"""Duplicates are merged while other processes write the same accounts."""

from __future__ import annotations

from time import monotonic

import pytest
from django.db import connection as database
from django.db import transaction
from django.utils import timezone

from billing.usage.snapshots import lock_accounts
from customers.models import Account, Customer
from customers.observed import duplicates
from portal.access.models import User
from portal.commands import Command
from tests.support.factories import AccountFactory, UserFactory
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]


@pytest.fixture
def person() -> User:
    user: User = UserFactory(role="admin")
    return user


def is_free(row: Customer | Account) -> bool:
    with transaction.atomic():
        return bool(type(row)._default_manager.select_for_update(skip_locked=True, of=("self",)).filter(pk=row.pk))


def waits_for_a_lock() -> None:
    """Return once another session of this database waits for a row."""
    until = monotonic() + 60
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with database.cursor() as cursor:
        while monotonic() < until:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(waiting)
            if cursor.fetchone()[0]:
                return
    raise AssertionError("nobody waits")


@pytest.mark.parametrize("other", ["a usage batch", "an accepted drift"])
def test_a_merge_takes_its_rows_in_the_order_of_others(person: User, other: str) -> None:
    """The other one holds its first row, and comes to its second one while the merge waits."""
    for _ in rounds():
        twin = AccountFactory(state="deleted")
        kept = AccountFactory()
        Account.objects.filter(pk=twin.pk).update(provider_id=kept.provider_id, duplicate_of=kept)
        twin.refresh_from_db()
        first: Customer | Account = twin if other == "a usage batch" else kept.customer

        def holds(first: Customer | Account = first, kept: Account = kept) -> str:
            with transaction.atomic():
                first.lock()
                waits_for_a_lock()
                lock_accounts([kept.pk])
            return "done"

        def merge(first: Customer | Account = first, twin: Account = twin) -> str:
            until = monotonic() + 60
            while is_free(first):
                assert monotonic() < until
            duplicates.merge(Command(person, timezone.now(), reason="Theirs."), duplicate=twin, customer=twin.customer)
            return "done"

        assert together(lambda n, h=holds, m=merge: (h, m)[n](), 2) == ["done", "done"]
