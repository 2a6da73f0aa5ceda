"""Items of old runs are deleted; what was counted and read stays, and the pages say so."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import count

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from billing.models import SyncItem, SyncRun, UsagePeriod, UsageSnapshot
from billing.reports.account_usage import usage_of_account
from billing.usage import retention, runs
from customers.models import Account
from customers.monitoring import invariants
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal
from tests.billing.conftest import Meter
from tests.customers.page_helpers import prose_of
from tests.support.factories import AccountFactory, ConnectionFactory, CustomerFactory, UserFactory

pytestmark = pytest.mark.django_db
NOW = timezone.now()
DAY = timedelta(days=1)
_slots = count()


def run(*, failed: int = 0, skipped: int = 0, days_ago: float = 36, state: str = "complete_with_errors") -> SyncRun:
    """A run of that age, of accounts that could not be read."""
    connection, at = ConnectionFactory(), NOW - days_ago * DAY
    ended = state in SyncRun.ENDED
    counts = {"total": failed + skipped, "failed": failed, "skipped": skipped}
    made = SyncRun.objects.create(
        connection=connection, kind="nightly", slot=str(next(_slots)), source="credits", state=state, not_before=at,
        until=at, started_at=at, finished_at=at if ended else None, **counts,
    )  # fmt: skip
    customer = CustomerFactory(may_be_bare=False)
    accounts = Account.objects.bulk_create(
        AccountFactory.build(customer=customer, connection=connection) for _ in range(failed + skipped)
    )
    states = [("failed", "not_found")] * failed + [("skipped", "deleted")] * skipped
    SyncItem.objects.bulk_create(
        SyncItem(run=made, account=account, state=state, cause=cause)
        for account, (state, cause) in zip(accounts, states, strict=True)
    )
    return made


def remove_all(now: datetime = NOW, *, limit: int = 1000) -> int:
    """Delete what is due after the default period, as the nightly job does."""
    return sum(iter(lambda: retention.remove_items(now - settings.SYNC_ITEM_DAYS * DAY, limit), 0))


def test_items_of_old_runs_are_deleted_and_the_counts_stay() -> None:
    old, young = run(failed=3, skipped=2), run(failed=2, days_ago=34)
    assert remove_all() == 5
    assert remove_all() == 0
    old.refresh_from_db()
    assert (old.total, old.failed, old.skipped, old.items.count()) == (5, 3, 2, 0)
    assert old.items_removed_at is not None
    assert old.removed_causes == {"failed": {"not_found": 3}, "skipped": {"deleted": 2}}
    assert young.items.count() == 2
    event = AuditEvent.objects.get(verb="usage.items_removed")
    assert (event.object_id, event.after) == (old.public_id, {"items": 5})
    [counts] = [each for each in invariants.check(now=NOW) if each.code == "I13"]
    assert not counts.is_broken


@pytest.mark.parametrize("state", ["running", "paused"])
def test_an_unfinished_run_keeps_its_items_at_any_age(state: str) -> None:
    made = run(failed=2, days_ago=400, state=state)
    assert remove_all() == 0
    assert made.items.count() == 2


def test_what_is_deleted_stays_readings_included(meter: Meter) -> None:
    account = meter.account(per_day=500)
    lost = meter.account()
    meter.sandbox.admin.delete_account(lost.provider_id or "")
    made = meter.read()
    assert remove_all(meter.now + 36 * DAY) == 1
    made.refresh_from_db()
    assert (made.done, made.changed, made.removed_causes) == (1, 1, {"failed": {"not_found": 1}})
    assert UsageSnapshot.objects.filter(run=made).count() == UsagePeriod.objects.filter(account=account).count() == 1


def test_items_are_removed_in_batches() -> None:
    made = run(failed=35)
    before = NOW - 35 * DAY
    assert [retention.remove_items(before, 20) for _ in range(2)] == [20, 15]
    made.refresh_from_db()
    assert made.removed_causes == {"failed": {"not_found": 35}}
    assert AuditEvent.objects.filter(verb="usage.items_removed").count() == 1


def test_a_run_whose_removal_began_is_finished_at_any_age() -> None:
    made = run(failed=35)
    assert retention.remove_items(NOW - 35 * DAY, 20) == 20
    assert retention.remove_items(NOW - 400 * DAY, 20) == 15
    assert made.items.count() == 0


def test_a_run_whose_items_are_removed_is_not_retried(finance: Client, person: User) -> None:
    made = run(failed=2)
    stale = SyncRun.objects.get(pk=made.pk)  # somebody's page, loaded before
    retention._expire(made.pk, before=NOW, now=NOW)
    with pytest.raises(Refusal):
        runs.retry_run(Command(person, NOW), run=stale)
    made.refresh_from_db()
    assert made.state == "complete_with_errors"
    with pytest.raises(Refusal, match="were deleted"):
        runs.retry_run(Command(person, NOW), run=made)


def test_a_run_that_is_retried_meanwhile_keeps_its_items(person: User) -> None:
    made = run(failed=2)
    runs.retry_run(Command(person, NOW), run=made)
    retention._expire(made.pk, before=NOW, now=NOW)
    made.refresh_from_db()
    assert made.items_removed_at is None


@pytest.fixture
def person() -> User:
    return UserFactory(role="finance")


@pytest.fixture
def finance(client: Client, person: User) -> Client:
    client.force_login(person)
    return client


def test_the_page_of_the_run_says_that_results_were_removed(finance: Client) -> None:
    made = run(failed=3, skipped=1)
    before = prose_of(finance.get(f"/usage/runs/{made.public_id}/"))
    assert "Retry failed accounts" in before
    remove_all()
    said = prose_of(finance.get(f"/usage/runs/{made.public_id}/"))
    assert "Per-account results were deleted on" in said
    assert "4 of 4 accounts" in said
    assert "Account not found at the provider 3" in said
    assert "The account was deleted during the sync 1" in said
    assert "Retry failed accounts" not in said


def test_removed_daily_results_do_not_show_as_gaps(meter: Meter) -> None:
    account = meter.account()  # sends nothing: the first reading is a snapshot, the others only confirm it
    for _day in range(5):
        meter.read()
        meter.later(days=1)
    today = meter.now - DAY
    before = usage_of_account(account, now=today).cycle
    assert before is not None
    assert [(gap.first.day, gap.last.day) for gap in before.gaps] == [(1, 17)]
    remove_all(meter.now + 36 * DAY)
    after = usage_of_account(account, now=today).cycle
    assert after is not None
    assert after.gaps == before.gaps, "the days on which usage was read are kept with the figure"
