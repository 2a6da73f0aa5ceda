"""What must hold of usage, seen to be broken: rows that were planted past the application."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone

from billing.models import Anomaly, MonthTotal, SyncItem, SyncRun, UsageRollup, UsageSnapshot
from billing.usage.snapshots import AccountReading, store_readings
from customers.models import Account
from customers.monitoring import heartbeat, invariants
from portal.providers import Usage, UsageSource
from tests.support.factories import AccountFactory, ConnectionFactory

pytestmark = pytest.mark.django_db
NOW = timezone.now()
START, END = date(2026, 11, 1), date(2026, 11, 30)


def broken(code: str) -> list[str]:
    [found] = [each for each in invariants.check(now=NOW) if each.code == code]
    assert not found.error
    return found.rows


def reading(account: Account, used: int, hours: int, **more: object) -> UsageSnapshot:
    return UsageSnapshot.objects.create(
        account=account, source="credits", period_start_on=START, period_end_on=END, used=used,
        as_of=NOW + timedelta(hours=hours), raw_sha256="0" * 64, **more,
    )  # fmt: skip


def run(**more: object) -> SyncRun:
    values = {"connection": ConnectionFactory(), "kind": "nightly", "slot": "2026-11-18", "source": "credits"}
    times = {"not_before": NOW, "until": NOW, "started_at": NOW}
    return SyncRun.objects.create(**{**values, **times, **more})


def ended(items: list[str]) -> SyncRun:
    made = run(slot=str(len(items)), total=len(items))
    for state in items:
        SyncItem.objects.create(run=made, account=AccountFactory(connection=made.connection), state=state)
    counts = {"failed": items.count("failed"), "skipped": items.count("skipped")}
    SyncRun.objects.filter(pk=made.pk).update(state="complete_with_errors", finished_at=NOW, **counts)
    return made


@pytest.mark.long
def test_the_counts_of_a_run_are_those_of_its_items() -> None:
    """I13. That they add up in themselves is the database's; that they are true is not."""
    honest = ended(["failed", "failed", "skipped"])
    assert broken("I13") == []
    SyncRun.objects.filter(pk=honest.pk).update(failed=1, skipped=2)
    [row] = broken("I13")
    assert row.endswith("counts 3 = 0 + 1 + 2, but of its 3 items 2 failed, 1 were skipped")
    SyncRun.objects.filter(pk=honest.pk).update(failed=2, skipped=1)
    SyncItem.objects.filter(run=honest, state="skipped").delete()
    assert broken("I13")[0].endswith("but of its 2 items 2 failed, 0 were skipped")
    with pytest.raises(IntegrityError), transaction.atomic():
        SyncRun.objects.filter(pk=honest.pk).update(failed=3)


def test_a_figure_that_went_down_unseen() -> None:
    """I14."""
    account = AccountFactory()
    reading(account, 100, 1)
    fell = reading(account, 60, 2)
    [row] = broken("I14")
    assert row.startswith(f"{account.provider_id} ")
    assert row.endswith("60 after 100, but no anomaly")
    Anomaly.objects.create(connection=account.connection, account=account, kind="fell", snapshot=fell, opened_at=NOW)
    assert broken("I14") == []


def test_totals_that_are_not_the_sums_of_their_figures() -> None:
    """I21."""
    account = AccountFactory()
    usage = Usage(UsageSource.CREDITS, 100, period_start_on=NOW.date().replace(day=1), period_end_on=NOW.date())
    store_readings([AccountReading(account.pk, usage, NOW)], run=None)
    assert broken("I21") == []
    UsageRollup.objects.update(used=99)
    assert len(broken("I21")) == 1
    UsageRollup.objects.update(used=100)
    MonthTotal.objects.update(figures=2)
    [row] = broken("I21")
    assert "totals" in row


def test_a_reading_stands_once_and_is_never_changed() -> None:
    """I14, the other half: the database refuses it."""
    first = reading(AccountFactory(), 100, 1)
    with pytest.raises(IntegrityError), transaction.atomic():
        reading(first.account, 90, 1)
    with pytest.raises(DatabaseError), transaction.atomic():
        UsageSnapshot.objects.filter(pk=first.pk).update(used=1)


def test_the_runs_stand_on_the_engines_page() -> None:
    due = NOW - timedelta(minutes=3)
    run(not_before=due)
    run(slot="2", lease_until=NOW + timedelta(seconds=30))
    run(slot="3", lease_until=NOW - timedelta(seconds=30))
    run(slot="4", state="paused")
    [work] = [each for each in heartbeat.all_work(now=NOW) if each.route == "billing:runs"]
    assert (work.due, work.oldest_at, work.running, work.expired) == (1, due, 1, 1)
