"""A scan of an account list whose message, or whose worker, is lost: delivered again, or ended with a reason."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import responses
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from customers import dispatcher
from customers.models import Account, Connection, Operation, RemoteAccount, Scan
from customers.observed import account_list, scan_requests
from portal import leases
from portal.clock import database_now
from portal.commands import Command
from portal.providers import ListedAccount
from tests.customers.page_helpers import text_of
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory, UserFactory
from tests.support.people import sign_in
from tests.support.together import rounds, together

NOON = datetime(2026, 3, 10, 12, tzinfo=timezone.get_fixed_timezone(0))
MINUTE = timedelta(minutes=1)


@pytest.fixture
def pokes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every message about a scan. None arrives."""
    sent: list[tuple[str, int]] = []
    for module in (account_list, scan_requests):
        monkeypatch.setattr(module, "enqueue_on_commit", lambda task, pk: sent.append((task, pk)))
    return sent


def begun(connection: Connection, *, now: datetime = NOON, **more: Any) -> Scan:
    more = {"kind": "asked", "slot": uuid4().hex} | more
    scan, new = account_list.begin_scan(connection=connection, now=now, **more)
    assert new
    return scan


@pytest.mark.django_db
class TestLost:
    def test_the_message_is_sent_again_each_minute(self, pokes: list[tuple[str, int]]) -> None:
        scan = begun(ConnectionFactory())
        for seconds in (5, 61, 65, 115, 125):
            dispatcher.dispatch(now=NOON + timedelta(seconds=seconds))
        assert pokes == [(account_list.SCAN, scan.pk)] * 2

    def test_not_of_one_that_a_worker_reads(self, pokes: list[tuple[str, int]]) -> None:
        begun(ConnectionFactory(), taken=True)
        begun(ConnectionFactory(), kind="unknown", taken=True)
        account_list.enqueue_waiting_scans(now=NOON + 2 * MINUTE)
        assert pokes == []

    def test_after_an_hour_without_a_worker_it_ends_and_says_so(
        self, pokes: list[tuple[str, int]], client: Client
    ) -> None:
        connection = ConnectionFactory()
        scan = begun(connection)
        dispatcher.dispatch(now=NOON + account_list.WAITS_FOR_A_WORKER + MINUTE)
        scan.refresh_from_db()
        assert (scan.state, scan.finished_at is not None) == ("incomplete", True)
        assert "No worker started this scan" in text_of(sign_in(client, UserFactory()).get(reverse("customers:drift")))
        again = scan_requests.request_scan(Command(UserFactory(), NOON + timedelta(hours=2)), connection=connection)
        assert (again.pk != scan.pk, again.state) == (True, "running")

    def test_a_dead_worker_is_noticed_by_the_dispatcher(self, pokes: list[tuple[str, int]]) -> None:
        scan = begun(ConnectionFactory(), taken=True)
        dispatcher.dispatch(now=NOON + Scan.LEASE + MINUTE)
        scan.refresh_from_db()
        assert (scan.state, scan.message) == ("incomplete", "The worker stopped before the scan finished.")

    def test_asking_again_sends_the_message_again(self, pokes: list[tuple[str, int]]) -> None:
        connection = ConnectionFactory()
        scan = begun(connection)
        assert (
            scan_requests.request_scan(Command(UserFactory(), NOON + timedelta(seconds=9)), connection=connection)
            == scan
        )
        assert pokes == [(account_list.SCAN, scan.pk)]

    def test_who_reads_the_list_at_once_does_not_wait_behind_it(self, pokes: list[tuple[str, int]]) -> None:
        connection = ConnectionFactory()
        waiting = begun(connection)
        begun(connection, kind="unknown", now=NOON + MINUTE, taken=True)
        waiting.refresh_from_db()
        assert waiting.state == "incomplete"

    def test_a_night_without_workers_does_not_use_up_its_tries(self, pokes: list[tuple[str, int]]) -> None:
        ConnectionFactory()
        for hours in range(4):
            assert scan_requests.request_nightly_scans(now=NOON + timedelta(hours=hours, minutes=hours)) == 1


class Listing:
    """A provider whose list takes time: `meanwhile` happens after its first row."""

    def __init__(self, rows: list[str], meanwhile: Any = None) -> None:
        self.rows, self.meanwhile = rows, meanwhile

    def list_accounts(self, *, patience: float) -> Iterator[ListedAccount]:
        for n, row in enumerate(self.rows):
            yield ListedAccount(id=row)
            if n == 0 and self.meanwhile:
                self.meanwhile()


@pytest.mark.django_db
def test_an_account_created_during_the_scan_is_not_missing() -> None:
    account: Account = AccountFactory()
    Account.objects.filter(pk=account.pk).update(created_at=NOON - MINUTE)

    def create() -> None:
        OperationFactory(kind="create", account=account, state="succeeded", finished_at=NOON + timedelta(seconds=20))

    scan = begun(account.connection, taken=True)
    provider: Any = Listing(["acc-other"], create)
    assert account_list.read_account_list(scan, provider, clock=lambda: NOON + MINUTE).state == "complete"
    assert Operation.objects.count() == 1
    assert not RemoteAccount.objects.filter(missing_since__isnull=False).exists()


@pytest.mark.django_db
def test_a_list_that_comes_slowly_keeps_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = begun(ConnectionFactory(), taken=True)
    seconds = iter(range(0, 10_000, 100))
    monkeypatch.setattr(leases, "monotonic", lambda: next(seconds))
    provider: Any = Listing(["acc-1", "acc-2"], lambda: account_list.expire_scans(now=NOON + 4 * MINUTE))
    assert account_list.read_account_list(scan, provider, clock=lambda: NOON + 3 * MINUTE).state == "complete"


@pytest.mark.django_db
def test_a_caller_that_lost_its_own_lease_ends_the_scan() -> None:
    scan, operation = begun(ConnectionFactory(), taken=True), OperationFactory(state="unknown")

    def through(rows: Iterator[ListedAccount]) -> Iterator[ListedAccount]:
        Operation.objects.update(fence=9)
        operation.renew(now=NOON)
        yield from rows

    provider: Any = Listing(["acc-1"], lambda: None)
    with pytest.raises(leases.LostLease, match="Operation"):
        account_list.read_account_list(scan, provider, clock=lambda: NOON + MINUTE, through=through)
    scan.refresh_from_db()
    assert (scan.state, scan.seen) == ("incomplete", 0)


@pytest.mark.proof
@pytest.mark.django_db(transaction=True)
@pytest.mark.long
def test_a_lost_scan_message_is_resent_once_and_one_worker_scans() -> None:
    """Four processes are dispatcher and worker at once. Every worker gets the message, as if it came four times."""

    def a_round() -> tuple[int, str, int]:
        connection = ConnectionFactory()
        scan = begun(connection, now=database_now() - 2 * MINUTE)

        def work(_n: int) -> tuple[int, int]:
            sent: list[int] = []
            account_list.enqueue_on_commit = lambda _task, pk: sent.append(pk)  # type: ignore[assignment]  # here alone
            account_list.enqueue_waiting_scans(now=database_now())
            with responses.RequestsMock(assert_all_requests_are_fired=False) as wire:
                body = json.dumps({"accounts": [], "pages": {}})
                wire.add(responses.GET, re.compile(r"https://api\.sendgrid\.com/"), body=body)
                scan_requests.run_scan(scan.pk)
                return len(sent), len(wire.calls)

        found = together(work, 4)
        scan.refresh_from_db()
        return sum(sent for sent, _ in found), scan.state, sum(1 for _, calls in found if calls)

    assert Counter(a_round() for _ in rounds()) == {(1, "complete", 1): len(rounds())}


@pytest.mark.proof
@pytest.mark.django_db(transaction=True)
def test_a_scan_expired_while_a_worker_starts_it_ends_once() -> None:
    def a_round() -> bool:
        scan = begun(ConnectionFactory(), now=database_now() - timedelta(minutes=61))

        def work(n: int) -> int:
            if n:
                account_list.expire_scans(now=database_now())
                return 0
            with responses.RequestsMock(assert_all_requests_are_fired=False) as wire:
                body = json.dumps({"accounts": [], "pages": {}})
                wire.add(responses.GET, re.compile(r"https://api\.sendgrid\.com/"), body=body)
                scan_requests.run_scan(scan.pk)
                return len(wire.calls)

        calls = sum(together(work, 2))
        scan.refresh_from_db()
        return (scan.state, bool(calls)) in (("complete", True), ("incomplete", False))

    assert Counter(a_round() for _ in rounds()) == {True: len(rounds())}
