"""The lease that every row with a worker of its own has: who holds it may write, and whoever lost it may not."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from multiprocessing.synchronize import Event
from time import sleep
from uuid import uuid4

import pytest
from django.db import connection as database
from django.db import transaction

from billing.models import SyncRun
from customers.models import AccountImport, ChangeSet, Operation
from customers.models.remote_account import Scan
from portal import leases
from portal.leases import AT_ONCE, Fenced, LostLease, work_on
from tests.support.factories import ConnectionFactory, OperationFactory, UserFactory
from tests.support.together import rounds, together

NOW = datetime(2026, 11, 30, 9, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def change_set(**more: object) -> ChangeSet:
    fields = {"kind": "suspend", "state": "running", "requested_by": UserFactory(), "client_token": uuid4().hex}
    return ChangeSet.objects.create(**fields | {"created_at": NOW, "not_before": NOW} | more)


def account_import() -> AccountImport:
    fields = {"connection": ConnectionFactory(), "asked_by": UserFactory(), "created_at": NOW, "not_before": NOW}
    return AccountImport.objects.create(state="running", **fields)


def usage_run() -> SyncRun:
    times = {"not_before": NOW, "until": NOW + timedelta(hours=1), "started_at": NOW}
    return SyncRun.objects.create(connection=ConnectionFactory(), kind="asked", slot=uuid4().hex, **times)


def operation() -> Operation:
    return OperationFactory(state="unknown", not_before=NOW)


def claimed(row: ChangeSet, *, now: datetime = NOW) -> ChangeSet:
    held = ChangeSet.objects.claim(row.pk, now=now)
    assert held is not None
    return held


def stored(row: Fenced) -> tuple[int, datetime | None]:
    row = type(row)._default_manager.get(pk=row.pk)
    return row.fence, row.lease_until


@pytest.mark.django_db
class TestAClaim:
    def test_raises_the_fence_and_leases_the_row(self) -> None:
        row = claimed(change_set())
        assert (row.fence, stored(row)) == (1, (1, NOW + ChangeSet.LEASE))

    @pytest.mark.parametrize(
        ("fields", "is_due"),
        [
            ({}, True),
            ({"not_before": NOW + SECOND}, False),
            ({"lease_until": NOW + SECOND}, False),
            ({"lease_until": NOW}, True),
        ],
    )
    def test_is_of_what_is_due_and_free(self, fields: dict[str, datetime], is_due: bool) -> None:
        row = change_set(**fields)
        assert ChangeSet.objects.due(now=NOW).exists() is is_due
        assert (ChangeSet.objects.claim(row.pk, now=NOW) is not None) is is_due

    def test_is_of_the_rows_of_the_query(self) -> None:
        row = change_set(state="paused")
        assert ChangeSet.objects.filter(state="running").claim(row.pk, now=NOW) is None

    @pytest.mark.parametrize(
        "meanwhile",
        [
            {"fence": 7},
            {"state": "paused"},
            {"not_before": NOW + SECOND},
            {"lease_until": NOW + SECOND},
        ],
    )
    def test_loses_to_a_change_between_its_read_and_write(self, meanwhile: dict[str, object]) -> None:
        row, changes = change_set(), [meanwhile]

        def change(execute: Callable[..., object], sql: str, *more: object) -> object:
            if sql.startswith('UPDATE "customers_changeset"') and changes:
                ChangeSet.objects.filter(pk=row.pk).update(**changes.pop())
            return execute(sql, *more)

        with database.execute_wrapper(change):
            assert ChangeSet.objects.claim(row.pk, now=NOW) is None
        assert not changes

    def test_that_was_lost_writes_and_releases_nothing(self) -> None:
        woken = claimed(change_set())
        later = NOW + ChangeSet.LEASE
        holder = claimed(woken, now=later)
        for write in (woken.take_over, lambda: woken.renew(now=later), lambda: woken.write(message="Woken")):
            with pytest.raises(LostLease):
                write()
        woken.release(not_before=NOW)
        assert (woken.fence, stored(woken)) == (1, (2, later + ChangeSet.LEASE))
        assert ChangeSet.objects.get().message == ""
        holder.renew(now=later + SECOND)
        assert stored(holder) == (2, later + SECOND + ChangeSet.LEASE)

    def test_of_a_row_that_was_paused_is_released_all_the_same(self) -> None:
        row = claimed(change_set())
        ChangeSet.objects.update(state="paused")
        with pytest.raises(LostLease):
            row.renew(now=NOW)
        row.release()
        assert stored(row) == (1, None)

    def test_ends_when_the_row_is_taken_over(self) -> None:
        row = claimed(change_set())
        decided = ChangeSet.objects.get()
        decided.take_over(message="Stopped")
        assert (decided.fence, ChangeSet.objects.get().message) == (2, "Stopped")
        with pytest.raises(LostLease, match=f"ChangeSet {row.pk}"):
            row.renew(now=NOW)

    def test_of_a_scan_ends_with_the_scan(self) -> None:
        times = {"started_at": NOW, "lease_until": NOW + Scan.LEASE}
        held = Scan.objects.create(connection=ConnectionFactory(), kind="asked", slot="x", **times)
        held.renew(now=NOW + SECOND)
        assert Scan.objects.get().lease_until == NOW + SECOND + Scan.LEASE
        Scan.objects.update(state="incomplete", finished_at=NOW)
        with pytest.raises(LostLease):
            held.renew(now=NOW)
        held.refresh_from_db()
        with pytest.raises(LostLease):
            held.write(state="complete")

    def test_lasts_as_long_as_a_long_reading(self, monkeypatch: pytest.MonkeyPatch) -> None:
        row, clock = claimed(change_set()), count(step=6)
        monkeypatch.setattr(leases, "monotonic", lambda: next(clock))
        until = [stored(row)[1] for _item in row.renewing(range(4))]
        after = [NOW + ChangeSet.LEASE + n * SECOND for n in (0, 12, 12, 24)]
        assert until == after, "renewed once more than a sixth of the lease has passed"
        row.take_over()
        ChangeSet.objects.update(fence=9)
        with pytest.raises(LostLease):
            list(row.renewing(range(4)))


@pytest.mark.django_db
class TestWork:
    def run(self, *waits: timedelta | None, seconds: float = 5.0) -> tuple[bool, int, ChangeSet]:
        """What `work_on` says of a row whose steps return `waits`, how many were made, and the row afterwards."""
        row, steps = claimed(change_set()), list(waits)
        more = work_on(row, lambda: steps.pop(0), clock=lambda: NOW + SECOND, seconds=seconds)
        return more, len(waits) - len(steps), ChangeSet.objects.get()

    def test_ends_where_nothing_is_left(self) -> None:
        more, steps, row = self.run(AT_ONCE, AT_ONCE, None, AT_ONCE)
        assert (more, steps, row.lease_until, row.not_before) == (False, 3, None, NOW)

    def test_waits_as_long_as_a_step_says(self) -> None:
        more, steps, row = self.run(AT_ONCE, 30 * SECOND, AT_ONCE)
        assert (more, steps, row.lease_until, row.not_before) == (False, 2, None, NOW + 31 * SECOND)

    @pytest.mark.parametrize(("seconds", "made"), [(0.0, 1), (-1.0, 1), (2.0, 2)])
    def test_goes_on_elsewhere_when_the_time_is_up(
        self, monkeypatch: pytest.MonkeyPatch, seconds: float, made: int
    ) -> None:
        clock = count()
        monkeypatch.setattr(leases, "monotonic", lambda: next(clock))
        more, steps, row = self.run(*[AT_ONCE] * 5, seconds=seconds)
        assert (more, steps, row.lease_until, row.not_before) == (True, made, None, NOW + SECOND)
        assert claimed(row, now=NOW + SECOND).fence == 2

    def test_ends_with_a_row_that_somebody_paused(self) -> None:
        row = claimed(change_set())

        def step() -> timedelta:
            ChangeSet.objects.update(state="paused")
            row.renew(now=NOW)
            return AT_ONCE

        assert not work_on(row, step, clock=lambda: NOW, seconds=5.0)
        assert stored(row) == (1, None)

    def test_that_breaks_off_leaves_the_lease_to_end(self) -> None:
        row = claimed(change_set())
        with pytest.raises(ZeroDivisionError):
            work_on(row, lambda: AT_ONCE / 0, clock=lambda: NOW)
        assert stored(row) == (1, NOW + ChangeSet.LEASE)
        assert ChangeSet.objects.claim(row.pk, now=NOW) is None
        assert ChangeSet.objects.claim(row.pk, now=NOW + ChangeSet.LEASE) is not None


@pytest.mark.proof
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("make", [change_set, account_import, usage_run, operation])
class TestSeveralProcesses:
    @pytest.mark.long
    def test_of_many_claims_one_wins(self, make: Callable[[], Fenced]) -> None:
        for _n in rounds():
            row = make()

            def claim(_n: int, row: Fenced = row) -> bool:
                return type(row).objects.claim(row.pk, now=NOW) is not None

            assert sorted(together(claim, 6)) == [False] * 5 + [True]
            assert stored(row) == (1, NOW + row.LEASE)

    @pytest.mark.long
    def test_whoever_waits_for_a_row_that_is_being_claimed_loses(self, make: Callable[[], Fenced]) -> None:
        """The woken worker and another claim wait for the row until the first claim is committed."""
        for _n in rounds():
            row, taken = make(), multiprocessing.get_context("fork").Event()
            assert row.claim(now=NOW)
            later = NOW + row.LEASE

            def work(n: int, row: Fenced = row, later: datetime = later, taken: Event = taken) -> str:
                if n == 0:
                    with transaction.atomic():
                        holder = type(row).objects.claim(row.pk, now=later)
                        taken.set()
                        sleep(0.1)
                    return f"fence {holder.fence}" if holder else "lost"
                taken.wait(60)
                if n == 1:
                    return "claimed" if type(row).objects.claim(row.pk, now=later) else "lost"
                try:
                    row.renew(now=later)
                except LostLease:
                    return "lost"
                return "renewed"

            assert sorted(together(work, 3)) == ["fence 2", "lost", "lost"]
            assert stored(row) == (2, later + row.LEASE)
