"""Signs of life, the work that waits, the nightly check, and the page that shows them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from customers import tasks
from customers.models import Breaker, Connection, Heartbeat, InvariantCheck
from customers.monitoring import heartbeat, nightly_check, queries
from portal.notices.models import Notice
from portal.queue_settings import NAMES
from tests.customers.page_helpers import HTMX, prose_of
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory, UserFactory

pytestmark = pytest.mark.django_db
NIGHT = datetime(2026, 11, 18, 4, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def _healthy_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page shows what `manage.py doctor` finds as well; that of the tests is not durable."""
    monkeypatch.setattr(queries, "examine", lambda **_: [])


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(UserFactory(role="admin"))
    return client


def worker(
    name: str = "ops@one", *, now: datetime | None = None, queues: tuple[str, ...] = NAMES
) -> heartbeat.WorkerProcess:
    """A worker that has reported its first heartbeat."""
    process = heartbeat.WorkerProcess(name)
    process.report(queues=queues, now=now or timezone.now())
    return process


def alive(now: datetime | None = None) -> None:
    now = now or timezone.now()
    worker(now=now)
    heartbeat.record_tick(now=now)


# --- Signs of life ------------------------------------------------------------------------------------------------


def test_a_heartbeat_is_written_every_half_minute_at_most() -> None:
    one = worker(now=NIGHT)
    one.report(queues=NAMES, now=NIGHT + 29 * SECOND)
    assert Heartbeat.objects.get().seen_at == NIGHT
    one.report(queues=["sync"], now=NIGHT + 30 * SECOND)
    row = Heartbeat.objects.get()
    assert (row.started_at, row.seen_at, row.queues) == (NIGHT, NIGHT + 30 * SECOND, ["sync"])
    one.report(queues=NAMES, now=NIGHT)  # the clock was set back
    assert Heartbeat.objects.get().seen_at == NIGHT


def test_a_restarted_worker_is_updated_and_an_ended_one_hidden(admin: Client) -> None:
    now = timezone.now()
    worker(now=now - 60 * SECOND)
    second = worker(now=now)
    assert Heartbeat.objects.get().started_at == now
    second.end(now=now)
    second.report(queues=NAMES, now=now + 60 * SECOND)
    assert Heartbeat.objects.get().ended_at == now
    assert "ops@one" not in prose_of(admin.get("/engine/"))


def test_after_a_standstill_the_scheduler_counts_from_its_return() -> None:
    heartbeat.record_tick(now=NIGHT)
    heartbeat.record_tick(now=NIGHT + timedelta(minutes=2))
    assert Heartbeat.objects.get().started_at == NIGHT
    back = NIGHT + timedelta(minutes=5)
    heartbeat.record_tick(now=back)
    assert Heartbeat.objects.get().started_at == back


def test_of_ticks_that_piled_up_one_is_acted_upon() -> None:
    assert heartbeat.record_tick(now=NIGHT)
    assert not heartbeat.record_tick(now=NIGHT)
    assert not heartbeat.record_tick(now=NIGHT + SECOND)
    assert heartbeat.record_tick(now=NIGHT + 5 * SECOND)
    assert heartbeat.record_tick(now=NIGHT - timedelta(hours=1))  # the clock was set back


def test_a_tick_that_is_not_acted_upon_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[object] = []
    monkeypatch.setattr(tasks.dispatcher, "dispatch", lambda **asked: rounds.append(asked))
    for _ in range(3):
        tasks.dispatch()
    assert len(rounds) == 1


def test_the_worker_and_the_scheduler_report_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.connections, "close_all", lambda: None)
    monkeypatch.setattr(tasks, "_workers", {})
    tasks._worker_is_alive(sender=SimpleNamespace(hostname="ops@two"))
    tasks.dispatch()
    assert {each.name for each in Heartbeat.objects.exclude(kind="queue")} == {"ops@two", "scheduler"}
    tasks._worker_ends(sender=SimpleNamespace(hostname="ops@two"))
    assert {each.name for each in Heartbeat.objects.filter(ended_at=None).exclude(kind="queue")} == {"scheduler"}


# --- Queues -------------------------------------------------------------------------------------------------------


def stopped(now: datetime) -> set[str]:
    """The queues the admins are alerted about, after a look at this moment."""
    heartbeat.check_workers(now=now)
    return set(Notice.objects.filter(kind=heartbeat.QUEUE_STOPPED, ended_at=None).values_list("about", flat=True))


OTHERS = tuple(name for name in NAMES if name != "sync")


def test_a_queue_without_consumers_is_an_alarm_until_it_has_one() -> None:
    heartbeat.record_tick(now=NIGHT - timedelta(hours=1))
    ops, sync = worker("ops@one", now=NIGHT, queues=OTHERS), worker("sync@one", now=NIGHT, queues=("sync",))
    assert stopped(NIGHT) == set()
    for n in range(1, 7):  # the sync worker was killed
        ops.report(queues=OTHERS, now=NIGHT + n * 30 * SECOND)
    assert stopped(NIGHT + 120 * SECOND) == set()
    assert stopped(NIGHT + 121 * SECOND) == {"sync"}
    assert stopped(NIGHT + 180 * SECOND) == {"sync"}
    assert Notice.objects.count() == 1
    assert "Usage isn't synced." in Notice.objects.get().text
    worker("sync@two", now=NIGHT + 180 * SECOND, queues=("sync",))
    assert stopped(NIGHT + 180 * SECOND) == set()
    assert sync.started_at == NIGHT


def test_a_queue_whose_worker_was_told_to_end_is_missed_too() -> None:
    heartbeat.record_tick(now=NIGHT - timedelta(hours=1))
    ops = worker("ops@one", now=NIGHT, queues=OTHERS)
    worker("sync@one", now=NIGHT, queues=("sync",)).end(now=NIGHT)
    assert stopped(NIGHT + 119 * SECOND) == set()
    ops.report(queues=OTHERS, now=NIGHT + 121 * SECOND)
    assert stopped(NIGHT + 121 * SECOND) == {"sync"}


def test_a_queue_never_consumed_is_an_alarm_after_two_minutes() -> None:
    heartbeat.record_tick(now=NIGHT)
    ops = worker("ops@one", now=NIGHT, queues=(*OTHERS, "snyc"))  # a typing mistake in -Q
    assert stopped(NIGHT + 100 * SECOND) == set()
    ops.report(queues=[*OTHERS, "snyc"], now=NIGHT + 120 * SECOND)
    assert stopped(NIGHT + 120 * SECOND) == {"sync"}


def test_a_worker_of_an_older_version_reports_no_queue(admin: Client) -> None:
    now = timezone.now()
    heartbeat.record_tick(now=now - timedelta(hours=1))
    Heartbeat.objects.filter(name=heartbeat.SCHEDULER).update(seen_at=now)
    Heartbeat.objects.create(kind="worker", name="celery@old", started_at=now, seen_at=now)
    assert stopped(now) == set(NAMES)
    said = prose_of(admin.get("/engine/"))
    assert "celery@old" in said
    assert "not reported" in said
    worker("ops@new", now=now)
    assert stopped(now) == set()


def test_two_workers_of_one_name_are_noticed(admin: Client) -> None:
    now = timezone.now()
    first, second = worker("celery@host", now=now - 40 * SECOND), worker("celery@host", now=now - 35 * SECOND)
    assert not heartbeat.names_used_twice(heartbeat.heartbeats(now=now), now=now)  # the first may have been killed
    first.report(queues=["sync"], now=now)
    assert heartbeat.names_used_twice(heartbeat.heartbeats(now=now), now=now) == ["celery@host"]
    heartbeat.check_workers(now=now)
    notice = Notice.objects.get(kind=heartbeat.SAME_NAME, ended_at=None)
    assert notice.title == "More than one worker is named celery@host"
    assert notice.title in prose_of(admin.get("/engine/"))
    second.end(now=now)
    heartbeat.check_workers(now=now)
    assert not Notice.objects.filter(kind=heartbeat.SAME_NAME, ended_at=None).exists()


def test_the_page_names_the_queue_without_a_worker(admin: Client) -> None:
    now = timezone.now()
    heartbeat.record_tick(now=now - timedelta(hours=1))
    Heartbeat.objects.update(seen_at=now)
    worker("sync@one", now=now - timedelta(minutes=3), queues=("sync",)).end(now=now)
    worker("ops@one", now=now, queues=("ops",))
    said = prose_of(admin.get("/engine/"))
    assert "No worker consumes the sync queue" in said
    assert "Usage isn't synced." in said
    assert "No worker consumes the ops queue" not in said
    row = said[said.index("sync Usage syncs") :][:200]
    assert "No worker" in row
    assert "3 min ago" in row


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Queue, row and time of what was sent through the queues."""
    sent: list[tuple[str, int, int]] = []
    monkeypatch.setattr(heartbeat, "enqueue_on_commit", lambda _task, *ids, queue: sent.append((queue, *ids)))
    return sent


def delays(now: datetime) -> dict[str, float | None]:
    states = heartbeat.queue_states(heartbeat.heartbeats(now=now), now=now)
    return {each.queue.name: each.delay.total_seconds() if each.delay is not None else None for each in states}


def test_how_long_a_message_waits_is_measured_in_every_queue(probes: list[tuple[str, int, int]]) -> None:
    assert delays(NIGHT) == dict.fromkeys(NAMES)
    heartbeat.probe_queues(now=NIGHT)
    heartbeat.probe_queues(now=NIGHT + 5 * SECOND)
    assert [queue for queue, *_ids in probes] == list(NAMES), "one at a time"
    for queue, *ids in probes:
        heartbeat.probe_arrived(*ids, now=NIGHT + (40 if queue == "ops" else 0) * SECOND)
    assert delays(NIGHT + 45 * SECOND) == {"ops": 40.0, "clock": 0.0, "sync": 0.0}
    heartbeat.probe_queues(now=NIGHT + 45 * SECOND)
    assert delays(NIGHT + 48 * SECOND) == dict.fromkeys(NAMES, 3.0), "the next ones are on their way"
    for _queue, *ids in probes[:3]:
        heartbeat.probe_arrived(*ids, now=NIGHT + 49 * SECOND)
    assert delays(NIGHT + 50 * SECOND) == dict.fromkeys(NAMES, 5.0), "an earlier one does not speak for it"


def test_a_lost_probe_is_resent_and_its_delay_keeps_counting(
    probes: list[tuple[str, int, int]],
) -> None:
    heartbeat.probe_queues(now=NIGHT)
    heartbeat.probe_queues(now=NIGHT + 59 * SECOND)
    assert len(probes) == 3
    heartbeat.probe_queues(now=NIGHT + 60 * SECOND)
    heartbeat.probe_queues(now=NIGHT + 65 * SECOND)
    assert len(probes) == 6
    assert probes[3:] == probes[:3]
    assert delays(NIGHT + 65 * SECOND) == dict.fromkeys(NAMES, 65.0)
    nightly_check.start_nightly_check(now=NIGHT + timedelta(days=2))
    assert delays(NIGHT + timedelta(days=2)) == dict.fromkeys(NAMES, 172_800.0), "a row that waits is not let go"


@pytest.mark.usefixtures("probes")
def test_a_slow_queue_is_an_alarm_while_messages_wait_too_long(admin: Client) -> None:
    now = timezone.now()
    worker("all@one", now=now)
    heartbeat.probe_queues(now=now - timedelta(minutes=4))
    Heartbeat.objects.filter(kind="queue").exclude(name="ops").update(seen_at=now)
    Heartbeat.objects.filter(name="sync").update(started_at=now - timedelta(minutes=9))
    heartbeat.check_workers(now=now)
    title = "Messages in the ops queue are delayed by 4 min"
    notices = Notice.objects.filter(kind=heartbeat.QUEUE_LATE)
    assert list(notices.filter(about="ops").values_list("title", "ended_at")) == [(title, None)]
    assert not notices.filter(about="sync").exists(), "a chunk of the usage sync may take its time"
    assert title in prose_of(admin.get("/engine/"))
    Heartbeat.objects.filter(name="ops").update(seen_at=now - timedelta(minutes=4))
    heartbeat.check_workers(now=now)
    assert not notices.filter(about="ops", ended_at=None).exists()


# --- The nightly check ----------------------------------------------------------------------------------------------


@pytest.fixture
def pokes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    monkeypatch.setattr(nightly_check, "enqueue_on_commit", lambda *said: found.append(said))
    return found


def test_the_invariants_are_checked_once_a_night(pokes: list[tuple[Any, ...]]) -> None:
    heartbeat.record_tick(now=NIGHT - timedelta(minutes=61))
    Heartbeat.objects.update(seen_at=NIGHT)
    assert not nightly_check.start_nightly_check(now=NIGHT - timedelta(hours=1))  # not yet
    assert nightly_check.start_nightly_check(now=NIGHT)
    assert not nightly_check.start_nightly_check(now=NIGHT)  # another beat, or the same one again
    check = InvariantCheck.objects.get()
    assert pokes == [(nightly_check.CHECK, check.pk)]

    assert nightly_check.run_check(check.pk) is not None
    assert nightly_check.run_check(check.pk) is None  # a message that comes twice
    assert not nightly_check.start_nightly_check(now=NIGHT + timedelta(hours=1))
    assert nightly_check.start_nightly_check(now=NIGHT + timedelta(days=1))


def test_a_check_whose_worker_did_not_come_back_is_begun_again(pokes: list[tuple[Any, ...]]) -> None:
    heartbeat.record_tick(now=NIGHT - timedelta(hours=2))
    assert nightly_check.start_nightly_check(now=NIGHT)
    assert not nightly_check.start_nightly_check(now=NIGHT + timedelta(minutes=14))
    assert nightly_check.start_nightly_check(now=NIGHT + timedelta(minutes=16))
    assert len(pokes) == 2
    assert InvariantCheck.objects.count() == 1


def test_nothing_is_checked_right_after_a_standstill(pokes: list[tuple[Any, ...]]) -> None:
    heartbeat.record_tick(now=NIGHT - timedelta(minutes=59))
    assert not nightly_check.start_nightly_check(now=NIGHT)
    assert pokes == []


def test_what_is_long_over_is_let_go() -> None:
    worker("ops@gone", now=NIGHT - timedelta(hours=25))
    nightly_check.start_nightly_check(now=NIGHT)
    assert not Heartbeat.objects.exists()


# --- Work that waits ------------------------------------------------------------------------------------------------


def test_only_what_could_begin_now_is_due() -> None:
    now = timezone.now()
    first = OperationFactory(not_before=now - 90 * SECOND)
    OperationFactory(account=first.account, not_before=now - 60 * SECOND)  # waits for the one in front
    OperationFactory(not_before=now + 60 * SECOND)
    paused = OperationFactory(not_before=now - 60 * SECOND)
    Connection.objects.filter(pk=paused.connection_id).update(paused="person")
    OperationFactory(state="sending", lease_until=now + 60 * SECOND)
    OperationFactory(state="claimed", lease_until=now - 1 * SECOND)
    OperationFactory(state="unknown", kind="create", not_before=now - 5 * SECOND)
    operations, settling, *_others = heartbeat.all_work(now=now)
    assert (operations.due, operations.oldest_at) == (1, first.not_before)
    assert (operations.running, operations.expired) == (1, 1)
    assert (settling.due, settling.running) == (1, 0)


# --- The page -------------------------------------------------------------------------------------------------------


def test_a_quiet_engine_says_so(admin: Client) -> None:
    alive()
    ConnectionFactory(name="Main")
    answer = admin.get("/engine/")
    said = prose_of(answer)
    assert "Running normally." in said
    assert "ops@one" in said
    assert "All times are in UTC." in said
    assert "Not run yet." in said
    assert b'data-poll="10"' in answer.content
    fragment = admin.get("/engine/", **HTMX)
    assert b"<html" not in fragment.content
    assert fragment.content.strip().startswith(b'<div id="engine"')


def test_nobody_at_work_is_said_first(admin: Client) -> None:
    assert "No worker is responding" in prose_of(admin.get("/engine/"))
    now = timezone.now()
    alive(now - timedelta(minutes=3))
    assert "No worker is responding" in prose_of(admin.get("/engine/"))
    worker("ops@two", now=now)
    said = prose_of(admin.get("/engine/"))
    assert "No worker" not in said
    assert "The scheduler is not running" in said
    assert "ops@one: last heartbeat 3 min ago" in said


def test_what_stands_still_is_named(admin: Client) -> None:
    alive()
    now = timezone.now()
    OperationFactory(not_before=now - timedelta(minutes=5))
    OperationFactory(state="sending", lease_until=now - SECOND)
    ConnectionFactory(name="Refused", paused="auth", paused_reason="The key is not known there.")
    lost = ConnectionFactory(name="Far away")
    Breaker.objects.create(connection=lost, opened_at=now, retry_at=now, reason="connect timeout")
    said = prose_of(admin.get("/engine/"))
    assert "Running normally" not in said
    assert "Operations: oldest due 5 min ago" in said
    assert "1 lease expired" in said
    assert "Nothing is sent through Far away and Refused" in said
    assert "The key is not known there." in said
    assert said.index("The key is not known") > said.index("Workers")
    assert "connect timeout" in said


def test_who_waits_for_a_person_is_linked_the_first_first(admin: Client) -> None:
    alive()
    waiting = [OperationFactory(state="needs_attention") for _ in range(10)]
    OperationFactory(state="unknown", kind="suspend")  # settled by looking, not by a person
    answer = admin.get("/engine/")
    assert "10 operations need review." in prose_of(answer)
    assert "and 2 more" in prose_of(answer)
    assert f"/operations/{waiting[0].public_id}/" in answer.content.decode()
    assert f"/operations/{waiting[9].public_id}/" not in answer.content.decode()


@pytest.mark.long
def test_the_last_check_is_shown_with_what_it_found(admin: Client) -> None:
    alive()
    nightly_check.check_now()
    assert "21 passed" in prose_of(admin.get("/engine/"))
    AccountFactory(provider_id="sg<nobody>")
    nightly_check.check_now()
    answer = admin.get("/engine/")
    said = prose_of(answer)
    assert "1 integrity check failed" in said
    assert "account sg<nobody> was neither created by an operation nor linked" in said
    assert b"sg<nobody>" not in answer.content
    assert "20 passed" in said
    InvariantCheck.objects.all().delete()
    InvariantCheck.objects.create(
        slot="old", started_at=timezone.now() - timedelta(hours=51), finished_at=timezone.now(), found=[]
    )
    assert "Integrity checks haven't run for two nights" in prose_of(admin.get("/engine/"))


def test_the_number_of_queries_does_not_grow(admin: Client) -> None:
    alive()
    admin.get("/engine/")

    def queries() -> int:
        with CaptureQueriesContext(connection) as counted:
            admin.get("/engine/")
        return len(counted)

    few = queries()
    for n in range(20):
        OperationFactory(state=("queued", "needs_attention", "unknown", "claimed")[n % 4])
        worker(f"ops@{n}")
    assert queries() == few
    assert few <= 30


@pytest.mark.parametrize(("role", "status"), [("auditor", 200), ("finance", 403), ("customer_success", 403)])
def test_admins_and_auditors_may_look(client: Client, role: str, status: int) -> None:
    client.force_login(UserFactory(role=role))
    assert client.get("/engine/").status_code == status
    shown = client.get("/").content.decode()
    assert ('href="/engine/"' in shown) is (status == 200)
