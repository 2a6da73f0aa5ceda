"""Each rule removes what ended before its period, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import Error, connection, transaction
from django.utils import timezone

from billing.models import ParallelRow, SyncItem, UsageExport
from customers.models import Attempt, ChangeSet, ChangeSetItem, RemoteAccount, Scan
from customers.models.recovery import Recovery
from portal.approvals.models import Approval
from portal.installation.models import Backup
from portal.retention.rules import RetentionRule, find_rule, register_rules, retention_rules
from tests.retention import rows
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory

pytestmark = [pytest.mark.django_db, pytest.mark.both]
# Older than what the triggers of append-only tables let go.
BEFORE = timezone.now() - timedelta(days=1500)
SECOND = timedelta(seconds=1)


def rule(code: str) -> RetentionRule:
    found = find_rule(code)
    assert found is not None
    return found


def remove(code: str, before: datetime = BEFORE, limit: int = 1000) -> int:
    return sum(iter(lambda: rule(code).remove_batch(before, limit=limit), 0))


def is_kept(row: Any) -> bool:
    """Return whether a row is there, with what its rule removes."""
    row = type(row)._base_manager.filter(pk=row.pk).first()
    if isinstance(row, Attempt):
        return bool(row.request or row.response)
    if isinstance(row, UsageExport) and row.state == "ready":
        return bool(row.file)
    return row is not None


def test_every_rule_is_tested_and_says_what_stays() -> None:
    codes = {each.code for each in retention_rules()}
    assert codes - {"audit_events"} == set(rows.MAKERS) & codes
    for each in retention_rules():
        assert all(map(str, (each.label, each.removes, each.keeps))), each.code
        assert each.is_fixed or each.may_keep or each.days is not None, each.code
        assert each.days is None or each.days >= each.least, each.code


@pytest.mark.parametrize("code", rows.MAKERS)
def test_what_ended_before_goes_and_what_ended_since_stays(code: str) -> None:
    make = rows.MAKERS[code]
    gone, edge, young = make(BEFORE - SECOND), make(BEFORE), make(BEFORE + timedelta(days=1))
    assert rule(code).count(BEFORE) == 1
    assert remove(code) >= 1
    assert [is_kept(each) for each in (gone, edge, young)] == [False, True, True]
    assert (rule(code).count(BEFORE), remove(code)) == (0, 0)


def test_a_rule_is_registered_once() -> None:
    first = rule("notices")
    register_rules(first)
    with pytest.raises(ValueError, match="Two retention rules"):
        register_rules(RetentionRule("notices", "", "", "", rows=first.rows))


def test_batches_are_small_and_remove_parts_first() -> None:
    for _ in range(2):
        rows.bulk_change(BEFORE - SECOND, items=5)
    steps = [rule("bulk_changes").remove_batch(BEFORE, limit=4) for _ in range(5)]
    assert steps == [4, 4, 2, 2, 0]
    assert not ChangeSet.objects.exists()
    assert not ChangeSetItem.objects.exists()


def test_parts_of_a_younger_row_stay() -> None:
    gone, stays = rows.parallel_month(BEFORE - SECOND), rows.parallel_month(BEFORE + SECOND)
    assert remove("parallel_months") == 3
    assert not ParallelRow.objects.filter(parallel=gone).exists()
    assert ParallelRow.objects.filter(parallel=stays).count() == 2


class TestAttempts:
    def test_only_the_bodies_go(self) -> None:
        made = rows.attempt(BEFORE - SECOND)
        remove("attempt_bodies")
        found = Attempt.objects.get()
        assert (found.request, found.response) == ("", "")
        assert found.bodies_removed_at is not None
        kept = ("call", "outcome", "status", "result", "answered_at", "intended_at")
        assert [getattr(found, each) for each in kept] == [getattr(made, each) for each in kept]

    @pytest.mark.parametrize("state", ["queued", "unknown", "needs_attention"])
    def test_an_open_operation_keeps_them(self, state: str) -> None:
        made = rows.attempt(BEFORE - SECOND, state=state, finished_at=None)
        assert remove("attempt_bodies") == 0
        assert is_kept(made)

    def test_a_late_answer_keeps_them_until_it_is_old(self) -> None:
        made = rows.attempt(BEFORE + SECOND, finished_at=BEFORE - SECOND)
        assert remove("attempt_bodies") == 0
        assert is_kept(made)

    def test_an_attempt_without_an_answer_goes_with_its_operation(self) -> None:
        made = rows.attempt(None, state="failed", finished_at=BEFORE - SECOND)
        young = rows.attempt(None, state="failed", finished_at=BEFORE)
        assert remove("attempt_bodies") == 1
        assert (is_kept(made), is_kept(young)) == (False, True)

    @pytest.mark.parametrize("change", [{"request": ""}, {"bodies_removed_at": None, "status": 500}])
    def test_nobody_else_changes_an_attempt(self, change: dict[str, Any]) -> None:
        made = rows.attempt(BEFORE - SECOND)
        with pytest.raises(Error, match="append-only"), transaction.atomic():
            Attempt.objects.filter(pk=made.pk).update(**change)


class TestWhatStays:
    def test_open_notices_and_waiting_requests(self) -> None:
        kept = [rows.notice(None), rows.approval(None), rows.schedule(None), rows.hold(None), rows.account_import(None)]
        for code in ("notices", "approvals", "schedules", "holds", "account_imports"):
            assert remove(code) == 0
        assert all(map(is_kept, kept))

    def test_the_last_good_backup_and_the_last_check(self) -> None:
        good, _failed = rows.backup(BEFORE - 9 * SECOND), rows.backup(BEFORE - SECOND, error="full")
        check = rows.check(BEFORE - SECOND)
        assert (remove("backup_history"), remove("integrity_checks")) == (1, 0)
        assert list(Backup.objects.all()) == [good]
        assert is_kept(check)

    def test_bulk_changes_in_use_and_proofs_of_approval(self) -> None:
        kept = [
            rows.bulk_change(BEFORE - SECOND, kind="delete", submitted_at=BEFORE - SECOND),
            rows.bulk_change(None, state="running"),
            rows.bulk_change(None, state="waiting"),
            rows.bulk_change(None, state="planned", created_at=BEFORE + SECOND),
        ]
        going = rows.bulk_change(BEFORE - SECOND, items=0)
        ChangeSetItem.objects.create(
            change_set=going, account=AccountFactory(), version=1, state="asked", operation=OperationFactory()
        )
        draft = rows.bulk_change(None, state="planned", created_at=BEFORE - SECOND)
        assert remove("bulk_changes") == 3
        assert all(map(is_kept, [*kept, going]))
        assert not is_kept(draft)

    def test_expired_holds_go_as_released_ones(self) -> None:
        expired, live = rows.hold(BEFORE - SECOND, released=False), rows.hold(BEFORE + SECOND, released=False)
        assert remove("holds") == 1
        assert (is_kept(expired), is_kept(live)) == (False, True)

    def test_the_last_scans_of_a_connection(self) -> None:
        link = ConnectionFactory()
        old = [
            rows.scan(BEFORE - 50 * SECOND, link),  # the last one that measured the clock
            rows.scan(BEFORE - 40 * SECOND, link, clock_skew=None),
            rows.scan(BEFORE - 30 * SECOND, link, clock_skew=None),  # the last complete one
            rows.scan(BEFORE - 20 * SECOND, link, clock_skew=None, state="incomplete"),
            rows.scan(BEFORE - 10 * SECOND, link, clock_skew=None, state="incomplete"),  # the last one
        ]
        assert remove("scans") == 2
        assert [is_kept(each) for each in old] == [True, False, True, False, True]

    def test_scans_that_a_recovery_or_a_create_needs(self) -> None:
        released, held, creating = (rows.scan(BEFORE - SECOND) for _ in range(3))
        facts = {"epoch": 2, "began_at": BEFORE, "backup_at": BEFORE, "remote_account_mark": 0, "scan_mark": 0}
        Recovery.objects.create(connection=released.connection, scan=released, released_at=BEFORE, **facts)
        Recovery.objects.create(connection=held.connection, **facts)
        OperationFactory(kind="create", state="unknown", account=AccountFactory(connection=creating.connection))
        assert remove("scans") == 0
        assert Scan.objects.count() == 6

    def test_remote_accounts_that_something_names(self) -> None:
        gone = BEFORE - SECOND
        linked = AccountFactory()
        kept = [
            rows.remote_account(None),
            rows.remote_account(gone, possible_duplicate_of=OperationFactory(kind="create", state="succeeded")),
            rows.remote_account(gone, connection=rows.operation(None, kind="create").connection),
        ]
        mine = RemoteAccount.objects.create(
            connection=linked.connection, provider_id=linked.provider_id, gone_at=gone, missing_since=gone
        )
        item = rows.account_import(BEFORE + SECOND).items.get().remote_account
        RemoteAccount.objects.filter(pk=item.pk).update(gone_at=gone, missing_since=gone)
        assert remove("remote_accounts") == 0
        assert all(map(is_kept, [*kept, mine, item]))

    def test_an_import_goes_before_its_remote_accounts(self) -> None:
        made = rows.account_import(BEFORE - SECOND)
        item = made.items.get().remote_account
        RemoteAccount.objects.filter(pk=item.pk).update(gone_at=BEFORE - SECOND, missing_since=BEFORE - SECOND)
        assert remove("remote_accounts") == 0
        assert remove("account_imports") == 2
        assert remove("remote_accounts") == 1

    def test_syncs_that_go_on_and_comparisons_in_progress(self) -> None:
        rows.sync_run(None, state="paused")
        month = rows.parallel_month(BEFORE - SECOND, state="comparing")
        assert (remove("sync_items"), remove("parallel_months")) == (0, 0)
        assert SyncItem.objects.count() == 1
        assert is_kept(month)

    def test_an_export_without_its_file_keeps_its_facts(self) -> None:
        made = rows.export(BEFORE - SECOND)
        remove("usage_export_files")
        found = UsageExport.objects.get()
        assert (found.sha256, found.batch, bytes(found.periods), found.size) == (made.sha256, 1, b"p", 4)
        assert found.file_removed_at is not None
        assert found.is_ready
        assert not found.has_file


class TestTheTriggers:
    def test_young_requests_for_approval_cannot_be_deleted(self) -> None:
        young = rows.approval(timezone.now() - timedelta(days=364))
        with pytest.raises(Error, match="append-only"), transaction.atomic():
            Approval.objects.filter(pk=young.pk).delete()
        old = rows.approval(timezone.now() - timedelta(days=366))
        Approval.objects.filter(pk=old.pk).delete()
        assert list(Approval.objects.all()) == [young]

    def test_waiting_requests_cannot_be_deleted_at_any_age(self) -> None:
        waiting = rows.approval(None)
        with pytest.raises(Error, match="append-only"), transaction.atomic():
            Approval.objects.filter(pk=waiting.pk).delete()

    def test_attempts_cannot_be_deleted_at_any_age(self) -> None:
        rows.attempt(datetime(2015, 1, 1, tzinfo=UTC))
        with pytest.raises(Error, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM customers_attempt")
