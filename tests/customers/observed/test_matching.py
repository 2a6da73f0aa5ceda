"""The order of events is the database's: its keys and its clock, never a worker's."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module

import pytest
import time_machine
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from customers import tasks
from customers.models import Heartbeat, Operation, RemoteAccount
from customers.monitoring import heartbeat
from customers.observed import account_list, matching
from customers.operations import executor
from customers.reconcile import link as account_link
from portal.access.models import User
from portal.clock import database_now
from portal.commands import Command
from portal.refusals import Refusal
from tests.customers.conftest import Desk
from tests.customers.operations.test_create_search import creates, later, unknown
from tests.customers.page_helpers import text_of
from tests.support.people import sign_in

postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite has no clock of its own: all processes are on one machine"
)


@postgresql
@pytest.mark.parametrize("minutes", [-15, -4, 4, 15])
def test_a_worker_whose_clock_is_wrong_orders_nothing(desk: Desk, minutes: int) -> None:
    desk.sandbox.admin.arm("create-then-504", "create")
    operation = desk.ask_create()
    right = database_now()
    with time_machine.travel(timezone.now() + timedelta(minutes=minutes)):
        executor.perform(operation.pk, connect=desk.connect)
        heartbeat.WorkerProcess("celery@fast").report(queues=["ops"], now=timezone.now())
    operation.refresh_from_db()
    sent = operation.attempts.get()
    assert abs(sent.intended_at - right) < timedelta(seconds=30)
    assert abs(operation.unknown_at - right) < timedelta(seconds=30)
    assert abs(sent.clock_skew) <= 2
    assert abs(Heartbeat.objects.get(name="celery@fast").clock_skew - minutes * 60) <= 2
    later(desk, operation, seconds=121)
    assert (operation.state, creates(desk)) == ("succeeded", 1)


@postgresql
def test_a_fast_worker_takes_no_lease_from_a_living_one(desk: Desk) -> None:
    operation = desk.ask_create()
    Operation.objects.filter(pk=operation.pk).update(
        state="sending", concurrency_key="x", lease_until=database_now() + timedelta(seconds=90)
    )
    with time_machine.travel(timezone.now() + timedelta(minutes=15)):
        tasks.dispatch()
    operation.refresh_from_db()
    assert operation.state == "sending"


def test_what_was_listed_before_a_send_is_told_by_keys(desk: Desk) -> None:
    """Whatever the clocks say: a remote account stored before the intent was there before the send."""
    desk.sandbox.admin.add_account(email="ops@northwind.example")
    scan, _ = account_list.begin_scan(connection=desk.connection, kind="asked", slot="a", now=timezone.now())
    account_list.read_account_list(scan, desk.connect(desk.connection))
    RemoteAccount.objects.update(made_at=None, first_seen_at=timezone.now() + timedelta(days=1))
    operation = unknown(desk, "status-504")
    [create] = matching.open_creates(desk.connection)
    assert create.window.excludes(RemoteAccount.objects.get())
    assert create.window.mark == RemoteAccount.objects.get().pk
    assert operation.attempts.get().scan_mark == scan.pk


def test_an_account_of_an_open_create_is_not_linked_elsewhere(desk: Desk, client: Client) -> None:
    operation = unknown(desk, "create-then-504")
    [made] = desk.sandbox.admin.accounts()
    desk.sandbox.admin.change_account(made["id"], email="hello@changed.example")
    scan, _ = account_list.begin_scan(connection=desk.connection, kind="asked", slot="a", now=timezone.now())
    account_list.read_account_list(scan, desk.connect(desk.connection))
    page = sign_in(client, desk.person).get(reverse("customers:orphans"))
    assert operation.code in text_of(page)
    with pytest.raises(Refusal, match=operation.code):
        account_link.link_account(
            Command(desk.person, timezone.now()),
            remote_account=RemoteAccount.objects.get(),
            customer=desk.customer("else@globex.example"),
            provider=desk.connect(desk.connection),
        )


def test_one_open_create_for_each_mailbox_in_whatever_spelling(desk: Desk) -> None:
    unknown(desk, "status-504", "info@xn--mller-idn-q9a.example")
    with pytest.raises(Refusal, match="already being created"):
        desk.ask_create("INFO@MÜLLER-IDN.example")
    assert desk.ask_create("strasse@northwind.example").identity != desk.ask_create("straße@northwind.example").identity


def test_open_creates_of_before_get_the_new_identity(desk: Desk) -> None:
    migration = import_module("customers.migrations.0013_matching")
    first = desk.ask_create("straße@müller-idn.example")
    second = desk.ask_create("info@northwind.example")
    Operation.objects.filter(pk=first.pk).update(identity="strasse@müller-idn.example")
    Operation.objects.filter(pk=second.pk).update(identity="info@northwind.example")
    twin = desk.ask_create("b@müller-idn.example")
    Operation.objects.filter(pk=twin.pk).update(identity="b@müller-idn.example")
    desk.ask_create("b@müller-idn.example")
    RemoteAccount.objects.create(connection=desk.connection, provider_id="sg1", email="a@northwind.example")
    then = MigrationExecutor(connection).loader.project_state(("customers", "0013_matching")).apps
    migration.rewrite_identities(then, None)
    migration.keep_addresses(then, None)
    first.refresh_from_db()
    twin.refresh_from_db()
    assert first.identity == "straße@xn--mller-idn-q9a.example"
    assert twin.identity == "b@müller-idn.example"  # the other one has the new form already
    assert RemoteAccount.objects.get().first_email == "a@northwind.example"


def test_an_attempt_of_before_is_judged_by_its_times(desk: Desk) -> None:
    """Without a mark and a measured clock nothing is adopted, and what is older than hours is explained."""
    operation = unknown(desk, "create-then-504")
    attempt = operation.attempts.get()
    attempt.clock_skew = attempt.remote_account_mark = None
    window = matching.Window.of(attempt)
    at = attempt.intended_at
    assert not window.is_since(at + timedelta(seconds=1))
    assert window.is_before(at - timedelta(hours=13))
    assert not window.is_before(at - timedelta(hours=11))
    old = RemoteAccount(pk=1, made_at=at - timedelta(hours=1), first_seen_at=at - timedelta(minutes=5))
    assert window.excludes(old)
    old.first_seen_at = at
    assert not window.excludes(old)


def test_a_wrong_clock_shows_on_the_system_page(desk: Desk, client: Client) -> None:
    desk.sandbox.admin.switch("clock_skew_seconds", -240)
    scan, _ = account_list.begin_scan(connection=desk.connection, kind="asked", slot="a", now=timezone.now())
    account_list.read_account_list(scan, desk.connect(desk.connection))
    for name, skew in (("celery@fast", 900.0), ("celery@right", 2.0), ("celery@zone", -7230.0)):
        process = heartbeat.WorkerProcess(name, clock_skew=lambda seconds=skew: seconds)
        process.report(queues=["ops"], now=timezone.now() + timedelta(seconds=skew))
    admin = User.objects.create_user(email="admin@postkeeper.example", name="Admin", role="admin")
    page = text_of(sign_in(client, admin).get("/engine/"))
    assert "The clock of celery@fast is 900 seconds fast" in page
    assert "The clock of celery@zone is 2 h slow" in page
    assert "The clock of celery@right" not in page
    assert f"The clock of {desk.connection.name} is 2" in page
