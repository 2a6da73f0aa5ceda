"""Edits of one row by two processes at the same moment: never both where they disagree, always both where not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from customers.connections import commands as connection_commands
from customers.directory import commands as customer_commands
from customers.models import Connection, Customer
from portal.access import staff
from portal.access.models import User
from portal.commands import Command
from portal.edits import EditConflict
from tests.support.factories import ConnectionFactory, CustomerFactory, UserFactory
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]
NOW = datetime(2026, 11, 30, 9, tzinfo=UTC)
Edit = Callable[[dict[str, Any], dict[str, Any]], Any]


def race(edit: Edit, first: dict[str, Any], second: dict[str, Any], seen: dict[str, Any]) -> list[bool]:
    """Whether each of two edits, made from the same page at once, was saved."""

    def work(n: int) -> tuple[int, bool]:
        try:
            edit((first, second)[n], seen)
        except EditConflict:
            return n, False
        return n, True

    return [saved for _n, saved in sorted(together(work, 2))]


class TestAConnection:
    def edit(self, facts: dict[str, Any], seen: dict[str, Any]) -> None:
        row, admin = Connection.objects.get(), User.objects.get()
        connection_commands.edit_connection(Command(admin), connection=row, facts=facts, seen=seen)

    def test_the_same_field(self) -> None:
        UserFactory(role="admin")
        row = ConnectionFactory(creates_per_hour=50)
        both = 0
        for n in rounds():
            seen = {"creates_per_hour": Connection.objects.get().creates_per_hour}
            values = (100 + 2 * n, 101 + 2 * n)
            saved = race(self.edit, *({"creates_per_hour": value} for value in values), seen)
            both += all(saved)
            assert any(saved)
            row.refresh_from_db()
            assert row.creates_per_hour == values[saved.index(True)]
        assert both == 0

    def test_two_fields(self) -> None:
        UserFactory(role="admin")
        row = ConnectionFactory(creates_per_hour=50, requests_per_minute=600)
        for n in rounds():
            row.refresh_from_db()
            seen = {"creates_per_hour": row.creates_per_hour, "requests_per_minute": row.requests_per_minute}
            assert all(race(self.edit, {"creates_per_hour": 100 + n}, {"requests_per_minute": 700 + n}, seen))
            row.refresh_from_db()
            assert (row.creates_per_hour, row.requests_per_minute) == (100 + n, 700 + n)


class TestACustomer:
    def edit(self, facts: dict[str, Any], seen: dict[str, Any]) -> None:
        customer_commands.edit_customer(
            Command(User.objects.get(), NOW), customer=Customer.objects.get(), facts=facts, seen=seen
        )

    @pytest.mark.long
    def test_the_same_field_and_two(self) -> None:
        UserFactory()
        row = CustomerFactory(website="", phone="")
        both = 0
        for n in rounds():
            row.refresh_from_db()
            seen = {"website": row.website, "phone": row.phone}
            both += all(race(self.edit, {"website": f"a{n}.example"}, {"website": f"b{n}.example"}, seen))
            row.refresh_from_db()
            seen = {"website": row.website, "phone": row.phone}
            assert all(race(self.edit, {"website": f"c{n}.example"}, {"phone": f"+4930{n:07}"}, seen))
            row.refresh_from_db()
            assert (row.website, row.phone) == (f"c{n}.example", f"+4930{n:07}")
        assert both == 0


def test_a_role() -> None:
    admins = [UserFactory(role="admin"), UserFactory(role="admin")]
    member = UserFactory(role="auditor")
    both = 0
    for _n in rounds():
        User.objects.filter(pk=member.pk).update(role="auditor")

        def edit(facts: dict[str, Any], seen: dict[str, Any]) -> None:
            actor = admins[facts["role"] == "finance"]
            staff.change_role(Command(actor), person=member, seen=seen, **facts)

        both += all(race(edit, {"role": "finance"}, {"role": "customer_success"}, {"role": "auditor"}))
    assert both == 0
