"""One change for many accounts: the plan, the second person, and a run that neither loses nor doubles."""

from __future__ import annotations

import threading
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from customers import dispatcher
from customers.bulk import commands as bulk_commands
from customers.bulk import run as bulk_run
from customers.bulk.plan import Planner
from customers.bulk.queries import waiting_sets
from customers.models import Account, ChangeSet, ChangeSetItem, Customer, Operation
from customers.models.account import as_rows
from customers.monitoring.operation_invariants import approved_by_who_asked
from customers.schedules import holds
from portal.access.models import User
from portal.approvals.approvers import Lookup
from portal.approvals.gate import NobodyLeft
from portal.approvals.models import ApprovalRule
from portal.approvals.queries import WaitingRow
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal
from tests.customers.conftest import ADDON, BIGGER, PACKAGE, Desk
from tests.support import messages
from tests.support.approvals import switch_on

NOW = timezone.now()


def accounts(desk: Desk, count: int, **facts: Any) -> list[Account]:
    """Accounts as if they were read a while ago; what is not performed needs none at the provider."""
    rows = as_rows([PACKAGE, ADDON])
    customers = Customer.objects.bulk_create(
        [Customer(company_name=f"Company {n}", email=f"c{n}@fjord.example") for n in range(count)]
    )
    made = [
        Account(
            customer=each, connection=desk.connection, provider_id=f"{uuid4().hex[:12]}", email=each.email,
            state="active", offerings=rows, desired_offerings=rows, changed_at=NOW, **facts,
        )
        for each in customers
    ]  # fmt: skip
    return list(Account.objects.bulk_create(made))


def colleague(role: str = "admin", name: str = "Vera Lind") -> User:
    return User.objects.create_user(
        email=f"{uuid4().hex[:8]}@postkeeper.example", password="a long enough one", name=name, role=role
    )


def plan(
    desk: Desk, chosen: list[Account], kind: str = "suspend", *, wanted: dict[str, Any] | None = None, **more: Any
) -> ChangeSet:
    command = Command(desk.person, **{"now": NOW, "reason": "Not paid", "token": uuid4().hex} | more)
    ids = [each.pk for each in chosen]
    return bulk_commands.plan_bulk_change(command, kind=kind, account_ids=ids, wanted=wanted or {})


def submit(desk: Desk, made: ChangeSet) -> ChangeSet:
    return bulk_commands.submit_bulk_change(Command(desk.person, NOW), change_set=made)


def go_on(made: ChangeSet) -> ChangeSet:
    ChangeSet.objects.filter(pk=made.pk).update(not_before=NOW)
    bulk_run.run_bulk_change(made.pk, seconds=60)
    made.refresh_from_db()
    return made


def states(made: ChangeSet) -> list[str]:
    return list(made.items.order_by("account_id").values_list("state", flat=True))


class TestThePlan:
    def test_each_account_has_its_own_difference(self, desk: Desk) -> None:
        chosen = accounts(desk, 3)
        Account.objects.filter(pk=chosen[1].pk).update(offerings=as_rows([BIGGER, ADDON]))
        Account.objects.filter(pk=chosen[2].pk).update(usage_used=200_000, offerings=None)
        made = plan(desk, chosen, "package", wanted={"offering": BIGGER.name})
        one, two, three = made.items.order_by("account_id")
        assert (one.was, one.becomes, one.state) == ("Pro 100K, Dedicated IP", "Pro 300K, Dedicated IP", "ready")
        assert (two.state, two.note) == ("aside", "No change needed.")
        assert "haven't been loaded yet" in three.note
        back = plan(desk, [chosen[1]], "package", wanted={"offering": PACKAGE.name})
        assert "offerings differ from the expected ones" in back.items.get().warnings[0]
        assert not Operation.objects.exists()

    def test_add_ons_caps_and_tags(self, desk: Desk) -> None:
        [account] = accounts(desk, 1)
        without = plan(desk, [account], "addon_remove", wanted={"offering": ADDON.name}).items.get()
        assert any("IP" in each for each in without.warnings)
        assert plan(desk, [account], "addon_add", wanted={"offering": ADDON.name}).items.get().state == "aside"
        assert "no monthly cap" in plan(desk, [account], "cap", wanted={"cap": 5}).items.get().note
        tagged = go_on(submit(desk, plan(desk, [account], "tag_add", wanted={"tag": "Nordic"})))
        account.customer.refresh_from_db()
        assert (tagged.state, account.customer.tags) == ("ended", ["Nordic"])
        assert AuditEvent.objects.filter(verb="customer.edited").count() == 1

    def test_what_cannot_be_done_stands_apart(self, desk: Desk) -> None:
        held, banned, under_way, gone, fine = chosen = accounts(desk, 5)
        holds.place_hold(Command(desk.person, NOW, reason="Pays on Friday"), account=held, until=None)
        Account.objects.filter(pk=banned.pk).update(state="banned")
        desk.ask("suspend", under_way)
        Account.objects.filter(pk=gone.pk).update(state="deleted")
        made = plan(desk, chosen)
        assert states(made) == ["aside"] * 4 + ["ready"]
        notes = list(made.items.order_by("account_id").values_list("note", flat=True))
        for note, words in zip(
            notes, ("Pays on Friday", "SendGrid blocked this account.", "op_", "deleted"), strict=False
        ):
            assert words in note
        go_on(submit(desk, made))
        assert Operation.objects.filter(change_set_item__account=fine).count() == 1
        assert Operation.objects.count() == 2

    def test_the_number_of_queries_does_not_follow_the_accounts(self, desk: Desk) -> None:
        chosen = [each.pk for each in accounts(desk, 160)]

        def queries(count: int) -> int:
            with CaptureQueriesContext(
                database,
            ) as seen:
                wanted = {"offering": BIGGER.name}
                assert len(list(Planner("package", wanted, "x", now=NOW).rows(chosen[:count]))) == count
            return len(seen)

        assert queries(10) == queries(160) <= 5


class TestTheRun:
    def test_one_operation_each_and_no_more(self, desk: Desk) -> None:
        chosen = accounts(desk, 4)
        made = submit(desk, plan(desk, chosen))
        assert made.state == "running"
        Account.objects.filter(pk=chosen[0].pk).update(version=7)
        Account.objects.filter(pk=chosen[1].pk).update(state="stopped_by_provider")
        assert go_on(made).state == "ended"
        assert states(made) == ["moved", "moved", "asked", "asked"]
        go_on(made)
        assert Operation.objects.count() == 2
        again = bulk_commands.plan_again(Command(desk.person, NOW, token=uuid4().hex), change_set=made)
        assert sorted(again.items.values_list("account_id", flat=True)) == [each.pk for each in chosen[:2]]

    def test_a_death_between_two_accounts(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        made = submit(desk, plan(desk, accounts(desk, 4)))
        real, asked = bulk_run._ask, []

        def dies(*args: Any) -> Any:
            asked.append(real(*args))
            if len(asked) == 3:
                raise KeyboardInterrupt
            return asked[-1]

        with monkeypatch.context() as patched:
            patched.setattr(bulk_run, "_ask", dies)
            with pytest.raises(KeyboardInterrupt):
                bulk_run.run_bulk_change(made.pk, seconds=60.0)
        assert sorted(states(made)) == ["asked", "asked", "ready", "ready"]
        assert Operation.objects.count() == 2
        go_on(made)  # the dead one's lease still holds
        assert Operation.objects.count() == 2
        ChangeSet.objects.update(lease_until=NOW)
        assert go_on(made).state == "ended"
        assert Operation.objects.count() == 4

    def test_only_so_many_are_open_at_once(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bulk_run, "OPEN_AT_ONCE", 2)
        made = go_on(submit(desk, plan(desk, accounts(desk, 3))))
        assert (made.state, Operation.objects.count()) == ("running", 2)
        assert bulk_run.due_change_sets(now=timezone.now()) == []
        Operation.objects.update(state="succeeded", finished_at=NOW)
        assert go_on(made).state == "ended"

    def test_paused_resumed_and_cancelled(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bulk_run, "OPEN_AT_ONCE", 3)
        made = submit(desk, plan(desk, accounts(desk, 4)))
        bulk_commands.pause_bulk_change(Command(desk.person), change_set=made)
        assert go_on(made).state == "paused"
        assert not Operation.objects.exists()
        bulk_commands.resume_bulk_change(Command(desk.person, NOW), change_set=made)
        go_on(made)
        begun = Operation.objects.order_by("pk")[0]
        Operation.objects.filter(pk=begun.pk).update(state="claimed", concurrency_key="taken", lease_until=NOW)
        assert bulk_commands.cancel_bulk_change(Command(desk.person, NOW), change_set=made) == (2, 1)
        assert sorted(states(made)) == ["asked"] * 3 + ["cancelled"]
        assert go_on(made).state == "cancelled"
        told = AuditEvent.objects.filter(object_id=made.public_id).order_by("pk").values_list("verb", flat=True)
        assert list(told)[-3:] == ["bulk.paused", "bulk.resumed", "bulk.cancelled"]
        assert set(Operation.objects.values_list("state", flat=True)) == {"claimed", "cancelled"}

    def test_the_role_is_looked_at_again(self, desk: Desk) -> None:
        made = submit(desk, plan(desk, accounts(desk, 2)))
        User.objects.filter(pk=desk.person.pk).update(role="auditor")
        assert go_on(made).state == "paused"
        assert "no longer has permission to make this change" in made.message
        assert not Operation.objects.exists()

    def test_a_hold_placed_since_is_respected(self, desk: Desk) -> None:
        [account] = accounts(desk, 1)
        made = submit(desk, plan(desk, [account]))
        holds.place_hold(Command(desk.person, NOW, reason="Pays on Friday"), account=account, until=None)
        assert states(go_on(made)) == ["failed"]
        assert "Pays on Friday" in made.items.get().note

    def test_the_dispatcher_pokes_it(self, desk: Desk) -> None:
        made = submit(desk, plan(desk, accounts(desk, 1)))
        with messages.sent() as found:
            dispatcher.dispatch(now=timezone.now())
        assert (bulk_run.RUN, made.pk) in found

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.long
    def test_two_workers_at_once(self, desk: Desk) -> None:
        made = submit(desk, plan(desk, accounts(desk, 8)))
        ready, failures = threading.Barrier(4), []

        def work() -> None:
            try:
                ready.wait(60)
                bulk_run.run_bulk_change(made.pk, seconds=60.0)
            except Exception as error:  # noqa: BLE001 shown below, whatever it is
                failures.append(error)
            finally:
                database.close()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(30)
        assert failures == []
        assert go_on(made).state == "ended"
        assert Operation.objects.count() == 8


def waiting_of(person: User) -> list[WaitingRow]:
    return waiting_sets(person, Lookup(now=NOW))


class TestTheSecondPerson:
    @pytest.fixture(autouse=True)
    def _on(self, db: None) -> None:
        switch_on("delete", "bulk", threshold=10)

    def test_eleven_accounts_need_another_person(self, desk: Desk) -> None:
        chosen = accounts(desk, 11)
        with pytest.raises(NobodyLeft, match="nobody else can approve it now"):
            submit(desk, plan(desk, chosen))
        colleague("finance")
        User.objects.create_user(email="invited@postkeeper.example", name="Invited", role="admin")
        with pytest.raises(NobodyLeft, match="Required role: Admin, Customer success"):
            submit(desk, plan(desk, chosen))
        assert not ChangeSet.objects.exclude(state="planned").exists()
        colleague()
        assert submit(desk, plan(desk, chosen[:10])).state == "running"
        assert submit(desk, plan(desk, chosen)).state == "waiting"
        assert submit(desk, plan(desk, chosen[:1], "delete")).state == "waiting"

    def test_another_person_approves_the_plan_they_saw(self, desk: Desk) -> None:
        other, chosen = colleague(), accounts(desk, 11)
        made = submit(desk, plan(desk, chosen))
        assert go_on(made).state == "waiting"
        may = [each.may_decide for who in (other, desk.person, colleague("auditor")) for each in waiting_of(who)]
        assert may == [True, False, False]

        def approve(person: User, plan_hash: str = made.plan_hash) -> None:
            bulk_commands.approve_bulk_change(Command(person, NOW), change_set=made, plan_hash=plan_hash)

        with pytest.raises(Refusal, match="You can't approve your own request"):
            approve(desk.person)
        with pytest.raises(Refusal, match="Your role"):
            approve(colleague("finance"))
        with pytest.raises(Refusal, match="The plan changed since you reviewed it"):
            approve(other, "0" * 64)
        approve(other)
        Account.objects.filter(pk=chosen[3].pk).update(version=9)
        go_on(made)
        assert sorted(states(made)) == ["asked"] * 10 + ["moved"]
        assert set(Operation.objects.values_list("requested_by", flat=True)) == {desk.person.pk}

    def test_a_plan_that_changed_is_not_applied(self, desk: Desk) -> None:
        other = colleague()
        made = submit(desk, plan(desk, accounts(desk, 11), "package", wanted={"offering": BIGGER.name}))
        item = made.items.all()[0]
        ChangeSetItem.objects.filter(pk=item.pk).update(after={"offerings": as_rows([PACKAGE])})
        with pytest.raises(Refusal, match="The plan changed since you reviewed it"):
            bulk_commands.approve_bulk_change(Command(other, NOW), change_set=made, plan_hash=made.plan_hash)
        ChangeSetItem.objects.filter(pk=item.pk).update(after=item.after)
        bulk_commands.approve_bulk_change(Command(other, NOW), change_set=made, plan_hash=made.plan_hash)
        ChangeSetItem.objects.filter(pk=item.pk).update(after={"offerings": as_rows([PACKAGE])})
        assert go_on(made).state == "paused"
        assert not Operation.objects.exists()

    def test_the_database_holds_it(self, desk: Desk) -> None:
        colleague()
        made = submit(desk, plan(desk, accounts(desk, 11)))
        for facts in ({"approved_by": desk.person, "approved_hash": "x"}, {"state": "running"}):
            with pytest.raises(IntegrityError), transaction.atomic():
                ChangeSet.objects.filter(pk=made.pk).update(**facts)

    def test_the_invariant_sees_what_ran_on_another_plans_approval(self, desk: Desk) -> None:
        other = colleague()
        made = submit(desk, plan(desk, accounts(desk, 11)))
        bulk_commands.approve_bulk_change(Command(other, NOW), change_set=made, plan_hash=made.plan_hash)
        go_on(made)
        assert list(approved_by_who_asked(NOW)) == []
        ChangeSet.objects.filter(pk=made.pk).update(plan_hash="another")
        assert list(approved_by_who_asked(NOW)) == [f"{made.code} was applied without approval of its plan"]

    def test_refused_with_a_reason(self, desk: Desk) -> None:
        other = colleague()
        made = submit(desk, plan(desk, accounts(desk, 11)))
        with pytest.raises(Refusal, match="Enter a reason"):
            bulk_commands.reject_bulk_change(Command(other, NOW, reason=" "), change_set=made)
        bulk_commands.reject_bulk_change(Command(other, NOW, reason="Half of them paid"), change_set=made)
        assert go_on(made).state == "refused"
        assert made.message == "Rejected by Vera Lind: Half of them paid"
        assert AuditEvent.objects.get(verb="bulk.refused").reason == "Half of them paid"
        with pytest.raises(Refusal, match="no longer waiting for approval"):
            bulk_commands.approve_bulk_change(Command(other, NOW), change_set=made, plan_hash=made.plan_hash)

    def test_the_rule_turns_it_off(self, desk: Desk) -> None:
        colleague()
        ApprovalRule.objects.update(is_on=False)
        assert submit(desk, plan(desk, accounts(desk, 11))).state == "running"
