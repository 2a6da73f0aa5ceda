"""After a restore nothing is sent until a connection was scanned and released; and what happened since the backup is
listed, found, and not done twice. The sandbox keeps what the rows forget: a savepoint plays backup and restore."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import Settings

from billing.models import SyncRun
from billing.usage import due_runs
from customers import dispatcher
from customers.connections import commands as connection_commands
from customers.models import Attempt, Connection, Heartbeat, Operation, Recovery, RemoteAccount, Scan
from customers.observed import scan_requests
from customers.observed.accounts import read_account
from customers.operations.commands import cancel_operation
from customers.operations.explain import explanation
from customers.recovery import commands, hold, invariants, queries
from portal.audit.models import AuditEvent
from portal.clock import database_now
from portal.commands import Command
from portal.installation import epochs
from portal.installation.models import Epoch
from portal.notices.models import Notice
from portal.refusals import Refusal
from tests.customers.conftest import ADDON, BIGGER, Desk
from tests.customers.recovery.restoring import lost_by_the_restore, release, scan
from tests.support.redis import Redis


@pytest.fixture(autouse=True)
def _epochs_of_this_test(db: None) -> Iterator[None]:
    epochs.forget_epoch()
    yield
    epochs.forget_epoch()


def _broken() -> list[str]:
    return list(invariants.sent_in_another_epoch(timezone.now()))


def _creates(desk: Desk) -> int:
    return len(desk.sandbox.admin.accounts())


def _changes(desk: Desk) -> int:
    """How many requests of the sandbox's log changed something."""
    return sum(each["method"] != "GET" for each in desk.sandbox.admin.requests())


def test_nothing_is_sent_on_hold(desk: Desk) -> None:
    waiting = desk.ask_create("waits@northwind.example")
    change = desk.ask_offerings(desk.created(), [BIGGER, ADDON])
    with lost_by_the_restore():
        pass
    sent = _changes(desk)
    later = database_now() + timedelta(days=1)
    assert dispatcher.due_operations(now=later) == []
    for each in (waiting, change):
        assert desk.perform(each, at=later).state == "queued"
    assert _changes(desk) == sent
    change.connection.refresh_from_db()
    assert (
        explanation(change) == "The connection is on hold after a restore. Nothing is sent until an admin releases it."
    )
    desk.connection.refresh_from_db()
    with pytest.raises(Refusal, match="is paused"):
        desk.ask_create("another@northwind.example")


def test_it_is_read_on_hold_and_what_is_older_is_read_again(desk: Desk) -> None:
    account = desk.created()
    with lost_by_the_restore():
        desk.sandbox.admin.set_state(account.provider_id, "suspended")
    desk.connection.refresh_from_db()
    assert desk.connection.is_readable
    now = database_now()
    assert dispatcher.next_accounts_to_read(now=now) == [account.pk]
    read_account(account=desk.account(account.operations.get()), now=now, provider=desk.connect(desk.connection))
    assert dispatcher.next_accounts_to_read(now=database_now()) == []
    scan(desk)
    [held] = queries.connections_on_hold()["held"]
    assert (held.different, held.read, held.accounts, held.missing) == (1, 1, 1, 0)


def test_accounts_made_since_the_backup_are_listed(desk: Desk) -> None:
    desk.created()
    with lost_by_the_restore():
        made = {desk.created(f"made-{n}@northwind.example").provider_id for n in range(3)}
    assert Operation.objects.count() == 1
    scan(desk)
    [held] = queries.connections_on_hold()["held"]
    assert {each.provider_id for each in held.created} == made
    assert held.created_count == 3
    assert held.is_scanned


def test_a_create_sent_since_the_backup_is_found_not_repeated(desk: Desk) -> None:
    create = desk.ask_create()
    with lost_by_the_restore():
        made = desk.perform(create)
        assert made.state == "succeeded"
        made_id = desk.account(made).provider_id
    scan(desk)
    [held] = queries.connections_on_hold()["held"]
    assert held.operations == {"queued": 0, "searched": 1, "review": 0}
    release(desk)
    found = desk.drain(create)
    assert (found.state, desk.account(found).provider_id) == ("succeeded", made_id)
    assert _creates(desk) == 1
    [attempt] = found.attempts.all()
    assert (attempt.outcome, attempt.epoch) == ("unknown", 1)
    assert [step.after for step in found.steps.all()] == ["queued", "claimed", "sending", "unknown", "succeeded"]
    assert _broken() == []


def test_a_create_never_sent_is_sent_once_its_absence_is_proven(desk: Desk) -> None:
    create = desk.ask_create()
    with lost_by_the_restore():
        pass
    scan(desk)
    release(desk)
    done = desk.drain(create)
    assert done.state == "succeeded", done.summary
    assert _creates(desk) == 1
    assert [each.epoch for each in done.attempts.all()] == [1, 2]
    assert _broken() == []


def test_a_change_sent_since_the_backup_is_not_sent_again(desk: Desk) -> None:
    change = desk.ask_offerings(desk.created(), [BIGGER, ADDON])
    with lost_by_the_restore():
        assert desk.perform(change).state == "succeeded"
    scan(desk)
    release(desk)
    sent = _changes(desk)
    assert desk.drain(change).state == "succeeded"
    assert _changes(desk) == sent


def test_an_unknown_create_is_searched_anew(desk: Desk) -> None:
    """Absence that was proven half before the backup doesn't count: it may have been sent again since."""
    create = desk.ask_create()
    desk.sandbox.admin.arm("after-status-500", "create")
    assert desk.perform(create).state == "unknown"
    with lost_by_the_restore():
        pass
    create.refresh_from_db()
    assert create.unknown_at == Recovery.objects.get().began_at
    assert create.recovery is None, "its own attempt is searched for"


def test_a_release_waits_for_a_scan_and_for_leases(desk: Desk) -> None:
    create = desk.ask_create()
    with lost_by_the_restore():
        pass
    with pytest.raises(Refusal, match="wasn't scanned"):
        release(desk)
    scan(desk)
    Operation.objects.filter(pk=create.pk).update(
        state="claimed", concurrency_key="x", lease_until=database_now() + timedelta(seconds=90)
    )
    recovery = Recovery.objects.get()
    with pytest.raises(Refusal, match="in progress at the backup"):
        commands.release_connection(Command(desk.person), recovery=recovery)
    Operation.objects.filter(pk=create.pk).update(state="queued", lease_until=None)
    commands.release_connection(Command(desk.person, database_now()), recovery=recovery)
    with pytest.raises(Refusal, match="already"):
        commands.release_connection(Command(desk.person, database_now()), recovery=recovery)
    assert AuditEvent.objects.filter(verb=commands.RELEASED).count() == 1


def test_a_failed_scan_is_tried_again_and_a_complete_one_is_not(desk: Desk) -> None:
    desk.created()
    with lost_by_the_restore():
        pass
    now = database_now()
    commands.request_scans_on_hold(now=now)
    Scan.objects.filter(state="running").update(state="incomplete", finished_at=now, message="in a test")
    commands.request_scans_on_hold(now=now + timedelta(minutes=1))
    assert Scan.objects.count() == 1
    commands.request_scans_on_hold(now=now + timedelta(minutes=3))
    assert Scan.objects.count() == 2
    scan_requests.run_scan(Scan.objects.get(state="running").pk, connect=desk.connect)
    commands.request_scans_on_hold(now=now + timedelta(hours=3))
    assert Scan.objects.count() == 2


def test_a_pause_from_before_is_in_force_again(desk: Desk) -> None:
    connection_commands.pause_connection(Command(desk.person, reason="Contract talks."), connection=desk.connection)
    with lost_by_the_restore():
        pass
    desk.connection.refresh_from_db()
    assert desk.connection.is_on_hold
    connection_commands.resume_connection(Command(desk.person), connection=desk.connection)
    assert desk.connection.is_on_hold, "only a release ends a hold"
    scan(desk)
    release(desk)
    assert (desk.connection.paused, desk.connection.paused_reason) == ("person", "Contract talks.")


def test_a_second_restore_keeps_the_first_hold(desk: Desk) -> None:
    connection_commands.pause_connection(Command(desk.person, reason="Contract talks."), connection=desk.connection)
    with lost_by_the_restore():
        pass
    first = Recovery.objects.get()
    hold.hold_everything("again", backup_at=database_now())
    second = Recovery.objects.get(released_at=None)
    assert second.pk != first.pk
    assert (second.epoch, second.backup_at) == (3, first.backup_at)
    assert (second.paused_before, second.remote_account_mark) == ("person", first.remote_account_mark)


def test_all_sessions_end(desk: Desk) -> None:
    Session.objects.create(session_key="x", session_data="", expire_date=timezone.now() + timedelta(days=1))
    with lost_by_the_restore():
        pass
    assert not Session.objects.exists()


def test_i10_finds_what_was_sent_on_hold_or_by_an_old_process(desk: Desk) -> None:
    create = desk.ask_create()
    with lost_by_the_restore():
        pass
    sent = {"operation": create, "fence": 1, "call": "create", "intended_at": database_now()}
    Attempt.objects.create(n=1, epoch=2, **sent)
    on_hold = f"{create.code} was sent while its connection was on hold after a restore"
    assert _broken() == [on_hold]
    scan(desk)
    release(desk)
    sent["intended_at"] = database_now()
    Attempt.objects.create(n=2, epoch=2, **sent)
    assert _broken() == [on_hold]
    Attempt.objects.create(n=3, epoch=1, **sent)
    assert _broken() == [f"{create.code} was sent in epoch 1, but epoch 2 had begun", on_hold]


def test_a_copied_database_is_noticed_by_the_next_worker(desk: Desk, settings: Settings) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no identity: a copied file is noticed by `manage.py restore` alone")
    settings.IS_WORKER = True
    epochs.check_database(connection)
    assert Epoch.objects.get().database.count(":") == 1
    epochs.check_database(connection)
    assert Epoch.objects.count() == 1
    Epoch.objects.update(database="7000000000000000001:16384")
    epochs.check_database(connection)
    desk.connection.refresh_from_db()
    assert desk.connection.is_on_hold
    assert Epoch.objects.count() == 2
    assert AuditEvent.objects.filter(verb=hold.RESTORED, reason__contains="7000000000000000001").exists()
    epochs.check_database(connection)
    assert Epoch.objects.count() == 2, "once"


@pytest.mark.redis
def test_rows_that_went_back_are_noticed(desk: Desk, settings: Settings, redis_server: Redis) -> None:
    settings.REDIS_URL = redis_server.url
    epochs.check_last_rows()
    desk.created()
    epochs.check_last_rows()
    desk.connection.refresh_from_db()
    assert not desk.connection.is_on_hold
    backup = transaction.savepoint()
    desk.created("later@northwind.example")
    epochs.check_last_rows()
    transaction.savepoint_rollback(backup)
    epochs.check_last_rows()
    desk.connection.refresh_from_db()
    assert desk.connection.is_on_hold
    assert Epoch.objects.get().number == 2
    epochs.check_last_rows()
    assert Epoch.objects.get().number == 2, "once"
    redis.Redis.from_url(redis_server.url).flushall()
    epochs.check_last_rows()
    assert Epoch.objects.get().number == 2, "an empty Redis says nothing"


def test_creates_are_searched_for_together(desk: Desk) -> None:
    """Also where nothing could prove whose account is whose: one at a time is for what is sent."""
    Connection.objects.update(probe_available=False)
    creates = [desk.ask_create(f"made-{n}@northwind.example") for n in range(3)]
    with lost_by_the_restore():
        desk.drain(creates[0])
    scan(desk)
    release(desk)
    desk.perform(creates[1])
    assert {each.state for each in Operation.objects.all()} == {"unknown"}
    assert Attempt.objects.count() == 3


def test_a_create_that_may_have_been_sent_cannot_be_canceled(desk: Desk) -> None:
    create = desk.ask_create()
    with lost_by_the_restore():
        pass
    create.refresh_from_db()
    with pytest.raises(Refusal, match="may have been sent after the backup"):
        cancel_operation(Command(desk.person), operation=create)


def test_a_lost_request_is_not_made_again(desk: Desk) -> None:
    with lost_by_the_restore():
        made = desk.created("lost@northwind.example").provider_id
    scan(desk)
    release(desk)
    with pytest.raises(Refusal, match=f"{made} at SendGrid test is such an account"):
        desk.ask_create("lost@northwind.example")


def test_a_rejected_key_stops_reading_until_it_is_replaced(desk: Desk) -> None:
    with lost_by_the_restore():
        pass
    desk.connection.refresh_from_db()
    connection_commands.pause_for_auth(desk.connection, message="The key was rejected.", now=database_now())
    desk.connection.refresh_from_db()
    assert (desk.connection.paused, desk.connection.is_readable) == ("auth", False)
    assert Notice.objects.filter(kind=connection_commands.KEY_REFUSED, ended_at=None).exists()
    commands.request_scans_on_hold(now=database_now())
    assert not Scan.objects.exists()
    connection_commands.resume_connection(Command(desk.person), connection=desk.connection)
    desk.connection.refresh_from_db()
    assert desk.connection.is_on_hold
    scan(desk)
    release(desk)
    assert desk.connection.paused == ""


def test_a_key_rejected_before_the_backup_is_not_tried(desk: Desk) -> None:
    connection_commands.pause_for_auth(desk.connection, message="The key was rejected.", now=database_now())
    with lost_by_the_restore():
        pass
    desk.connection.refresh_from_db()
    assert desk.connection.paused == "auth"
    with pytest.raises(Refusal, match="wasn't scanned"):
        release(desk)


def test_an_implausible_list_is_scanned_again_after_an_hour(desk: Desk) -> None:
    with lost_by_the_restore():
        pass
    now = database_now()
    commands.request_scans_on_hold(now=now)
    Scan.objects.update(state="refused", finished_at=now)
    commands.request_scans_on_hold(now=now + timedelta(minutes=59))
    assert Scan.objects.count() == 1
    commands.request_scans_on_hold(now=now + timedelta(minutes=61))
    recovery = Recovery.objects.get()
    assert Scan.objects.filter(state="running").count() == 1
    assert commands.cannot_be_scanned(recovery), "the next scan doesn't take the choice away"


def test_usage_is_synced_on_hold(desk: Desk) -> None:
    desk.created()
    with lost_by_the_restore():
        pass
    due_runs.tick(now=database_now().replace(hour=12))
    assert SyncRun.objects.filter(kind="nightly").count() == 1


def test_a_detected_restore_counts_from_the_last_tick(desk: Desk) -> None:
    """Since the restore, people may have signed in and workers may have begun."""
    ticked = database_now() - timedelta(hours=14)
    Heartbeat.objects.create(kind="scheduler", name="scheduler", started_at=ticked, seen_at=ticked)
    desk.created()
    hold.hold_everything("found in a test")
    assert Recovery.objects.get().backup_at == ticked


def test_accounts_listed_since_the_rows_ended_count_as_new(desk: Desk) -> None:
    """Where the restore is noticed hours later, a scan may have listed them before."""
    before = database_now()
    seen = {"connection": desk.connection, "last_seen_at": before}
    old = RemoteAccount.objects.create(provider_id="old", first_seen_at=before - timedelta(days=1), **seen)
    RemoteAccount.objects.create(provider_id="new", first_seen_at=before, **seen)
    hold.hold_everything("an hour later", backup_at=before - timedelta(hours=1))
    assert Recovery.objects.get().remote_account_mark == old.pk


def test_identities_are_compared_by_what_both_have() -> None:
    assert epochs._is_same("7:16384", "7:16384")
    assert epochs._is_same("7:16384", ":16384"), "the role lost the right to ask"
    assert not epochs._is_same("7:16384", "8:16384")
    assert not epochs._is_same(":16384", ":16385")
