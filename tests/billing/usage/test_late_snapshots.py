"""Answers that come after an account was deleted and its last reading taken: none overwrites or reopens that figure."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction

from billing.models import SyncItem, SyncRun, UsagePeriod, UsageSnapshot
from billing.usage import period_ends, runs
from billing.usage import sync as usage_sync
from billing.usage.batches import BatchAnswer, RunSession, flush
from billing.usage.decisions import decide_anomalies
from billing.usage.snapshots import AccountReading, StoredReading, store_final_readings, store_readings
from customers.models import Account, Operation, UsageReading
from customers.models.operation_states import OperationState
from portal.commands import Command
from portal.providers import NotFound, Usage, UsageSource
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory, UserFactory
from tests.support.together import rounds, together

T = datetime(2026, 11, 18, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def usage(used: int, *, month: int = 11) -> Usage:
    period = {"period_start_on": date(2026, month, 1), "period_end_on": date(2026, month, 30)}
    return Usage(source=UsageSource.CREDITS, used=used, allowed=1000, raw={"used": used}, **period)


def keep(account: Account, what: Usage, at: datetime) -> StoredReading:
    return store_readings([AccountReading(account.pk, what, at, account.package)], run=None)[account.pk]


def being_deleted(**account: Any) -> tuple[Account, Operation]:
    """An account with 100 read before its delete, which is under way; nothing of it is known to billing yet."""
    account = {"usage_read_at": T - timedelta(hours=1)} | account
    operation = OperationFactory(account=AccountFactory(**account), kind="delete", state="sending")
    period = {"period_start_on": "2026-11-01", "period_end_on": "2026-11-30"}
    told = {"used": 100, "allowed": 1000, "raw": {"used": 100}} | period
    UsageReading.objects.create(
        operation=operation, account=operation.account, source="credits", taken_at=T, usage=told
    )  # fmt: skip
    return operation.account, operation


def end(operation: Operation, state: OperationState = OperationState.SUCCEEDED) -> None:
    """As the engine writes it: the account and the operation together."""
    with transaction.atomic():
        Operation.objects.filter(pk=operation.pk).update(state=state, finished_at=T)
        if state == OperationState.SUCCEEDED:
            Account.objects.filter(pk=operation.account_id).update(state="deleted")


def figures(account: Account) -> tuple[int | None, str, int | None]:
    """Return the least emails, the status, and the value that waits for a decision."""
    period_ends.assess_due(now=T + 10 * MINUTE)
    period = UsagePeriod.objects.get(account=account)
    waiting = period.anomalies.filter(closed_at=None).first()
    return period.used, period.status, int(waiting.after) if waiting else None


@pytest.mark.django_db
class TestAfterTheDelete:
    @pytest.mark.parametrize("converted", [True, False], ids=["after the last reading", "before it was kept"])
    @pytest.mark.parametrize(
        ("used", "asked_at", "held"),
        [
            (90, T - MINUTE, None),
            (150, T - MINUTE, 150),
            (100, T + MINUTE, None),
            (101, T + MINUTE, 101),
            (90, T + MINUTE, None),
        ],
    )
    def test_the_last_reading_stands(self, used: int, asked_at: datetime, held: int | None, converted: bool) -> None:
        account, operation = being_deleted()
        if converted:
            store_final_readings()
        end(operation)
        keep(account, usage(used), asked_at)
        store_final_readings()
        assert figures(account) == (100, "disputed" if held else "final", held)
        account.refresh_from_db()
        assert account.usage_used == 100
        assert set(UsageSnapshot.objects.values_list("used", flat=True)) == {100, used}, "all of it is in the history"

    def test_a_period_that_begins_after_the_delete_is_none(self) -> None:
        account, operation = being_deleted()
        end(operation)
        keep(account, usage(0, month=12), T + timedelta(days=13))
        assert figures(account) == (100, "final", None)

    def test_finance_may_accept_what_counts_more(self) -> None:
        account, operation = being_deleted()
        end(operation)
        snapshot = keep(account, usage(101), T + MINUTE).snapshot
        anomaly = snapshot.anomalies.get()
        assert (anomaly.kind, anomaly.before, anomaly.after) == ("after_deletion", "100", "101")
        command = Command(UserFactory(role="finance"), T + 5 * MINUTE, reason="Sent meanwhile")
        decide_anomalies(command, anomalies=[anomaly], verdict="counted")
        assert figures(account) == (101, "final", None)

    def test_without_a_last_reading_the_late_answer_is_the_figure(self) -> None:
        account = AccountFactory(state="deleted")
        keep(account, usage(70), T)
        assert figures(account) == (70, "interval", None)


@pytest.mark.django_db
class TestWhileTheDeleteIsUnderWay:
    def test_what_is_read_after_the_last_reading_is_the_last_one(self) -> None:
        account, operation = being_deleted()
        store_final_readings()
        keep(account, usage(101), T + MINUTE)
        end(operation)
        assert figures(account) == (101, "final", None)

    def test_also_where_it_is_kept_first(self) -> None:
        account, operation = being_deleted()
        keep(account, usage(101), T + MINUTE)
        end(operation)
        store_final_readings()
        assert figures(account) == (101, "final", None)

    @pytest.mark.parametrize("used", [120, 100], ids=["more", "the same answer"])
    def test_an_account_that_was_not_deleted_is_read_on(self, used: int) -> None:
        account, operation = being_deleted()
        store_final_readings()
        end(operation, OperationState.FAILED)
        keep(account, usage(used), T + MINUTE)
        assert figures(account) == (used, "open", None)


# -- as a run meets it


def run_of(account: Account, slot: str) -> SyncRun:
    run, _new = runs.start_run(
        connection=account.connection, kind="asked", slot=slot, now=T - MINUTE, until=T + runs.RUN_HOURS
    )
    return run


def answered(run: SyncRun, asked_at: datetime, usage: Usage | None = None, error: Exception | None = None) -> None:
    claimed = usage_sync.claim_items(run.pk, now=T + MINUTE)
    assert claimed is not None
    item = SyncItem.objects.select_related("account").get(run=run)
    # No provider is asked when what came back is written.
    chunk = RunSession(claimed, None, lambda: T + 2 * MINUTE, MINUTE)  # type: ignore[arg-type]
    chunk.answers = [BatchAnswer(item, asked_at, usage=usage, error=error)]
    flush(chunk)


@pytest.mark.django_db
def test_an_account_deleted_while_it_was_asked_did_not_fail() -> None:
    account, operation = being_deleted()
    run = run_of(account, "one")
    end(operation)
    answered(run, T - MINUTE, error=NotFound("No such account."))
    item = run.items.get()
    assert (item.state, item.cause) == ("skipped", "deleted")
    account.refresh_from_db()
    assert account.usage_missing_since is None


@pytest.mark.django_db
def test_a_failure_after_another_runs_reading_is_no_gap() -> None:
    account = AccountFactory(usage_read_at=None)
    run = run_of(account, "one")
    keep(account, usage(10), T)
    answered(run, T - MINUTE, error=NotFound("No such account."))
    account.refresh_from_db()
    assert (run.items.get().state, account.usage_missing_since) == ("failed", None)


@pytest.mark.django_db(transaction=True)
@pytest.mark.proof
def test_whatever_comes_first_the_last_figure_is_final() -> None:
    """A late answer is written, the delete is recorded, and the last reading is kept, in processes of their own."""
    connection, seen = ConnectionFactory(), set()
    for n in rounds():
        account, operation = being_deleted(connection=connection)
        run = run_of(account, str(n))

        def work(i: int, run: SyncRun = run, operation: Operation = operation) -> None:
            if i == 0:
                answered(run, T + MINUTE, usage(101))
            elif i == 1:
                end(operation)
            else:
                store_final_readings()

        assert together(work, 3) == [None] * 3
        store_final_readings()
        run.refresh_from_db()
        assert (run.items.count(), run.done) == (0, 1)
        runs.finish(run, now=T)
        seen.add(figures(account))
    assert seen <= {(101, "final", None), (100, "disputed", 101)}
