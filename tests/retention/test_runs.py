"""The nightly job: one run a night, batch by batch, with its counts, its errors and its alerts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError

from portal.audit.models import AuditEvent
from portal.notices.models import Notice
from portal.retention import periods, runs
from portal.retention import rules as rule_table
from portal.retention.models import RetentionPeriod, RetentionRun
from portal.retention.rules import RetentionRule, find_rule
from tests.retention import rows

pytestmark = [pytest.mark.django_db, pytest.mark.both]
DAY, HOUR, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)
NIGHT = datetime(2026, 5, 4, 3, 10, tzinfo=UTC)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The task messages."""
    found: list[Any] = []
    monkeypatch.setattr(runs, "enqueue_on_commit", lambda *message: found.append(message))
    return found


@pytest.fixture(autouse=True)
def reviewed(db: None) -> None:
    """An installation whose admins could look at the periods."""
    rows.retention_run(NIGHT - 2 * DAY)


@pytest.fixture
def unreviewed(reviewed: None) -> None:
    RetentionRun.objects.all().delete()


def apply(now: datetime = NIGHT) -> RetentionRun:
    run = runs.apply_now(clock=lambda: now)
    assert run is not None
    return run


def failing(monkeypatch: pytest.MonkeyPatch, code: str, error: Exception) -> None:
    def rows_of(before: datetime) -> Any:
        raise error

    broken = RetentionRule(code, "Broken rows", "", "", rows=rows_of, days=10)
    monkeypatch.setitem(rule_table._REGISTERED, code, broken)


class TestARun:
    def test_it_removes_what_is_due_and_counts_it(self) -> None:
        kept = rows.notice(NIGHT - 90 * DAY)
        for _ in range(3):
            rows.notice(NIGHT - 90 * DAY - SECOND)
        rows.submission(NIGHT - 91 * DAY)
        run = apply()
        assert (run.state, run.removed, run.errors) == ("ended", {"notices": 3, "submissions": 1}, {})
        assert kept in Notice.objects.all()

    def test_its_audit_event_has_the_counts(self) -> None:
        rows.notice(NIGHT - 91 * DAY)
        run = apply()
        event = AuditEvent.objects.get(verb="retention.applied")
        assert (event.actor, event.object_id) == (None, run.public_id)
        assert event.after == {"removed": {"notices": 1}, "errors": {}}

    def test_it_counts_what_the_next_one_removes(self) -> None:
        rows.notice(NIGHT - 89 * DAY - SECOND)
        rows.notice(NIGHT - 89 * DAY + SECOND)
        apply()
        assert RetentionPeriod.objects.get(code="notices").due == 1
        assert RetentionPeriod.objects.get(code="audit_events").due == 0
        assert apply(NIGHT + DAY).removed == {"notices": 1}

    def test_a_chosen_period_applies(self) -> None:
        RetentionPeriod.objects.create(code="notices", days=7, changed_at=NIGHT)
        RetentionPeriod.objects.create(code="schedules", days=None, changed_at=NIGHT)
        rows.notice(NIGHT - 7 * DAY - SECOND)
        kept = rows.schedule(NIGHT - 4000 * DAY)
        assert apply().removed == {"notices": 1}
        kept.refresh_from_db()

    def test_a_period_is_never_below_the_least(self) -> None:
        RetentionPeriod.objects.create(code="notices", days=1, changed_at=NIGHT)
        rows.notice(NIGHT - 6 * DAY)
        assert apply().removed == {}

    def test_a_rule_of_another_version_is_skipped(self) -> None:
        run = runs.begin_retention_run("by hand", now=NIGHT)
        assert run is not None
        RetentionRun.objects.filter(pk=run.pk).update(remaining=["unknown", "notices"])
        rows.notice(NIGHT - 91 * DAY)
        assert not runs.apply_rules(run.pk, clock=lambda: NIGHT)
        run.refresh_from_db()
        assert (run.state, run.removed) == ("ended", {"notices": 1})


class TestTheFirstDay:
    @pytest.mark.usefixtures("unreviewed")
    def test_runs_only_count(self) -> None:
        rows.notice(NIGHT - 91 * DAY)
        run = apply()
        assert (run.only_counts, run.removed) == (True, {})
        assert RetentionPeriod.objects.get(code="notices").due == 1
        notice = Notice.objects.get(kind=runs.RETENTION_BEGINS)
        assert "rows of 1 kinds" in notice.text
        assert apply(NIGHT + 19 * HOUR).only_counts

    @pytest.mark.usefixtures("unreviewed")
    def test_the_next_night_removes_and_ends_the_notice(self) -> None:
        rows.notice(NIGHT - 91 * DAY)
        apply()
        run = apply(NIGHT + DAY)
        assert (run.only_counts, run.removed) == (False, {"notices": 1})
        assert Notice.objects.get(kind=runs.RETENTION_BEGINS).ended_at == NIGHT + DAY


class TestTheNight:
    def test_a_run_starts_once_a_night(self, sent: list[Any]) -> None:
        runs.advance_retention(now=NIGHT.replace(hour=2))
        assert sent == []
        for minute in (10, 11):
            runs.advance_retention(now=NIGHT.replace(minute=minute))
        run = RetentionRun.objects.get(slot="2026-05-04")
        assert sent == [(runs.APPLY, run.pk)] * 2
        assert not runs.apply_rules(run.pk, clock=lambda: NIGHT + 5 * 60 * SECOND)
        runs.advance_retention(now=NIGHT + 12 * HOUR)
        assert len(sent) == 2

    def test_one_run_is_open_at_a_time(self, sent: list[Any]) -> None:
        runs.advance_retention(now=NIGHT)
        assert runs.apply_now(clock=lambda: NIGHT) is None
        runs.advance_retention(now=NIGHT + DAY)
        assert RetentionRun.objects.filter(state="running").count() == 1

    def test_work_ends_with_its_time_and_continues(self) -> None:
        for _ in range(3):
            rows.notice(NIGHT - 91 * DAY)
        run = runs.begin_retention_run("night", now=NIGHT)
        assert run is not None
        tasks = 1
        while runs.apply_rules(run.pk, clock=lambda: NIGHT, seconds=0):
            tasks += 1
        run.refresh_from_db()
        assert tasks > len(rule_table.retention_rules())
        assert (run.state, run.removed) == ("ended", {"notices": 3})

    def test_a_run_stops_at_its_time_limit(self) -> None:
        rows.notice(NIGHT - 91 * DAY)
        run = runs.begin_retention_run("night", now=NIGHT)
        assert run is not None
        assert not runs.apply_rules(run.pk, clock=lambda: NIGHT + runs.LONGEST + SECOND)
        run.refresh_from_db()
        assert (run.state, run.removed) == ("stopped", {})
        assert "notices" in AuditEvent.objects.get(verb="retention.applied").after["not_finished"]
        assert apply(NIGHT + DAY).removed == {"notices": 1}


class TestTwoWorkers:
    def test_a_claimed_run_is_not_worked_on(self) -> None:
        run = runs.begin_retention_run("night", now=NIGHT)
        assert run is not None
        assert run.claim(now=NIGHT)
        rows.notice(NIGHT - 91 * DAY)
        assert not runs.apply_rules(run.pk, clock=lambda: NIGHT + SECOND)
        run.refresh_from_db()
        assert (run.state, run.removed) == ("running", {})

    def test_a_worker_that_lost_its_lease_removes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another worker claims the run while this one works on a batch: the batch is rolled back."""
        rows.notice(NIGHT - 91 * DAY)
        run = runs.begin_retention_run("night", now=NIGHT)
        assert run is not None
        right = RetentionRule.remove_batch

        def slow(rule: RetentionRule, before: datetime, **more: Any) -> int:
            removed = right(rule, before, **more)
            if removed:
                RetentionRun.objects.filter(pk=run.pk).update(fence=99)
            return removed

        monkeypatch.setattr(RetentionRule, "remove_batch", slow)
        assert not runs.apply_rules(run.pk, clock=lambda: NIGHT)
        assert Notice.objects.filter(kind="kind").count() == 1

    def test_a_lost_worker_is_replaced_after_its_lease(self) -> None:
        run = runs.begin_retention_run("night", now=NIGHT)
        assert run is not None
        assert run.claim(now=NIGHT)
        rows.notice(NIGHT - 91 * DAY)
        assert not runs.apply_rules(run.pk, clock=lambda: NIGHT + 6 * 60 * SECOND)
        run.refresh_from_db()
        assert (run.state, run.removed) == ("ended", {"notices": 1})


class TestErrors:
    def test_a_rule_that_fails_leaves_the_others_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        failing(monkeypatch, "audit_events", DatabaseError("secret"))
        rows.notice(NIGHT - 91 * DAY)
        run = apply()
        assert (run.state, run.removed) == ("ended", {"notices": 1})
        assert run.errors == {"audit_events": "DatabaseError"}
        notice = Notice.objects.get(kind=runs.RETENTION_FAILED)
        assert "Broken rows" in notice.text
        assert "secret" not in notice.text
        assert notice.path == "/retention/"

    def test_a_failed_batch_is_rolled_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rule = find_rule("notices")
        assert rule is not None

        def half(before: datetime, limit: int) -> int:
            rule.rows(before).delete()
            raise DatabaseError

        broken = RetentionRule("notices", "Notices", "", "", rows=rule.rows, remove=half, days=90)
        monkeypatch.setitem(rule_table._REGISTERED, "notices", broken)
        rows.notice(NIGHT - 91 * DAY)
        assert apply().errors == {"notices": "DatabaseError"}
        assert Notice.objects.filter(kind="kind").count() == 1

    def test_the_alert_ends_with_the_next_good_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            failing(patch, "notices", DatabaseError())
            apply()
        apply(NIGHT + DAY)
        assert Notice.objects.get(kind=runs.RETENTION_FAILED).ended_at == NIGHT + DAY


class TestLate:
    def test_two_nights_without_a_run_alert(self, sent: list[Any]) -> None:
        apply()
        runs.advance_retention(now=NIGHT + 49 * HOUR)
        assert not Notice.objects.filter(kind=runs.RETENTION_LATE).exists()
        runs.advance_retention(now=NIGHT + 51 * HOUR)
        assert Notice.objects.get(kind=runs.RETENTION_LATE).ended_at is None
        run = RetentionRun.objects.get(state="running")
        runs.apply_rules(run.pk, clock=lambda: NIGHT + 52 * HOUR)
        assert Notice.objects.get(kind=runs.RETENTION_LATE).ended_at is not None

    @pytest.mark.usefixtures("unreviewed")
    def test_before_the_first_run_nothing_is_late(self, sent: list[Any]) -> None:
        assert runs.late_text(now=NIGHT) == ""
        runs.advance_retention(now=NIGHT)
        assert runs.late_text(now=NIGHT + 49 * HOUR) == ""
        assert runs.late_text(now=NIGHT + 51 * HOUR) != ""


def test_days_are_counted_back_from_the_start() -> None:
    assert periods.ended_before(NIGHT, 90) == NIGHT - 90 * DAY
