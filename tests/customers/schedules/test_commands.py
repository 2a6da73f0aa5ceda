"""Changes on a day to come: asked, looked at again when due, and done once, whatever happens beside them."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from django import forms
from django.db import connection as database
from django.utils import timezone

from customers import dispatcher
from customers.models import Account, Connection, Operation, Schedule
from customers.schedules import commands as schedule_commands
from customers.schedules import due as due_schedules
from customers.schedules import holds
from customers.schedules.forms import moment_of
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal
from tests.customers.conftest import ADDON, BIGGER, PACKAGE, Desk
from tests.support import messages

NOW = timezone.now()
SOON = NOW + timedelta(days=3)


@pytest.fixture
def account(desk: Desk) -> Account:
    account = desk.created()
    today = NOW.date()
    rows = [{"name": each.name, "type": each.type, "quantity": each.quantity} for each in (PACKAGE, ADDON)]
    Account.objects.filter(pk=account.pk).update(
        state="active",
        offerings=rows,
        usage_start_on=today - timedelta(days=20),
        usage_end_on=today + timedelta(days=9),
    )
    account.refresh_from_db()
    return account


def end_of(account: Account) -> date:
    assert account.usage_end_on is not None
    return account.usage_end_on


def plan(
    desk: Desk, account: Account, kind: str = "suspend", *, token: str = "", reason: str = "Not paid", **more: Any
) -> Schedule:
    command = Command(desk.person, NOW, reason=reason, token=token or uuid4().hex)
    return schedule_commands.schedule_change(command, account=account, kind=kind, **{"due_at": SOON} | more)


def come(schedule: Schedule, *, late: timedelta = timedelta(0)) -> Schedule:
    """Its time comes."""
    due_schedules.run_schedule(schedule.pk, now=Schedule.objects.get(pk=schedule.pk).due_at + late)
    return Schedule.objects.get(pk=schedule.pk)


def sent(desk: Desk, schedule: Schedule) -> str:
    assert schedule.operation is not None, schedule.outcome
    return desk.perform(schedule.operation, at=schedule.ended_at).state


class TestWhenItsTimeComes:
    def test_it_is_asked_in_the_name_of_who_asked_and_once(self, desk: Desk, account: Account) -> None:
        schedule = plan(desk, account)
        due_schedules.run_schedule(schedule.pk, now=SOON - timedelta(seconds=1))
        assert not Operation.objects.filter(kind="suspend").exists()
        done = come(schedule)
        operation = Operation.objects.get(kind="suspend")
        assert (done.state, done.operation, done.outcome) == ("done", operation, "")
        assert (operation.requested_by, operation.reason) == (desk.person, "Not paid")
        assert come(schedule, late=timedelta(hours=1)).operation == operation
        assert Operation.objects.filter(kind="suspend").count() == 1
        assert sent(desk, done) == "succeeded"
        assert AuditEvent.objects.filter(verb="schedule.done", actor=None).count() == 1

    def test_after_a_downtime_it_runs_and_says_how_late(self, desk: Desk, account: Account) -> None:
        done = come(plan(desk, account), late=timedelta(hours=5))
        assert done.state == "done"
        assert done.outcome.startswith("Ran late. It was due")
        assert done.outcome.endswith("(5 h ago).")

    def test_the_dispatcher_pokes_what_is_due(self, desk: Desk, account: Account) -> None:
        schedule = plan(desk, account)
        with messages.sent() as early:
            dispatcher.dispatch(now=SOON - timedelta(seconds=1))
        assert not [each for each in early if each[0] == due_schedules.RUN_SCHEDULE]
        with messages.sent() as found:
            dispatcher.dispatch(now=SOON)
        assert [each for each in found if each[0] == due_schedules.RUN_SCHEDULE] == [
            (due_schedules.RUN_SCHEDULE, schedule.pk)
        ]

    def test_a_package_changes_and_the_add_ons_stay(self, desk: Desk, account: Account) -> None:
        schedule = plan(desk, account, "offerings", due_at=None, offerings=[BIGGER, ADDON])
        assert schedule.due_at == datetime.combine(end_of(account) + timedelta(days=1), time(), tzinfo=UTC)
        done = come(schedule)
        assert done.state == "done", done.outcome
        assert sent(desk, done) == "succeeded"
        held = desk.sandbox.admin.account(account.provider_id or "")["offerings"]
        assert {row["name"] for row in held} == {BIGGER.name, ADDON.name}


class TestWhatKeepsIt:
    def skipped(self, schedule: Schedule) -> str:
        ended = come(schedule)
        assert (ended.state, ended.operation) == ("skipped", None)
        assert AuditEvent.objects.get(verb="schedule.skipped").after == {"why": ended.outcome}
        return ended.outcome

    def test_a_hold_but_not_one_that_ended(self, desk: Desk, account: Account) -> None:
        first, second = plan(desk, account), plan(desk, account, due_at=SOON + timedelta(days=2))
        holds.place_hold(
            Command(desk.person, NOW, reason="Pays on Friday"), account=account, until=SOON + timedelta(days=1)
        )
        assert self.skipped(first) == "Marked “Do not suspend” by Customer success: Pays on Friday"
        assert come(second).state == "done"

    def test_a_hold_does_not_keep_an_unsuspend(self, desk: Desk, account: Account) -> None:
        desk.perform(desk.ask("suspend", account))
        schedule = plan(desk, account, "unsuspend")
        holds.place_hold(Command(desk.person, NOW, reason="x"), account=account, until=None)
        assert come(schedule).state == "done"

    def test_it_was_so_already(self, desk: Desk, account: Account) -> None:
        schedule = plan(desk, account)
        Account.objects.filter(pk=account.pk).update(state="stopped_by_us", desired_state="stopped_by_us")
        assert self.skipped(schedule) == "The account was already in this state."

    def test_somebody_else_suspended_and_unsuspended_meanwhile(self, desk: Desk, account: Account) -> None:
        schedule = plan(desk, account)
        desk.perform(desk.ask("suspend", account))
        desk.perform(desk.ask("unsuspend", account))
        assert "has since requested “Unsuspend”" in self.skipped(schedule)

    def test_what_the_calendar_itself_did_does_not_count(self, desk: Desk, account: Account) -> None:
        desk.perform(desk.ask("suspend", account))
        lift, stop = plan(desk, account, "unsuspend"), plan(desk, account, due_at=SOON + timedelta(days=7))
        assert sent(desk, come(lift)) == "succeeded"
        assert come(stop).state == "done"

    def test_another_part_of_the_account_does_not_count(self, desk: Desk, account: Account) -> None:
        schedule = plan(desk, account)
        Account.objects.filter(pk=account.pk).update(version=account.version + 3)
        assert come(schedule).state == "done"

    def test_the_package_moved(self, desk: Desk, account: Account) -> None:
        schedule = plan(desk, account, "offerings", offerings=[BIGGER, ADDON])
        Account.objects.filter(pk=account.pk).update(offerings=[{"name": "other", "type": "package", "quantity": 1}])
        assert self.skipped(schedule) == "The account's offerings changed after this was scheduled."

    @pytest.mark.parametrize(
        ("facts", "words"),
        [({"is_active": False}, "no longer an active team member"), ({"role": "auditor"}, "role of Customer")],
    )
    def test_the_person_may_not_any_more(self, desk: Desk, account: Account, facts: Any, words: str) -> None:
        schedule = plan(desk, account)
        User.objects.filter(pk=desk.person.pk).update(**facts)
        assert words in self.skipped(schedule)

    def test_the_connection_is_paused_or_the_provider_stopped_it(self, desk: Desk, account: Account) -> None:
        one, two = plan(desk, account), plan(desk, account, due_at=SOON + timedelta(days=1))
        Connection.objects.filter(pk=desk.connection.pk).update(paused="by_hand")
        assert self.skipped(one) == "SendGrid test was paused."
        Connection.objects.filter(pk=desk.connection.pk).update(paused="")
        Account.objects.filter(pk=account.pk).update(state="banned")
        assert come(two).outcome == "SendGrid blocked this account. Only SendGrid can unblock it."

    def test_a_delete_is_under_way(self, desk: Desk, account: Account) -> None:
        schedule = plan(desk, account)
        desk.ask("delete", account)
        assert "has since requested “Delete account”" in self.skipped(schedule)


class TestTheEndOfTheCycle:
    def test_it_moves_with_the_reading_and_then_comes(self, desk: Desk, account: Account) -> None:
        schedule = plan(desk, account, due_at=None)
        was, end = schedule.due_at, end_of(account) + timedelta(days=4)
        Account.objects.filter(pk=account.pk).update(usage_end_on=end)
        assert come(schedule).state == "waiting"  # read again when due: the end is another by now
        moved = Schedule.objects.get(pk=schedule.pk)
        assert (moved.cycle_end_on, moved.due_at) == (end, was + timedelta(days=4))
        assert AuditEvent.objects.filter(verb="schedule.moved").count() == 1
        earlier = end - timedelta(days=2)
        Account.objects.filter(pk=account.pk).update(usage_end_on=earlier)
        due_schedules.follow_cycles(now=NOW)
        assert Schedule.objects.get(pk=schedule.pk).cycle_end_on == earlier
        # The next cycle has begun and was read already: this is the moment it waited for.
        Account.objects.filter(pk=account.pk).update(
            usage_start_on=earlier + timedelta(days=1), usage_end_on=earlier + timedelta(days=31)
        )
        due_schedules.follow_cycles(now=NOW)
        assert come(schedule).state == "done"

    def test_not_known_any_more_or_never(self, desk: Desk, account: Account) -> None:
        schedule = plan(desk, account, due_at=None)
        Account.objects.filter(pk=account.pk).update(usage_end_on=None)
        assert "is no longer known" in come(schedule).outcome
        account.refresh_from_db()
        with pytest.raises(Refusal, match="Select a date"):
            plan(desk, account, due_at=None)


class TestAskingEditingCancelling:
    def test_the_same_form_twice_is_one(self, desk: Desk, account: Account) -> None:
        assert plan(desk, account, token="the same one") == plan(desk, account, token="the same one")

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            ({"due_at": NOW}, "future time"),
            ({"due_at": NOW + timedelta(days=9999)}, "two years"),
            ({"reason": " "}, "Enter a reason"),
            ({"kind": "offerings", "offerings": [PACKAGE, ADDON]}, "already has this package"),
            ({"kind": "offerings", "offerings": [ADDON]}, "exactly one package"),
        ],
    )
    def test_what_is_refused(self, desk: Desk, account: Account, more: Any, words: str) -> None:
        with pytest.raises(Refusal, match=words):
            plan(desk, account, **more)
        assert not Schedule.objects.exists()

    def test_an_auditor_may_not(self, desk: Desk, account: Account) -> None:
        other = User.objects.create_user(email="auditor@postkeeper.example", name="Auditor", role="auditor")
        schedule = plan(desk, account)
        for forbidden in (
            lambda: schedule_commands.schedule_change(
                Command(other, NOW, reason="x", token="x"), account=account, kind="suspend", due_at=SOON
            ),
            lambda: schedule_commands.cancel_schedule(Command(other, NOW), schedule=schedule),
            lambda: schedule_commands.edit_schedule(
                Command(other, NOW, reason="x"), schedule=schedule, version=1, due_at=SOON
            ),
        ):
            with pytest.raises(Refusal, match="Your role"):
                forbidden()
        assert Schedule.objects.get().version == 1

    def test_an_edit_runs_as_its_editor_and_a_stale_edit_is_refused(self, desk: Desk, account: Account) -> None:
        other = User.objects.create_user(email="admin@postkeeper.example", name="Admin", role="admin")
        schedule = plan(desk, account)
        later = SOON + timedelta(days=5)
        edited = schedule_commands.edit_schedule(
            Command(other, NOW, reason="Asked again"), schedule=schedule, version=1, due_at=later
        )
        assert (edited.due_at, edited.requested_by, edited.version) == (later, other, 2)
        with pytest.raises(Refusal, match="edited this scheduled change in the meantime"):
            schedule_commands.edit_schedule(
                Command(desk.person, NOW, reason="Mine"), schedule=schedule, version=1, due_at=SOON
            )
        assert come(schedule).operation.requested_by == other  # type: ignore[union-attr]

    def test_cancelled_never_runs_and_a_due_one_cannot_be_cancelled(self, desk: Desk, account: Account) -> None:
        one, two = plan(desk, account), plan(desk, account)
        schedule_commands.cancel_schedule(Command(desk.person, NOW), schedule=one)
        assert come(one).state == "cancelled"
        come(two)
        with pytest.raises(Refusal, match="already run or was canceled"):
            schedule_commands.cancel_schedule(Command(desk.person, SOON), schedule=two)


class TestTheClock:
    OSLO = ZoneInfo("Europe/Oslo")

    def test_a_time_is_the_persons_own_in_summer_and_in_winter(self) -> None:
        assert moment_of(date(2026, 7, 1), time(9), self.OSLO).hour == 7
        assert moment_of(date(2026, 12, 1), time(9), self.OSLO).hour == 8

    def test_a_time_left_out_or_had_twice_is_refused(self) -> None:
        with pytest.raises(forms.ValidationError, match="doesn't exist"):
            moment_of(date(2026, 3, 29), time(2, 30), self.OSLO)
        with pytest.raises(forms.ValidationError, match="occurs twice"):
            moment_of(date(2026, 10, 25), time(2, 30), self.OSLO)


class TestOnce:
    def test_a_crash_before_the_row_is_saved_leaves_it_waiting(
        self, desk: Desk, account: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        schedule = plan(desk, account)

        def dies(*_: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(due_schedules, "_end", dies)
            with pytest.raises(KeyboardInterrupt):
                come(schedule)
        assert not Operation.objects.filter(kind="suspend").exists()
        assert come(schedule).state == "done"
        assert Operation.objects.filter(kind="suspend").count() == 1

    @pytest.mark.django_db(transaction=True)
    def test_two_at_once_make_one_operation(self, desk: Desk, account: Account) -> None:
        several = [plan(desk, account), plan(desk, desk.created("other@fjord.example"))]
        ready, failures = threading.Barrier(4), []

        def work() -> None:
            try:
                ready.wait(60)
                for each in several:
                    due_schedules.run_schedule(each.pk, now=SOON)
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
        assert set(Schedule.objects.values_list("state", flat=True)) == {"done"}
        assert Operation.objects.filter(kind="suspend").count() == 2
        assert AuditEvent.objects.filter(verb="schedule.done").count() == 2
