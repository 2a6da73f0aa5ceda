"""Walks through the provider's list: what they keep, and what they refuse to conclude."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from customers.models import Account, RemoteAccount, Scan
from customers.observed import account_list
from tests.customers.conftest import Desk


def walked(desk: Desk, *, after: timedelta = timedelta(0)) -> Scan:
    now = timezone.now() + after
    scan, begun = account_list.begin_scan(connection=desk.connection, kind=Scan.Kind.ASKED, slot=uuid4().hex, now=now)
    assert begun
    return account_list.read_account_list(scan, desk.connect(desk.connection), clock=lambda: now)


def remote_account(desk: Desk, provider_id: str | None) -> RemoteAccount:
    return RemoteAccount.objects.get(connection=desk.connection, provider_id=provider_id)


def strangers(desk: Desk, n: int) -> list[str]:
    rows = [{"email": f"stranger-{i}@globex.example"} for i in range(n)]
    return [row["id"] for row in desk.sandbox.admin.add_accounts(rows)]


def test_a_walk_keeps_what_is_there_and_knows_whose_it_is(desk: Desk) -> None:
    ours = desk.created()
    theirs = strangers(desk, 120)
    scan = walked(desk)
    assert (scan.state, scan.seen, scan.first_seen, scan.orphans, scan.missing) == ("complete", 121, 121, 120, 0)
    assert {each.provider_id for each in RemoteAccount.objects.orphans()} == set(theirs)
    assert remote_account(desk, ours.provider_id).email == "ops@northwind.example"
    again = walked(desk)
    assert (again.seen, again.first_seen, again.orphans) == (121, 0, 120)
    assert remote_account(desk, ours.provider_id).first_seen_at == scan.started_at


def test_missing_is_gone_after_two_full_scans_12_hours_apart(desk: Desk) -> None:
    ours = desk.created()
    walked(desk)
    desk.sandbox.admin.call("DELETE", f"accounts/{ours.provider_id}")
    first = walked(desk, after=timedelta(hours=1))
    assert first.missing == 1
    assert remote_account(desk, ours.provider_id).missing_since == first.started_at
    walked(desk, after=timedelta(hours=12))
    assert remote_account(desk, ours.provider_id).gone_at is None
    last = walked(desk, after=timedelta(hours=13, seconds=1))
    assert remote_account(desk, ours.provider_id).gone_at == last.started_at
    ours.refresh_from_db()
    assert ours.state == "active"  # a walk reports; people act


def test_what_comes_back_is_not_missing_any_more(desk: Desk) -> None:
    ours = desk.created()
    desk.sandbox.admin.switch("list_lag_seconds", 3600)
    late = desk.created("late@northwind.example")
    walked(desk)
    assert remote_account(desk, late.provider_id).missing_since is not None
    assert remote_account(desk, late.provider_id).first_seen_at is None
    desk.sandbox.admin.move_clock(seconds=3700)
    found = walked(desk, after=timedelta(hours=2))
    assert remote_account(desk, late.provider_id).missing_since is None
    assert remote_account(desk, late.provider_id).first_seen_at == found.started_at
    assert remote_account(desk, ours.provider_id).missing_since is None


@pytest.mark.parametrize("fault", ["status-500", "html-200", "truncated", "reset"])
def test_a_walk_that_breaks_off_concludes_nothing(desk: Desk, fault: str) -> None:
    ours = desk.created()
    strangers(desk, 150)
    walked(desk)
    desk.sandbox.admin.call("DELETE", f"accounts/{ours.provider_id}")
    desk.sandbox.admin.arm(fault, "list", count=None, after=1)
    broken = walked(desk, after=timedelta(hours=1))
    assert broken.state == "incomplete"
    assert broken.message
    assert not RemoteAccount.objects.filter(missing_since__isnull=False).exists()


def test_a_list_that_lacks_much_at_once_is_not_believed(desk: Desk) -> None:
    ids = strangers(desk, 20)
    walked(desk)
    for provider_id in ids[:8]:
        desk.sandbox.admin.call("DELETE", f"accounts/{provider_id}")
    refused = walked(desk, after=timedelta(hours=1))
    assert refused.state == "refused"
    assert "8 of 20" in refused.message
    assert not RemoteAccount.objects.filter(missing_since__isnull=False).exists()


def test_one_walk_at_a_time_and_a_dead_one_is_closed(desk: Desk) -> None:
    now = timezone.now()
    first, _ = account_list.begin_scan(connection=desk.connection, kind=Scan.Kind.ASKED, slot="a", now=now, taken=True)
    second, begun = account_list.begin_scan(connection=desk.connection, kind=Scan.Kind.ASKED, slot="b", now=now)
    assert (second, begun) == (first, False)
    later: datetime = now + Scan.LEASE + timedelta(seconds=1)
    third, begun = account_list.begin_scan(connection=desk.connection, kind=Scan.Kind.ASKED, slot="b", now=later)
    assert begun
    assert third != first
    first.refresh_from_db()
    assert first.state == "incomplete"
    desk.created()
    assert (
        account_list.read_account_list(first, desk.connect(desk.connection)).state == "incomplete"
    )  # its lease was lost
    assert not RemoteAccount.objects.exists()


def test_a_deleted_account_of_ours_is_not_missed(desk: Desk) -> None:
    ours = desk.created()
    walked(desk)
    desk.perform(desk.ask("delete", ours))
    assert Account.objects.get(pk=ours.pk).state == "deleted"
    assert walked(desk, after=timedelta(hours=1)).missing == 0
    assert not RemoteAccount.objects.orphans().exists()
