"""One run against the real sandbox: every source, every kind of failure, killed and repeated."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
import structlog
from django.db import IntegrityError, transaction
from django.db import connection as database
from django.db.models import Sum
from django.test import Client
from django.urls import reverse

from billing.models import SyncItem, SyncRun, UsagePeriod, UsageSnapshot
from billing.usage import batches, due_runs, pipeline, runs
from billing.usage import sync as usage_sync
from billing.usage.guards import MISSING_AT_LEAST
from customers.connections import circuit_breaker
from customers.models import Account, Connection
from portal import clock
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.leases import LostLease
from portal.refusals import Refusal
from tests.billing.conftest import Meter
from tests.customers.page_helpers import text_of
from tests.support.people import sign_in


def settled(run: SyncRun) -> dict[str, int]:
    """The counts, which always add up to the total once the run has ended."""
    assert run.done + run.failed + run.skipped == run.total == run.done + run.items.count()
    return {"done": run.done, "failed": run.failed, "skipped": run.skipped}


def causes_in(run: SyncRun) -> dict[str, int]:
    found: dict[str, int] = {}
    for cause in run.items.filter(state=SyncItem.State.FAILED).values_list("cause", flat=True):
        found[cause] = found.get(cause, 0) + 1
    return found


@pytest.mark.parametrize("source", ["credits", "overview_json", "overview_xml"])
def test_every_source_gives_the_same_figures(meter: Meter, source: str) -> None:
    Connection.objects.filter(pk=meter.connection.pk).update(usage_source=source)
    meter.connection.refresh_from_db()
    over = meter.account(anchor_day=3)
    meter.sandbox.admin.add_usage(over.provider_id or "", 130_000, at="2026-11-05T10:00:00Z")
    quiet = meter.account(anchor_day=1)

    run = meter.read()

    assert run.state == SyncRun.State.COMPLETE, run.message
    assert settled(run) == {"done": 2, "failed": 0, "skipped": 0}
    reading = UsageSnapshot.objects.get(account=over)
    assert (reading.source, reading.used, reading.allowed, reading.overage) == (source, 130_000, 100_000, 30_000)
    assert (reading.period_start_on, reading.period_end_on) == (date(2026, 11, 3), date(2026, 12, 2))
    assert reading.as_of == meter.now
    assert not reading.period_inferred
    assert UsageSnapshot.objects.get(account=quiet).used == 0
    if source != "credits":
        assert reading.process_on == date(2026, 12, 3)
        assert reading.reputation is not None
        assert reading.requests == 130_000
        assert reading.package


def test_the_account_shows_what_was_read(meter: Meter) -> None:
    account = meter.account(per_day=1000)
    meter.read()
    account.refresh_from_db()
    assert account.usage_used == 17_500
    assert account.usage_allowed == 100_000
    assert account.usage_end_on == date(2026, 11, 30)
    assert account.usage_read_at == meter.now


def test_readings_are_asked_by_the_databases_clock(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two readings the one asked later stays: a worker whose clock is fast must not outlast all others."""
    monkeypatch.setattr(clock, "database_now", lambda: meter.now)
    account = meter.account(per_day=1000)
    usage_sync.sync_chunk(meter.start().pk, connect=meter.connect)
    account.refresh_from_db()
    assert account.usage_read_at is not None
    assert timedelta() <= account.usage_read_at - meter.now < timedelta(minutes=1)


def test_reading_twice_adds_nothing(meter: Meter) -> None:
    for _ in range(3):
        meter.account(per_day=500)
    first = meter.read()
    second = meter.read()
    assert (first.changed, second.changed) == (3, 0)
    assert UsageSnapshot.objects.count() == 3
    assert second.done == 3, "the readings were confirmed"
    assert set(UsagePeriod.objects.values_list("readings", flat=True)) == {2}


def test_one_night_is_one_run(meter: Meter) -> None:
    meter.account()
    first = due_runs.start_nightly(meter.connection, now=meter.now)
    second = due_runs.start_nightly(meter.connection, now=meter.now + timedelta(hours=1))
    assert first is not None
    assert first == second
    assert due_runs.start_nightly(meter.connection, now=datetime(2026, 11, 19, 0, 29, tzinfo=UTC)) is None
    half_past = datetime(2026, 11, 19, 0, 30, tzinfo=UTC)
    assert due_runs.start_nightly(meter.connection, now=half_past) is None, "it begins after the one that is still open"
    meter.finish(first)
    third = due_runs.start_nightly(meter.connection, now=half_past)
    assert third is not None
    assert third.slot == "2026-11-19"


def test_a_night_that_begins_late_ends_before_the_next_one(meter: Meter) -> None:
    meter.account()
    asked = meter.start()
    late = datetime(2026, 11, 18, 9, tzinfo=UTC)
    assert due_runs.start_nightly(meter.connection, now=late) is None
    meter.finish(asked)
    nightly = due_runs.start_nightly(meter.connection, now=late)
    assert nightly is not None
    assert nightly.until == datetime(2026, 11, 19, 0, 30, tzinfo=UTC)


def test_a_second_sync_now_says_who_started_the_first(meter: Meter, client: Client) -> None:
    meter.account()
    first = meter.start()
    SyncRun.objects.filter(pk=first.pk).update(asked_by=meter.person)
    sign_in(client, meter.person)
    sent = {"connection": str(meter.connection.public_id), "client_token": uuid4().hex}
    answer = client.post(reverse("billing:run-start"), sent, follow=True)
    assert answer.redirect_chain[-1][0] == reverse("billing:run", args=[first.public_id])
    assert f"{meter.connection.name} is already being synced (started by {meter.person} on" in text_of(answer)
    assert SyncRun.objects.count() == 1


def test_sync_now_wakes_a_run_that_was_paused(meter: Meter) -> None:
    meter.account()
    first = meter.start()
    SyncRun.objects.filter(pk=first.pk).update(state="paused")
    [(run, new)] = runs.request_runs(Command(meter.person, meter.now, token="x"), connections=[meter.connection])
    run.refresh_from_db()
    assert (run, new, run.state) == (first, False, "running")


def test_an_expired_run_ends_while_the_provider_is_unreachable(meter: Meter) -> None:
    account = meter.account()
    run = meter.start()
    circuit_breaker.count(meter.connection, answered=0, failed=circuit_breaker.OPENS_AT, now=meter.now)
    assert meter.chunk(run).state == "running"
    meter.now = run.until
    assert (meter.chunk(run).state, run.failed) == ("complete_with_errors", 1)
    account.refresh_from_db()
    assert account.usage_missing_since == run.until


def test_a_worker_that_lost_its_run_gives_nothing_up(meter: Meter) -> None:
    meter.account()
    stale = usage_sync.claim_items(meter.start().pk, now=meter.now)
    assert stale is not None
    SyncRun.objects.filter(pk=stale.pk).update(fence=stale.fence + 1)
    for end in (lambda: runs.run_out(stale, now=meter.now), lambda: runs.abort(stale, message="No", now=meter.now)):
        with pytest.raises(LostLease):
            end()
    assert stale.items.get().state == "pending"


def test_one_failure_stops_nobody_else(meter: Meter) -> None:
    for _ in range(4):
        meter.account(per_day=100)
    gone = meter.account(per_day=100)
    meter.sandbox.admin.delete_account(gone.provider_id or "")

    run = meter.read()

    assert run.state == SyncRun.State.WITH_ERRORS
    assert settled(run) == {"done": 4, "failed": 1, "skipped": 0}
    assert causes_in(run) == {"not_found": 1}
    assert not UsageSnapshot.objects.filter(account=gone).exists(), "a gap is the absence of a row, never a zero"
    gone.refresh_from_db()
    assert gone.usage_used is None
    assert gone.usage_missing_since == meter.now


def test_what_passes_is_tried_in_later_passes(meter: Meter) -> None:
    meter.account(per_day=100)
    meter.sandbox.admin.arm("status-503", "credits", count=3)  # all tries of the client in the first pass

    run = meter.chunk(meter.start())
    assert run.state == SyncRun.State.RUNNING
    assert (run.pending, run.items.get().tries) == (1, 1)
    assert run.not_before == meter.now + runs.ASKED_GAP, "the next pass is later, not at once"

    meter.finish(run)
    assert run.state == SyncRun.State.COMPLETE
    assert (run.done, run.items.count()) == (1, 0)


@pytest.mark.long
def test_three_passes_without_an_answer_are_a_failure(meter: Meter) -> None:
    account = meter.account(per_day=100)
    meter.read()
    meter.later(days=1)
    meter.sandbox.admin.arm("status-500", "credits", count=None)

    run = meter.read()

    assert run.state == SyncRun.State.WITH_ERRORS
    assert causes_in(run) == {"unreadable": 1}
    assert run.items.get().tries == batches.TRIES
    account.refresh_from_db()
    assert account.usage_used == 1750, "the last figure stays"
    assert account.usage_missing_since is not None
    assert UsageSnapshot.objects.count() == 1


def test_a_rate_limit_pauses_the_run_without_failing_accounts(meter: Meter) -> None:
    for _ in range(3):
        meter.account()
    meter.sandbox.admin.arm("429", "credits", count=1)
    run = meter.chunk(meter.start())
    assert run.state == SyncRun.State.RUNNING
    assert run.failed == 0
    assert run.items.filter(tries__gt=1).count() == 0
    assert run.lease_until is None


def test_without_a_user_name_the_v2_source_asks_nothing(meter: Meter) -> None:
    Connection.objects.filter(pk=meter.connection.pk).update(usage_source="overview_json")
    meter.connection.refresh_from_db()
    nameless, named = meter.account(), meter.account()
    Account.objects.filter(pk=nameless.pk).update(v2_username="")

    run = meter.read()

    assert causes_in(run) == {"no_user_name": 1}
    assert settled(run) == {"done": 1, "failed": 1, "skipped": 0}
    assert len(meter.sandbox.admin.requests("overview")) == 1
    assert UsageSnapshot.objects.get().account == named


def test_an_answer_without_a_figure_is_a_gap(meter: Meter) -> None:
    Connection.objects.filter(pk=meter.connection.pk).update(usage_source="overview_json")
    meter.connection.refresh_from_db()
    meter.account()
    meter.sandbox.admin.switch("v2_missing_field", "credits_used")
    run = meter.read()
    assert run.failed == 1
    assert UsageSnapshot.objects.count() == 0


def test_a_period_the_answer_leaves_out_is_inferred_and_marked(meter: Meter) -> None:
    Connection.objects.filter(pk=meter.connection.pk).update(usage_source="overview_json")
    meter.connection.refresh_from_db()
    account = meter.account(anchor_day=10, per_day=10)
    meter.read()
    meter.sandbox.admin.switch("v2_billing_dates", False)
    meter.later(days=1)
    meter.read()
    assert UsagePeriod.objects.filter(account=account).count() == 1, "the known period goes on"
    assert UsageSnapshot.objects.latest("as_of").period_inferred


def test_a_count_that_goes_down_is_kept_but_not_taken_over(meter: Meter) -> None:
    account = meter.account(per_day=1000)
    meter.read()
    meter.later(hours=1)
    meter.sandbox.admin.set_sending(account.provider_id or "", at="2026-10-01T00:00:00Z", per_day=10)
    run = meter.read()

    period = UsagePeriod.objects.get()
    assert run.anomalies == 1
    anomaly = period.anomalies.get()
    assert (anomaly.kind, anomaly.before, int(anomaly.after) < 200) == ("fell", "17500", True)
    assert (period.status, period.used) == ("disputed", int(anomaly.after)), "the least it can be"
    assert period.high is not None
    assert period.high > 17_500
    account.refresh_from_db()
    assert account.usage_used == 17_500
    assert meter.read().changed == 0, "the same lower reading again is the same reading"
    meter.sandbox.admin.add_usage(account.provider_id or "", 40_000)
    meter.read()
    period.refresh_from_db()
    assert (period.status, period.used > 40_000) == ("disputed", True), "a higher count later settles nothing"
    anomaly.refresh_from_db()
    assert anomaly.closed_at is None


def test_a_refused_key_pauses_the_connection_and_burns_nobody(meter: Meter) -> None:
    for _ in range(12):
        meter.account()
    meter.sandbox.admin.revoke_key(meter.sandbox.key)

    run = meter.chunk(meter.start())

    assert run.state == SyncRun.State.PAUSED
    assert run.pending == 12
    assert set(run.items.values_list("state", "tries")) == {(SyncItem.State.PENDING, 0)}
    meter.connection.refresh_from_db()
    assert meter.connection.paused == "auth"

    connection = meter.connection
    Connection.objects.filter(pk=connection.pk).update(paused="", revision=connection.revision + 1)
    due_runs.tick(now=meter.now)
    run.refresh_from_db()
    assert run.state == SyncRun.State.RUNNING


def test_a_refused_v2_login_stops_the_run_alone(meter: Meter) -> None:
    Connection.objects.filter(pk=meter.connection.pk).update(usage_source="overview_xml", v2_auth="password")
    meter.connection.refresh_from_db()
    for _ in range(4):
        meter.account()
    run = meter.chunk(meter.start())
    assert run.state == SyncRun.State.ABORTED
    assert settled(run)["done"] == 0
    meter.connection.refresh_from_db()
    assert meter.connection.paused == "", "operations go on with the v3 key"


def test_when_most_accounts_are_unknown_the_run_stops(meter: Meter) -> None:
    for account in [meter.account() for _ in range(30)]:
        Account.objects.filter(pk=account.pk).update(provider_id=f"sg{account.pk:032d}")
    run = meter.chunk(meter.start())
    assert run.state == SyncRun.State.ABORTED
    assert settled(run)["done"] == 0
    missing, answers = map(int, re.findall(r"\d+", str(run.message)))
    assert "didn't find" in str(run.message)
    # Each thread may have had one more question under way.
    assert MISSING_AT_LEAST <= missing == answers < MISSING_AT_LEAST + pipeline.THREADS
    assert run.message.code == "run.accounts_missing"


def test_a_deleted_account_is_skipped(meter: Meter) -> None:
    account = meter.account()
    run = meter.start()
    Account.objects.filter(pk=account.pk).update(state="deleted")
    assert settled(meter.finish(run)) == {"done": 0, "failed": 0, "skipped": 1}
    assert run.state == SyncRun.State.COMPLETE


def test_a_run_whose_time_is_over_says_what_it_missed(meter: Meter) -> None:
    meter.account()
    run = meter.start()
    meter.later(hours=23)
    meter.chunk(run)
    assert run.state == SyncRun.State.WITH_ERRORS
    assert causes_in(run) == {"too_late": 1}
    assert meter.sandbox.admin.requests("credits") == []


def test_a_worker_that_lost_its_lease_writes_nothing(meter: Meter) -> None:
    meter.account(per_day=100)
    run = meter.start()
    slow = usage_sync.claim_items(run.pk, now=meter.now)
    assert slow is not None
    assert usage_sync.claim_items(run.pk, now=meter.now) is None, "one worker at a time"
    assert usage_sync.claim_items(run.pk, now=meter.now + SyncRun.LEASE + timedelta(seconds=1)) is not None
    chunk = batches.RunSession(slow, meter.connect(meter.connection), lambda: meter.now, runs.ASKED_GAP)
    with pytest.raises(LostLease):
        usage_sync._work(chunk, deadline=float("inf"))
    assert UsageSnapshot.objects.count() == 0
    assert run.items.get().state == SyncItem.State.PENDING


def test_a_woken_worker_ends_nothing_of_anothers(meter: Meter) -> None:
    meter.account()
    run, later = meter.start(), meter.now + SyncRun.LEASE + timedelta(seconds=1)
    woken, holder = usage_sync.claim_items(run.pk, now=meter.now), usage_sync.claim_items(run.pk, now=later)
    assert woken is not None
    assert holder is not None
    runs.finish(woken, now=later)
    runs.pause_run(woken, message="The key was refused.")
    with pytest.raises(LostLease):
        runs.abort(woken, message="No results.", now=later)
    run.refresh_from_db()
    assert (run.state, run.fence, run.lease_until, run.message) == (
        SyncRun.State.RUNNING,
        holder.fence,
        later + SyncRun.LEASE,
        "",
    )


def test_a_claim_loses_to_a_worker_that_renews_its_lease(meter: Meter) -> None:
    meter.account()
    run, later = meter.start(), meter.now + SyncRun.LEASE + timedelta(seconds=1)
    holder = usage_sync.claim_items(run.pk, now=meter.now)
    assert holder is not None
    renewals = [lambda: holder.renew(now=later)]

    def renew(execute: Callable[..., object], sql: str, *more: object) -> object:
        if sql.startswith('UPDATE "billing_syncrun"') and renewals:
            renewals.pop()()
        return execute(sql, *more)

    with database.execute_wrapper(renew):
        assert usage_sync.claim_items(run.pk, now=later) is None


@pytest.mark.parametrize("goes_on", ["", "woken", "retried"])
def test_a_worker_whose_run_was_paused_meanwhile_writes_nothing(meter: Meter, goes_on: str) -> None:
    meter.account()
    run = meter.start()
    worker = usage_sync.claim_items(run.pk, now=meter.now)
    assert worker is not None
    runs.pause_run(worker, message="The connection is paused.")
    run.refresh_from_db()
    if goes_on == "woken":
        due_runs.tick(now=meter.now)
    elif goes_on == "retried":
        runs.retry_run(Command(meter.person, meter.now), run=run)
    run.refresh_from_db()
    assert run.state == (SyncRun.State.RUNNING if goes_on else SyncRun.State.PAUSED)
    with pytest.raises(LostLease):
        worker.renew(now=meter.now)


@pytest.mark.long
def test_failed_accounts_can_be_read_again_in_the_same_run(meter: Meter) -> None:
    meter.account(per_day=100)
    meter.account(per_day=100)
    meter.sandbox.admin.arm("status-500", "credits", count=None)
    run = meter.read()
    assert run.failed == 2
    meter.sandbox.admin.clear_faults()

    runs.retry_run(Command(meter.person, meter.now), run=run)
    assert AuditEvent.objects.get(verb="usage.run_retried").after == {"accounts": 2}
    meter.finish(run)

    assert run.state == SyncRun.State.COMPLETE
    assert settled(run) == {"done": 2, "failed": 0, "skipped": 0}
    with pytest.raises(Refusal):
        runs.retry_run(Command(meter.person, meter.now), run=run)


def test_readings_cannot_be_changed(meter: Meter) -> None:
    meter.account(per_day=100)
    meter.read()
    for change in (
        lambda: UsageSnapshot.objects.update(used=1),
        lambda: UsageSnapshot.objects.all().delete(),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            change()
    assert UsageSnapshot.objects.aggregate(sum=Sum("used"))["sum"] == 1750


def test_every_line_about_a_request_carries_the_run(meter: Meter) -> None:
    """Requests are made in threads, which begin without what was bound for the log."""
    bound: list[dict[str, object]] = []

    class Bound(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            bound.append(structlog.contextvars.get_contextvars())

    logger, handler = logging.getLogger("portal.providers"), Bound()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel("INFO")
    try:
        meter.account()
        run = meter.read()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert bound
    assert {each.get("usage_run") for each in bound} == {str(run.public_id)}
