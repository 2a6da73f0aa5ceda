"""Runs of a source that tells of all accounts at once, over HTTP: one question, everything settled, nothing lost."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction
from django.db.models import Sum
from django.utils import timezone

from billing.models import PooledSnapshot, SyncItem, SyncRun, UsagePeriod, UsageSnapshot
from billing.usage import batches, due_runs, pooled_sync, runs
from billing.usage import sync as usage_sync
from billing.usage.snapshots import store_final_readings
from customers.models import Account, Connection, UsageReading
from portal.leases import LostLease
from portal.providers import UsageSource
from tests.billing.pooling import NOTE, Pool, last_report, period_of
from tests.support.factories import OperationFactory


def counts(run: SyncRun) -> tuple[int, int, int]:
    assert run.done + run.failed + run.skipped == run.total == run.done + run.items.count()
    return run.done, run.failed, run.skipped


def test_one_question_for_all_accounts(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooled_sync, "TOGETHER", 4)
    accounts = [pool.account(1_000 + n, f"{n}.25") for n in range(11)]
    run = pool.read()
    assert run.state == SyncRun.State.COMPLETE, run.message
    assert counts(run) == (11, 0, 0)
    assert pool.asked == 1
    assert period_of(accounts[3]).used == 1_003
    assert (period_of(accounts[3]).allocated_cost, period_of(accounts[3]).currency) == (Decimal("3.25"), "EUR")


def test_the_whole_report_is_kept_beside_its_parts(pool: Pool) -> None:
    pool.account(250_000, "20.0")
    pool.account(50_000, "4.0")
    pool.report.removed = (100_000, "8.0")
    pool.read()
    kept = last_report()
    assert (kept.parent_count, kept.accounts_count, kept.removed_count, kept.total_count) == (
        100_000, 300_000, 100_000, 500_000,
    )  # fmt: skip
    assert (kept.parent_cost, kept.accounts_cost, kept.removed_cost, kept.total_cost) == (
        Decimal(8), Decimal(24), Decimal(8), Decimal(40),
    )  # fmt: skip
    assert kept.adds_up
    assert (kept.note, kept.method, kept.currency) == (NOTE, "proportional", "EUR")
    assert (kept.period_start_on, kept.period_end_on) == (date(2026, 11, 1), date(2026, 11, 30)), "the end is exclusive"
    assert kept.ends_at == datetime(2026, 12, 1, tzinfo=UTC)
    period = UsagePeriod.objects.first()
    assert period is not None
    assert (period.start_on, period.end_on, period.month) == (
        date(2026, 11, 1), date(2026, 11, 30), date(2026, 11, 1),
    )  # fmt: skip


def test_unknown_accounts_are_counted_as_unmapped(pool: Pool) -> None:
    pool.account(10, "1.0")
    pool.report.shares["5b0d6a2e-1f74-4c0f-9b51-3f0c2b6a7d10"] = (70, "7.07")
    pool.read()
    kept = last_report()
    assert (kept.unmapped_count, kept.unmapped_cost) == (70, Decimal("7.07"))
    assert (kept.accounts_count, kept.accounts_cost) == (10, Decimal(1))
    assert [share["name"] for share in kept.shares if not share["known"]] == ["Name 5b0d"]
    assert kept.adds_up

    # Taken over since: the same answer splits in another way, and that is a reading of its own.
    pool.account(provider_id="5b0d6a2e-1f74-4c0f-9b51-3f0c2b6a7d10")
    pool.later(hours=1)
    pool.read()
    assert (last_report().unmapped_count, last_report().accounts_count) == (0, 80)


def test_a_report_that_does_not_add_up_is_kept_and_says_so(pool: Pool) -> None:
    pool.account(10, "1.0")
    pool.report.total = (100_011, "9.0")
    run = pool.read()
    assert run.state == SyncRun.State.COMPLETE
    assert not last_report().adds_up
    pool.report.total = (100_010, "9.04")
    pool.later(hours=1)
    pool.read()
    assert not last_report().adds_up, "three buckets may be three cents off"
    pool.report.total = (100_010, "9.03")
    pool.later(hours=1)
    pool.read()
    assert last_report().adds_up


def test_the_database_itself_refuses_counts_that_claim_to_add_up(pool: Pool) -> None:
    pool.account(10, "1.0")
    pool.read()
    twin = last_report()
    twin.pk, twin.seq, twin.total_count = None, 9, twin.total_count + 1
    with pytest.raises(IntegrityError), transaction.atomic():
        twin.save(force_insert=True)
    twin.adds_up = False
    twin.save(force_insert=True)


def test_a_report_is_written_once(pool: Pool) -> None:
    pool.account(10, "1.0")
    pool.read()
    for change in (
        lambda: PooledSnapshot.objects.update(total_count=1),
        lambda: PooledSnapshot.objects.all().delete(),
        lambda: UsageSnapshot.objects.update(allocated_cost=1),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            change()


def test_the_same_answer_again_adds_nothing_and_is_confirmed(pool: Pool) -> None:
    account = pool.account(10, "1.0")
    first = pool.read()
    pool.later(hours=6)
    second = pool.read()
    assert (PooledSnapshot.objects.count(), UsageSnapshot.objects.count()) == (1, 1)
    assert first.pooled == second.pooled == last_report()
    assert second.pooled_at == pool.now
    assert period_of(account).read_at == pool.now
    assert (first.changed, second.changed) == (1, 0)


def test_money_is_exact(pool: Pool) -> None:
    costs = ["0.1", "0.2", "66.66666666666667", "1000000.01", "0.000001"]
    accounts = [pool.account(1, cost) for cost in costs]
    pool.read()
    found = {each.account_id: each.allocated_cost for each in UsagePeriod.objects.all()}
    assert [found[account.pk] for account in accounts] == [
        Decimal("0.1"), Decimal("0.2"), Decimal("66.666667"), Decimal("1000000.01"), Decimal("0.000001"),
    ]  # fmt: skip
    assert [share["cost"] for share in last_report().shares] == costs, "what was said stays as it was said"
    assert all(isinstance(each, Decimal) for each in found.values())


def test_shares_that_no_sum_can_hold_are_unreadable(pool: Pool) -> None:
    for _ in range(2):
        pool.account(1, "999999999")
    pool.report.total = (100_002, "999999999")
    run = pool.start()
    pool.work(run)
    assert not PooledSnapshot.objects.exists()
    assert set(run.items.values_list("cause", flat=True)) == {"unreadable"}


def test_a_share_may_shrink_and_a_count_may_not(pool: Pool) -> None:
    account = pool.account(1_000, "20.0")
    pool.read()
    pool.later(hours=1)
    pool.say(account, 1_000, "12.5")  # others sent more
    run = pool.read()
    assert run.changed == 1
    assert (period_of(account).used, period_of(account).allocated_cost) == (1_000, Decimal("12.5"))

    pool.later(hours=1)
    pool.say(account, 900, "11.0")
    run = pool.read()
    period = period_of(account)
    assert (period.status, period.used) == ("disputed", 900)
    fell = period.anomalies.get(kind="fell")
    assert (fell.before, fell.after, fell.closed_at) == ("1000", "900", None)


def test_a_cap_is_what_may_be_sent_and_nothing_is_over_it(pool: Pool) -> None:
    capped = pool.account(7_000, settings={"monthly_cap": 5_000})
    free = pool.account(7_000, settings={"monthly_cap": 0})
    unread = pool.account(7_000, settings=None)
    pool.read()
    for account in (capped, free, unread):
        account.refresh_from_db()
    assert (capped.usage_allowed, free.usage_allowed, unread.usage_allowed) == (5_000, None, None)
    assert {each.overage for each in UsagePeriod.objects.all()} == {None}
    assert (capped.usage_used, capped.usage_end_on) == (7_000, date(2026, 11, 30))


def test_a_cap_that_changed_is_taken_over_without_any_use(pool: Pool) -> None:
    account = pool.account(700, settings={"monthly_cap": 5_000})
    pool.read()
    Account.objects.filter(pk=account.pk).update(settings={"monthly_cap": 9_000})
    pool.later(hours=1)
    pool.read()
    account.refresh_from_db()
    assert (period_of(account).allowed, account.usage_allowed) == (9_000, 9_000)


def test_an_account_that_is_not_in_the_report_is_a_gap(pool: Pool) -> None:
    pool.account(10)
    silent = pool.account()
    run = pool.read()
    assert run.state == SyncRun.State.WITH_ERRORS
    assert counts(run) == (1, 1, 0)
    assert run.items.get(account=silent).cause == "not_reported"
    assert not UsageSnapshot.objects.filter(account=silent).exists()
    silent.refresh_from_db()
    assert (silent.usage_used, silent.usage_missing_since) == (None, pool.now)


def test_an_account_deleted_meanwhile_is_skipped(pool: Pool) -> None:
    pool.account(10)
    gone = pool.account()
    run = pool.start()
    Account.objects.filter(pk=gone.pk).update(state="deleted")
    pool.work(run)
    assert run.state == SyncRun.State.COMPLETE
    assert counts(run) == (1, 0, 1)
    assert run.items.get(account=gone).cause == "deleted"


def test_an_account_created_during_the_run_is_read_too(pool: Pool) -> None:
    pool.account(10)
    run = pool.start()
    late = pool.account(5, "0.5")
    pool.work(run)
    assert counts(run) == (1, 0, 0)
    assert period_of(late).used == 5
    assert last_report().accounts_count == 15


def test_when_most_accounts_are_missing_the_question_is_wrong(pool: Pool) -> None:
    pool.account(10)
    for _ in range(25):
        pool.account()
    run = pool.read()
    assert run.state == SyncRun.State.ABORTED
    assert counts(run) == (0, 0, 26)
    assert "right key" in run.message
    assert not PooledSnapshot.objects.exists()


def test_a_refused_key_stops_the_connection_and_the_run_waits(pool: Pool) -> None:
    pool.account(10)
    pool.status = 401
    run = pool.read()
    assert run.state == SyncRun.State.PAUSED
    assert counts_waiting(run) == 1
    assert Connection.objects.get().paused == "auth"
    pool.status = 200
    Connection.objects.update(paused="", paused_reason="")
    due_runs.tick(now=pool.now)
    pool.work(run)
    assert counts(run) == (1, 0, 0)


def counts_waiting(run: SyncRun) -> int:
    return run.items.filter(state=SyncItem.State.PENDING, tries=0).count()


def test_an_unknown_account_of_ours_stops_the_run(pool: Pool) -> None:
    pool.account(10)
    pool.status = 404
    run = pool.read()
    assert run.state == SyncRun.State.ABORTED
    assert run.message
    assert counts(run) == (0, 0, 1)


def test_a_temporary_error_is_retried_per_pass_not_per_account(pool: Pool) -> None:
    for _ in range(5):
        pool.account(10)
    pool.status = 503
    run = pool.read()
    first_pass = pool.asked
    assert first_pass <= 3, "the client's own tries of one read"
    assert run.state == SyncRun.State.RUNNING
    assert run.not_before == pool.now + runs.ASKED_GAP
    for _ in range(batches.TRIES - 1):
        pool.now = run.not_before
        pool.work(run)
    assert run.state == SyncRun.State.WITH_ERRORS
    assert counts(run) == (0, 5, 0)
    assert pool.asked == first_pass * batches.TRIES
    assert set(run.items.values_list("cause", flat=True)) == {"unreadable"}


def test_the_providers_limit_is_waited_for(pool: Pool) -> None:
    pool.now = timezone.now()  # the client counts from the real time
    pool.account(10)
    pool.status = 429
    run = pool.read()
    assert (run.state, counts_waiting(run)) == (SyncRun.State.RUNNING, 1)
    assert run.lease_until is None
    pool.status = 200
    pool.now = run.not_before  # as the provider's answer, or our pacing, said
    assert counts(pool.work(run)) == (1, 0, 0)


def test_a_pool_without_accounts_is_read_all_the_same(pool: Pool) -> None:
    pool.report.removed = (500, "0.04")
    run = pool.read()
    assert run.state == SyncRun.State.COMPLETE
    assert (last_report().removed_count, last_report().parent_count) == (500, 100_000)
    pool.status = 403
    run = pool.read()
    assert run.state == SyncRun.State.ABORTED, "nothing was read, and that is not complete"
    assert PooledSnapshot.objects.count() == 1


def test_a_pool_without_accounts_waits_for_the_limit_too(pool: Pool) -> None:
    pool.now = timezone.now()
    pool.status = 429
    run = pool.read()
    assert run.state == SyncRun.State.RUNNING, "nothing is waiting, and yet nothing was read"
    pool.status, pool.now = 200, run.not_before
    assert pool.work(run).state == SyncRun.State.COMPLETE
    assert PooledSnapshot.objects.count() == 1


def test_a_worker_that_lost_its_lease_writes_nothing(pool: Pool) -> None:
    pool.account(10)
    run = pool.start()
    slow = usage_sync.claim_items(run.pk, now=pool.now)
    assert slow is not None
    assert usage_sync.claim_items(run.pk, now=pool.now + SyncRun.LEASE + timedelta(seconds=1)) is not None
    chunk = batches.RunSession(slow, pool.connect(pool.connection), lambda: pool.now, runs.ASKED_GAP)
    with pytest.raises(LostLease):
        usage_sync._work(chunk, deadline=float("inf"))
    assert not PooledSnapshot.objects.exists()
    assert not UsageSnapshot.objects.exists()


def test_a_worker_out_of_time_leaves_the_rest_to_the_next(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooled_sync, "TOGETHER", 2)
    for _ in range(5):
        pool.account(10)
    run = pool.start()
    assert usage_sync.sync_chunk(run.pk, clock=lambda: pool.now, connect=pool.connect, seconds=-1)
    run.refresh_from_db()
    assert (run.state, run.done) == (SyncRun.State.RUNNING, 2)
    pool.work(run)
    assert counts(run) == (5, 0, 0)
    assert PooledSnapshot.objects.count() == 1
    assert pool.asked == 2


def test_the_last_readings_of_a_period_start_by_themselves(pool: Pool) -> None:
    pool.account(10)
    pool.now = datetime(2026, 11, 28, 12, tzinfo=UTC)
    pool.read()
    slots = []
    for clock in ("29 12:00", "30 00:10", "30 22:59", "30 23:00", "30 23:54", "30 23:55", "30 23:58"):
        pool.now = datetime.strptime(f"2026-11-{clock}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
        due_runs._start_passes(pool.connection, now=pool.now)
        slots.append(SyncRun.objects.filter(kind="deadline").count())
    assert slots == [0, 1, 1, 2, 2, 3, 3]
    assert list(SyncRun.objects.filter(kind="deadline").order_by("pk").values_list("slot", flat=True)) == [
        "2026-11-30/24h", "2026-11-30/1h", "2026-11-30/5m",
    ]  # fmt: skip
    assert SyncRun.objects.filter(kind="deadline", until=datetime(2026, 12, 1, tzinfo=UTC)).count() == 3
    never_read = pool.account(3)
    ending = runs.accounts_of(pool.connection).filter(usage_end_on=date(2026, 11, 30))
    run = pool.start(kind="deadline", accounts=ending)
    assert run.items.filter(account=never_read).exists(), "a report has everybody, also who was never read"


def test_the_reading_before_a_delete_keeps_count_and_share(pool: Pool) -> None:
    account = pool.account(40, "0.32", settings={"monthly_cap": 900})
    pool.read()
    pool.later(hours=1)
    pool.say(account, 55, "0.44")
    provider = pool.connect(pool.connection)
    usage = provider.usage(account.ref, UsageSource.POOLED)
    operation = OperationFactory(account=account, kind="delete", state="succeeded")
    UsageReading.objects.create(
        operation=operation, account=account, source="pooled", taken_at=pool.now,
        usage=json.loads(json.dumps(asdict(usage), default=str)),
    )  # fmt: skip
    Account.objects.filter(pk=account.pk).update(state="deleted")
    assert store_final_readings() == 1
    period = period_of(account)
    assert (period.used, period.allocated_cost, period.currency) == (55, Decimal("0.44"), "EUR")
    assert (period.status, period.allowed, period.overage) == ("final", 900, None)

    del pool.report.shares[account.provider_id or ""]
    pool.report.removed = (60, "0.5")
    pool.later(hours=1)
    pool.read()
    assert period_of(account).used == 55, "what is ours stays, whatever the provider sums up"
    assert last_report().removed_count == 60
    assert UsageSnapshot.objects.filter(account=account).aggregate(sum=Sum("used"))["sum"] == 95
