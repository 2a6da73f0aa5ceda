"""Offerings and states as spans: what a reading shows, what an operation concludes, and what may have been in force."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from customers.models import Account, AccountSpan, RemoteAccount
from customers.observed import accounts as observed_accounts
from customers.observed import spans, usage_readings
from customers.reconcile import link as account_link
from portal.commands import Command
from portal.providers import ProviderOffering, ReportedState, StateReading
from tests.customers.conftest import ADDON, BIGGER, PACKAGE, Desk
from tests.support.factories import AccountFactory, OperationFactory, UserFactory

T = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
Kind, Source = AccountSpan.Kind, AccountSpan.Source
SMALL, LARGE = (ProviderOffering(f"acme.ei.pro-{size}k.v1", "package", 1) for size in (100, 300))


def read_state(account: Account, state: str, at: datetime) -> None:
    reading = StateReading(ReportedState(state), state)
    observed_accounts.record_state(account_id=account.pk, reading=reading, now=at)


def read_offerings(account: Account, offering: ProviderOffering, at: datetime) -> None:
    observed_accounts.record_offerings(account_id=account.pk, offerings=[offering], now=at)


def of(account: Account, kind: str) -> list[tuple[object, object, object, object]]:
    """What and when of each span, in hours from T."""
    return [
        (
            each.package or each.value,
            each.from_at and (each.from_at - T) / HOUR,
            (each.seen_at - T) / HOUR,
            each.until_at and (each.until_at - T) / HOUR,
        )
        for each in AccountSpan.objects.filter(account=account, kind=kind).order_by("pk")
    ]


@pytest.fixture
def account(db: None) -> Account:
    """An account that was never read."""
    return AccountFactory(
        state="unknown", state_read_at=None, offerings=None, offerings_read_at=None, package="", usage_read_at=None
    )


class TestReadings:
    def test_a_change_lies_between_two_readings(self, account: Account) -> None:
        for hours, offering in enumerate([SMALL, SMALL, LARGE, LARGE, SMALL]):
            read_offerings(account, offering, T + hours * HOUR)
        assert of(account, Kind.OFFERINGS) == [
            (SMALL.name, None, 0, 2),
            (LARGE.name, 1, 2, 4),
            (SMALL.name, 3, 4, None),
        ]
        assert set(AccountSpan.objects.values_list("source", "operation")) == {("reading", None)}

    def test_states_and_a_reading_that_found_nothing(self, account: Account) -> None:
        read_state(account, "active", T)
        observed_accounts.record_gone(account_id=account.pk, now=T + HOUR)
        observed_accounts.record_gone(account_id=account.pk, now=T + 2 * HOUR)
        read_state(account, "stopped_by_us", T + 3 * HOUR)
        assert of(account, Kind.STATE) == [
            ("active", None, 0, 1),
            ("unknown", 0, 1, 3),
            ("stopped_by_us", 2, 3, None),
        ]

    def test_a_reading_that_came_late_writes_nothing(self, account: Account) -> None:
        read_offerings(account, SMALL, T + HOUR)
        read_offerings(account, LARGE, T)
        assert of(account, Kind.OFFERINGS) == [(SMALL.name, None, 1, None)]

    def test_a_reading_of_what_is_stored_is_one_query(self, account: Account) -> None:
        read_state(account, "active", T)
        read_offerings(account, SMALL, T)
        with CaptureQueriesContext(connection) as queries:
            read_state(account, "active", T + HOUR)
            read_offerings(account, SMALL, T + HOUR)
        assert [each["sql"].split()[0] for each in queries] == ["UPDATE", "UPDATE"]
        assert AccountSpan.objects.count() == 2

    def test_a_reading_of_something_else_is_a_few(self, account: Account) -> None:
        read_offerings(account, SMALL, T)
        with CaptureQueriesContext(connection) as queries:
            read_offerings(account, LARGE, T + HOUR)
        told = [sql for each in queries if (sql := each["sql"].split()[0]) not in ("SAVEPOINT", "RELEASE")]
        assert told == ["UPDATE", "SELECT", "UPDATE", "UPDATE", "INSERT"]


class TestUsageBecomesDue:
    def due(self, account: Account) -> datetime | None:
        return Account.objects.values_list("usage_due_at", flat=True).get(pk=account.pk)

    def test_after_a_change_that_we_did_not_make(self, account: Account) -> None:
        read_offerings(account, SMALL, T)
        read_state(account, "active", T)
        assert self.due(account) is None  # the first reading shows no change
        read_offerings(account, SMALL, T + HOUR)
        assert self.due(account) is None
        read_offerings(account, LARGE, T + 2 * HOUR)
        assert self.due(account) == T + 2 * HOUR
        Account.objects.update(usage_due_at=None)
        read_state(account, "stopped_by_us", T + 3 * HOUR)
        assert self.due(account) == T + 3 * HOUR

    def test_not_after_one_that_an_operation_made(self, account: Account) -> None:
        operation = OperationFactory(account=account)
        read_offerings(account, SMALL, T)
        observed_accounts.record_offerings(account_id=account.pk, offerings=[LARGE], now=T + HOUR, operation=operation)
        assert self.due(account) is None
        last = AccountSpan.objects.get(account=account, until_at=None)
        assert (last.source, last.operation, last.from_at) == ("operation", operation, T)

    def test_not_when_the_account_is_not_found_and_back(self, account: Account) -> None:
        read_state(account, "active", T)
        observed_accounts.record_gone(account_id=account.pk, now=T + HOUR)
        read_state(account, "active", T + 2 * HOUR)
        assert self.due(account) is None

    @pytest.mark.parametrize(("asked", "due"), [(-1, True), (0, False), (1, False)])
    def test_until_a_reading_that_was_requested_after_it(self, account: Account, asked: int, due: bool) -> None:
        Account.objects.update(usage_due_at=T)
        usage_readings.record_usages(
            [usage_readings.CurrentUsage(account.pk, 1, 2, 0, start_on=None, end_on=None, at=T + asked * HOUR)]
        )
        assert (self.due(account) == T) is due


class TestOperations:
    def test_a_create_a_change_and_a_delete(self, desk: Desk) -> None:
        account = desk.created()
        made = account.operations.get()
        [offered] = AccountSpan.objects.filter(account=account, kind=Kind.OFFERINGS)
        assert (offered.package, offered.from_at, offered.operation) == (PACKAGE.name, made.created_at, made)
        unread, state = AccountSpan.objects.filter(account=account, kind=Kind.STATE).order_by("pk")
        assert (unread.value, unread.operation, unread.from_at) == ("unknown", made, made.created_at)
        assert (state.value, state.operation, state.from_at) == ("active", made, made.created_at)
        assert unread.until_at == state.seen_at

        confirmed = Account.objects.get(pk=account.pk).offerings_read_at
        changed = desk.perform(desk.ask_offerings(account, [BIGGER, ADDON]))
        before, after = AccountSpan.objects.filter(account=account, kind=Kind.OFFERINGS).order_by("pk")
        assert (after.package, after.operation, after.source) == (BIGGER.name, changed, "operation")
        assert confirmed is not None
        assert confirmed < after.from_at < changed.attempts.get().intended_at < after.seen_at
        assert (before.package, before.until_at) == (PACKAGE.name, after.seen_at)

        desk.perform(desk.ask("suspend", account))
        deleted = desk.perform(desk.ask("delete", account))
        values = AccountSpan.objects.filter(account=account, kind=Kind.STATE).order_by("pk")
        assert [each.value for each in values] == ["unknown", "active", "stopped_by_us", "deleted"]
        assert values[3].operation == deleted
        assert Account.objects.get(pk=account.pk).usage_due_at is None

    def test_one_that_was_found_applied_is_its_evidence(self, desk: Desk) -> None:
        account = desk.created()
        desk.sandbox.admin.arm("after-status-500", "put-offerings")
        operation = desk.drain(desk.ask_offerings(account, [BIGGER]))
        assert operation.state == "succeeded"
        after = AccountSpan.objects.get(account=account, kind=Kind.OFFERINGS, until_at=None)
        assert (after.package, after.operation, after.source) == (BIGGER.name, operation, "operation")
        # Usage is due by the operation, not by a change that was noticed.
        assert Account.objects.get(pk=account.pk).usage_due_at == operation.finished_at

    def test_a_refused_one_leaves_no_span(self, desk: Desk) -> None:
        account = desk.created()
        count = AccountSpan.objects.count()
        desk.sandbox.admin.arm("status-400", "put-offerings")
        assert desk.perform(desk.ask_offerings(account, [BIGGER])).state == "failed"
        assert AccountSpan.objects.count() == count

    def test_a_change_in_the_console_is_noticed_before_ours(self, desk: Desk) -> None:
        account = desk.created()
        desk.sandbox.admin.change_account(account.provider_id, offerings=[{"name": BIGGER.name, "type": "package"}])
        assert desk.perform(desk.ask_offerings(account, [PACKAGE])).error_kind == "conflict"
        last = AccountSpan.objects.get(account=account, kind=Kind.OFFERINGS, until_at=None)
        assert (last.package, last.source, last.operation) == (BIGGER.name, "reading", None)
        assert Account.objects.get(pk=account.pk).usage_due_at == last.seen_at


@pytest.mark.django_db
class TestWhatMayHaveBeen:
    def history(self, account: Account) -> None:
        """Small until between 1 and 2, large until between 3 and 4, small since."""
        for hours, offering in enumerate([SMALL, SMALL, LARGE, LARGE, SMALL]):
            read_offerings(account, offering, T + hours * HOUR)

    @pytest.mark.parametrize(
        ("start", "end", "packages"),
        [
            (-5, -4, [SMALL.name]),
            (0, 1, [SMALL.name]),
            (0, 1.5, [SMALL.name, LARGE.name]),
            (2, 3, [LARGE.name]),
            (1.9, 2.1, [SMALL.name, LARGE.name]),
            (2, 3.1, [LARGE.name, SMALL.name]),
            (4, 9, [SMALL.name]),
            (0, 9, [SMALL.name, LARGE.name]),
        ],
    )
    def test_packages_of_a_window(self, account: Account, start: float, end: float, packages: list[str]) -> None:
        self.history(account)
        assert spans.packages_of([account.pk], T + start * HOUR, T + end * HOUR) == {account.pk: packages}

    def test_of_many_accounts_it_is_one_query(self) -> None:
        accounts = [AccountFactory(offerings=None, offerings_read_at=None) for _ in range(3)]
        for each in accounts:
            read_offerings(each, SMALL, T)
        with CaptureQueriesContext(connection) as queries:
            found = spans.spans_of(Account.objects.all(), Kind.OFFERINGS, T, T + HOUR)
        assert (len(found), len(queries)) == (3, 1)
        assert spans.spans_of([], Kind.OFFERINGS, T, T + HOUR) == {}

    @pytest.mark.parametrize(
        ("readings", "start", "end", "unable"),
        [
            ([(0, "stopped_by_us"), (5, "stopped_by_us")], 1, 5, True),
            ([(0, "stopped_by_us"), (5, "stopped_by_us")], 1, 5.1, False),  # not read since
            ([(0, "stopped_by_us"), (5, "stopped_by_us")], -1, 4, False),  # not seen before
            ([(0, "stopped_by_us"), (5, "active")], 1, 4, False),  # may have begun just after 0
            ([(0, "stopped_by_us"), (5, "stopped_by_us"), (6, "active")], 1, 5, True),
            ([(0, "stopped_by_us"), (5, "stopped_by_us"), (6, "active")], 1, 5.5, False),
            ([(0, "stopped_by_us"), (3, "banned"), (5, "banned")], 1, 5, True),
            ([(0, "stopped_by_us"), (2, "unknown"), (5, "stopped_by_us")], 1, 4, False),
            ([(0, "stopped_by_provider"), (5, "stopped_by_provider")], 1, 4, False),
            ([(0, "active"), (5, "active")], 1, 4, False),
            ([(0, "active"), (1, "stopped_by_us"), (5, "stopped_by_us")], 1, 4, True),
        ],
    )
    def test_unable_to_send_is_proven(
        self, account: Account, readings: list[tuple[int, str]], start: float, end: float, unable: bool
    ) -> None:
        for hours, state in readings:
            read_state(account, state, T + hours * HOUR)
        found = spans.unable_to_send([account.pk], T + start * HOUR, T + end * HOUR)
        assert (account.pk in found) is unable

    def test_a_deleted_account_is_not_read_anymore(self, desk: Desk) -> None:
        account = desk.created()
        desk.perform(desk.ask("delete", account))
        now = timezone.now()
        assert spans.unable_to_send(Account.objects.all(), now, now + timedelta(days=40)) == {account.pk}
        assert spans.unable_to_send(Account.objects.all(), now - HOUR, now) == set()

    def test_without_a_span_an_account_may_have_sent(self, account: Account) -> None:
        assert spans.unable_to_send([account.pk], T, T + HOUR) == set()


class TestTheTable:
    def test_a_span_is_closed_once_and_never_changed(self, account: Account) -> None:
        read_state(account, "active", T)
        read_state(account, "banned", T + HOUR)
        closed = AccountSpan.objects.exclude(until_at=None)
        for change in ({"until_at": T}, {"value": "active"}):
            with pytest.raises(IntegrityError), transaction.atomic():
                closed.update(**change)
        with pytest.raises(IntegrityError), transaction.atomic():
            AccountSpan.objects.filter(until_at=None).update(seen_at=T)

    def test_an_account_has_one_current_span_of_a_kind(self, account: Account) -> None:
        read_state(account, "active", T)
        with pytest.raises(IntegrityError), transaction.atomic():
            AccountSpan.objects.create(account=account, kind=Kind.STATE, value="banned", seen_at=T, source="reading")


def test_a_linked_account_begins_with_what_it_has(desk: Desk) -> None:
    made = desk.sandbox.admin.add_account(
        email="ops@globex.example", offerings=[{"name": PACKAGE.name, "type": "package", "quantity": 1}]
    )
    remote_account = RemoteAccount.objects.create(
        connection=desk.connection, provider_id=made["id"], email="ops@globex.example", made_at=T
    )
    admin, now = UserFactory(role="admin"), timezone.now()
    account = account_link.link_account(
        Command(admin, now),
        remote_account=remote_account,
        customer=desk.customer("ops@globex.example"),
        provider=desk.connect(desk.connection),
    )
    found = {each.kind: (each.value, each.package, each.from_at, each.seen_at) for each in account.spans.all()}
    assert found == {
        "state": ("active", "", T, now),
        "offerings": (account.offerings, PACKAGE.name, T, now),
    }
