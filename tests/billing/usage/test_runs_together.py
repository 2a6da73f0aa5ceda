"""Usage runs started, written and ended by several processes at the same moment."""

from __future__ import annotations

import multiprocessing
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection as database
from django.db import transaction

from billing.models import SyncItem, SyncRun
from billing.usage import due_runs, runs
from billing.usage import sync as usage_sync
from billing.usage.batches import BatchAnswer, NotAsked, RunSession, flush
from customers.models import Account, Connection
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.leases import LostLease
from portal.providers import Usage, UsageSource
from portal.refusals import Refusal
from tests.support.factories import AccountFactory, ConnectionFactory, CustomerFactory, UserFactory
from tests.support.together import DEADLINE_SECONDS, rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]
NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)
OPEN = ("running", "paused")


def connection_with(accounts: int) -> Connection:
    connection = ConnectionFactory()
    customer = CustomerFactory()
    AccountFactory.create_batch(accounts, connection=connection, customer=customer)
    return connection  # type: ignore[no-any-return]  # a factory has no types


def full_runs(connection: Connection) -> list[SyncRun]:
    return list(SyncRun.objects.filter(connection=connection, kind__in=("asked", "nightly"), state__in=OPEN))


def ask(connection: Connection, person: Any, at: datetime = NOW) -> str:
    [(run, _new)] = runs.request_runs(Command(person, at, token=uuid4().hex), connections=[connection])
    return str(run.public_id)


def test_people_who_sync_now_at_once_share_one_run() -> None:
    people = UserFactory.create_batch(3, role="finance")
    for _ in rounds():
        connection = connection_with(4)
        answers = together(lambda n, c=connection: ask(c, people[n]), 3)
        [run] = full_runs(connection)
        assert set(answers) == {str(run.public_id)}
        assert (run.total, run.items.count()) == (4, 4)


def test_all_connections_synced_at_once_have_a_run_each() -> None:
    people = UserFactory.create_batch(3, role="finance")
    for _ in rounds():
        connections = [connection_with(2) for _ in range(4)]

        def work(n: int, connections: list[Connection] = connections) -> list[str]:
            ordered = connections if n % 2 else connections[::-1]
            found = runs.request_runs(Command(people[n], NOW, token=uuid4().hex), connections=ordered)
            return sorted(str(run.public_id) for run, _new in found)

        answers = together(work, 3)
        opened = sorted(str(run.public_id) for each in connections for run in full_runs(each))
        assert len(opened) == 4
        assert answers == [opened] * 3
        assert SyncItem.objects.filter(run__connection__in=connections).count() == 8
        assert AuditEvent.objects.filter(verb="usage.run_started", object_id__in=opened).count() == 4


def test_a_paused_run_is_resumed_once_by_all() -> None:
    people = UserFactory.create_batch(3, role="finance")
    for _ in rounds():
        connection = connection_with(3)
        ask(connection, people[0])
        [paused] = full_runs(connection)
        runs.pause_run(paused, message="Rejected")
        paused.refresh_from_db()
        answers = together(lambda n, c=connection: ask(c, people[n], NOW + timedelta(minutes=5)), 3)
        [run] = full_runs(connection)
        assert set(answers) == {str(run.public_id)} == {str(paused.public_id)}
        assert (run.state, run.fence, run.items.count()) == ("running", paused.fence + 1, 3)


def test_a_request_of_the_same_moment_gets_the_ended_run() -> None:
    """The worker reads a few accounts in less than a second, between two requests."""
    people = UserFactory.create_batch(3, role="finance")
    for _ in rounds():
        connection = connection_with(2)

        def work(n: int, connection: Connection = connection) -> str:
            if n == 0:
                found = ask(connection, people[n])
                run = usage_sync.claim_items(SyncRun.objects.get(public_id=found).pk, now=NOW)
                assert run is not None
                runs.run_out(run, now=NOW + timedelta(milliseconds=500))
                return found
            while not SyncRun.objects.filter(connection=connection).exclude(finished_at=None):
                pass
            return ask(connection, people[n], NOW + timedelta(milliseconds=600))

        answers = together(work, 3)
        [run] = SyncRun.objects.filter(connection=connection)
        assert set(answers) == {str(run.public_id)}
        assert run.state == "complete_with_errors"
        assert "was just synced (requested by" in runs.told_of_running(run)
        assert ask(connection, people[0], NOW + timedelta(seconds=2)) != str(run.public_id)


def test_the_nightly_run_waits_for_a_requested_run() -> None:
    person = UserFactory(role="finance")
    for _ in rounds():
        connection = connection_with(3)

        def work(n: int, connection: Connection = connection) -> str:
            if n == 0:
                return ask(connection, person)
            return str((due_runs.start_nightly(connection, now=NOW) or connection).pk)

        together(work, 2)
        [first] = full_runs(connection)
        runs.run_out(usage_sync.claim_items(first.pk, now=NOW) or first, now=NOW)
        due_runs.start_nightly(connection, now=NOW)
        nightly = SyncRun.objects.get(connection=connection, kind="nightly", slot="2026-11-18")
        assert nightly.total == 3
        assert {each.pk for each in full_runs(connection)} <= {nightly.pk}


def test_a_retried_run_and_a_new_one_are_not_open_together() -> None:
    person = UserFactory(role="finance")
    for _ in rounds():
        connection = connection_with(3)
        ask(connection, person)
        [old] = full_runs(connection)
        runs.run_out(usage_sync.claim_items(old.pk, now=NOW) or old, now=NOW)
        old.refresh_from_db()
        assert old.failed == 3

        def work(n: int, connection: Connection = connection, old: SyncRun = old) -> str:
            if n == 0:
                return ask(connection, person, NOW + timedelta(minutes=1))
            try:
                runs.retry_run(Command(person, NOW), run=old)
            except Refusal as refusal:
                return str(refusal)
            return str(old.public_id)

        answers = together(work, 2)
        [run] = full_runs(connection)
        assert str(run.public_id) in answers
        others = set(answers) - {str(run.public_id)}
        assert not others or "is already being synced" in others.pop()
        assert SyncItem.objects.filter(run=old, state="pending").count() == (3 if run == old else 0)


# -- what is written together


def chunk_of(run: SyncRun, seed: int, share: float, now: datetime) -> RunSession:
    """Answers in an order of their own, a share of them without a figure."""
    claimed = usage_sync.claim_items(run.pk, now=now)
    assert claimed is not None
    dice, counted = random.Random(seed), 1000 * seed
    # No provider is asked when what came back is written.
    chunk = RunSession(claimed, provider=None, clock=lambda: now, gap=timedelta(minutes=1))  # type: ignore[arg-type]
    items = list(SyncItem.objects.filter(run=run).select_related("account"))
    dice.shuffle(items)
    for item in items:
        if dice.random() < share:
            chunk.answers.append(BatchAnswer(item, now, error=NotAsked("not_reported")))
        else:
            told = {"period_start_on": NOW.date().replace(day=1), "period_end_on": NOW.date().replace(day=30)}
            used = counted + dice.randrange(1000)
            usage = Usage(source=UsageSource.CREDITS, used=used, allowed=1000, raw={"used": used}, **told)
            chunk.answers.append(BatchAnswer(item, now, usage=usage))
    return chunk


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_two_runs_that_write_the_same_accounts_do_not_deadlock(share: float) -> None:
    """A nightly run beside the last reading before the end of the period, each with its own accounts unread."""
    connection = connection_with(24)
    for n in rounds():
        Account.objects.filter(connection=connection).update(usage_missing_since=None)
        both = []
        for kind in ("nightly", "deadline"):
            run, new = runs.start_run(
                connection=connection, kind=kind, slot=f"{share}/{n}", now=NOW, until=NOW + runs.RUN_HOURS
            )
            assert new
            both.append(run)

        def write(i: int, both: list[SyncRun] = both, n: int = n) -> str:
            flush(chunk_of(both[i], seed=n * 2 + i, share=share, now=NOW + timedelta(minutes=n + 1, seconds=i)))
            return "written"

        assert together(write, 2) == ["written", "written"]
        for run in both:
            items = SyncItem.objects.filter(run=run)
            run.refresh_from_db()
            assert not items.filter(state="pending").exists()
            assert run.done == 24 - items.count()
            assert run.done + run.failed == run.total == 24
            runs.finish(run, now=NOW)


def waits_for_a_lock() -> bool:
    with database.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def test_a_flush_that_a_deadlock_ended_is_written_again() -> None:
    """Somebody locks accounts in another order, and the database ends the flush: every figure is there all the same."""
    connection = connection_with(20)
    first, last = Account.objects.filter(connection=connection).order_by("pk")[::19]
    fork = multiprocessing.get_context("fork")
    for n in rounds():
        run, _new = runs.start_run(
            connection=connection, kind="nightly", slot=str(n), now=NOW, until=NOW + runs.RUN_HOURS
        )
        locked = fork.Event()

        def write(i: int, run: SyncRun = run, n: int = n, locked: Any = locked) -> str:
            if i == 0:
                chunk = chunk_of(run, seed=n, share=0, now=NOW + timedelta(minutes=n + 1))
                assert locked.wait(DEADLINE_SECONDS)
                with database.cursor() as cursor:
                    cursor.execute("SET deadlock_timeout = '100ms'")
                flush(chunk)
                return "written"
            with transaction.atomic():
                Account.objects.filter(pk=last.pk).update(changed_what="Backwards")
                locked.set()
                while not waits_for_a_lock():
                    pass
                Account.objects.filter(pk=first.pk).update(changed_what="Backwards")
            return "written"

        assert together(write, 2) == ["written", "written"]
        run.refresh_from_db()
        assert run.done == 20
        assert not SyncItem.objects.filter(run=run).exists()
        runs.finish(run, now=NOW)


# -- a worker that lost its run


@pytest.mark.parametrize("how", ["run_out", "abort"])
def test_a_worker_that_lost_its_run_ends_nothing_of_it(how: str) -> None:
    connection = connection_with(12)
    for n in rounds():
        run, _new = runs.start_run(
            connection=connection, kind="nightly", slot=f"{how}/{n}", now=NOW, until=NOW + runs.RUN_HOURS
        )
        stale = usage_sync.claim_items(run.pk, now=NOW)
        assert stale is not None
        later = NOW + SyncRun.LEASE + timedelta(seconds=1)

        def work(i: int, run: SyncRun = run, stale: SyncRun = stale, later: datetime = later, n: int = n) -> str:
            if i == 0:
                flush(chunk_of(run, seed=n + 1, share=0, now=later + timedelta(minutes=n)))
                return "written"
            while SyncRun.objects.get(pk=run.pk).fence == stale.fence:
                pass
            try:
                if how == "abort":
                    runs.abort(stale, message="Refused", now=later)
                else:
                    runs.run_out(stale, now=later)
            except LostLease:
                return "lost"
            return "ended"

        assert sorted(together(work, 2)) == ["lost", "written"]
        run.refresh_from_db()
        assert (run.state, run.done, run.failed, run.skipped) == ("running", 12, 0, 0)
        assert not SyncItem.objects.filter(run=run).exists()
        assert not Account.objects.filter(connection=connection).exclude(usage_missing_since=None).exists()
        runs.finish(run, now=NOW)
