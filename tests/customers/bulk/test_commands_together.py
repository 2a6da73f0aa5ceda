"""Bulk changes of tags by several processes at the same moment, on the same customers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from customers.bulk import commands as bulk_commands
from customers.bulk import run as bulk_run
from customers.directory.commands import edit_customer
from customers.models import Account, ChangeSet, Customer
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.commands import Command
from tests.support.factories import AccountFactory, ConnectionFactory, UserFactory
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]
NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)
CUSTOMERS = 8


def running(person: User, chosen: list[Account], kind: str, tag: str) -> ChangeSet:
    command, ids = Command(person, NOW, reason="For the review", token=uuid4().hex), [each.pk for each in chosen]
    made = bulk_commands.plan_bulk_change(command, kind=kind, wanted={"tag": tag}, account_ids=ids)
    return bulk_commands.submit_bulk_change(Command(person, NOW), change_set=made)


def work_off(made: ChangeSet) -> str:
    ChangeSet.objects.filter(pk=made.pk).update(not_before=NOW)
    bulk_run.run_bulk_change(made.pk, seconds=60.0)
    return "done"


@pytest.mark.parametrize("processes", [2, 4])
def test_runs_that_tag_the_same_customers_lose_no_tag(processes: int) -> None:
    person, connection = UserFactory(), ConnectionFactory()
    for _ in rounds():
        chosen = [AccountFactory(connection=connection, customer__tags=["Old"]) for _ in range(CUSTOMERS)]
        sets = [running(person, chosen, "tag_add", f"Tag {n}") for n in range(processes - 1)]
        sets.append(running(person, chosen, "tag_remove", "old"))
        together(lambda n, sets=sets: work_off(sets[n]), processes)
        for account in chosen:
            tags = Customer.objects.get(pk=account.customer_id).tags
            assert set(tags) == {f"Tag {n}" for n in range(processes - 1)}
        for made in sets:
            made.refresh_from_db()
            assert (made.state, set(made.items.values_list("state", flat=True))) == ("ended", {"asked"})
        # The record tells what each change began with: every event goes on where one before it ended.
        for account in chosen:
            told = list(
                AuditEvent.objects.filter(verb="customer.edited", customer_id=account.customer.public_id).order_by("pk")
            )
            assert sorted(told[0].before["tags"]) == ["Old"]
            assert len(told) == processes
            afters = [["Old"], *(each.after["tags"] for each in told)]
            assert all(each.before["tags"] in afters for each in told)
            assert len({str(each.before["tags"]) for each in told}) == processes, "no two began with the same"


def test_editing_another_field_meanwhile_removes_no_tag() -> None:
    person, connection = UserFactory(), ConnectionFactory()
    for n in rounds():
        chosen = [AccountFactory(connection=connection) for _ in range(4)]
        made = running(person, chosen, "tag_add", "Nordic")

        def work(i: int, chosen: list[Account] = chosen, made: ChangeSet = made, n: int = n) -> Any:
            if i == 0:
                return work_off(made)
            for account in chosen:
                edit_customer(Command(person, NOW), customer=account.customer, facts={"website": f"w{n}.example"})
            return "edited"

        assert sorted(together(work, 2)) == ["done", "edited"]
        found = Customer.objects.filter(accounts__in=chosen).values_list("tags", "website")
        assert [(list(tags), website) for tags, website in found] == [(["Nordic"], f"w{n}.example")] * 4
