"""The pages of usage syncs: who may start one, its progress, and its errors by cause."""

from __future__ import annotations

import html
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.models import SyncItem, SyncRun
from billing.usage.queries import with_last_run
from customers.models import Connection
from tests.billing.reports.test_views import an_account
from tests.support.factories import ConnectionFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _now(time_machine: Any) -> None:
    time_machine.move_to(NOW, tick=False)


@pytest.fixture
def finance(client: Client) -> Client:
    return sign_in(client, UserFactory(role="finance"))


@pytest.mark.parametrize("role", ["admin", "finance", "customer_success", "auditor"])
def test_who_may_start_a_run(client: Client, role: str) -> None:
    sign_in(client, UserFactory(role=role))
    connection = ConnectionFactory()
    an_account(connection=connection)
    facts = {"connection": str(connection.public_id), "client_token": "t1"}
    response = client.post(reverse("billing:run-start"), facts)
    assert response.status_code == (303 if role in ("admin", "finance") else 403)
    assert SyncRun.objects.count() == (1 if role in ("admin", "finance") else 0)
    assert client.get(reverse("billing:runs")).status_code == 200
    assert client.get(reverse("billing:usage")).status_code == 200
    assert ("Sync now" in client.get(reverse("billing:runs")).content.decode()) is (role in ("admin", "finance"))


def test_a_double_click_is_one_run(finance: Client) -> None:
    connection = ConnectionFactory()
    an_account(connection=connection)
    facts = {"connection": str(connection.public_id), "client_token": "same"}
    answers = [finance.post(reverse("billing:run-start"), facts) for _ in range(3)]
    assert len({answer["Location"] for answer in answers}) == 1
    assert SyncRun.objects.count() == 1


def test_a_paused_connection_is_refused_in_words(finance: Client) -> None:
    connection = ConnectionFactory(paused="person", name="Paused one")
    an_account(connection=connection)
    facts = {"connection": str(connection.public_id), "client_token": "t"}
    text = finance.post(reverse("billing:run-start"), facts, follow=True).content.decode()
    assert "Paused one is paused" in text
    assert SyncRun.objects.count() == 0


def make_run(state: str, **counts: int) -> SyncRun:
    connection = ConnectionFactory()
    return SyncRun.objects.create(
        connection=connection,
        kind="nightly",
        slot="2026-11-20",
        source="credits",
        state=state,
        not_before=NOW,
        until=NOW + timedelta(hours=20),
        started_at=NOW,
        **counts,
    )


def test_the_progress_polls_until_the_run_has_ended(finance: Client) -> None:
    run = make_run("running", total=4, done=1)
    address = reverse("billing:run-progress", args=[run.public_id])
    running = finance.get(address, headers={"HX-Request": "true"}).content.decode()
    assert 'data-poll="2"' in running
    assert ">4</span> accounts" in running
    SyncRun.objects.filter(pk=run.pk).update(state="complete", done=4, finished_at=timezone.now())
    ended = finance.get(address, headers={"HX-Request": "true"}).content.decode()
    assert "data-poll" not in ended
    assert "Completed" in ended


def test_the_page_says_what_limits_a_sync(finance: Client) -> None:
    run = make_run("running", total=4, done=1)
    address = reverse("billing:run", args=[run.public_id])
    assert "Speed limited by" not in finance.get(address).content.decode()
    SyncRun.objects.filter(pk=run.pk).update(limit="quota")
    text = finance.get(address).content.decode()
    assert "Speed limited by" in text
    assert "The connection's requests per minute" in html.unescape(text)


def test_errors_stand_by_cause_with_links(finance: Client) -> None:
    run = make_run("complete_with_errors", total=3, failed=3)
    accounts = [an_account(connection=run.connection) for _ in range(3)]
    for account, cause in zip(accounts, ("not_found", "not_found", "no_user_name"), strict=True):
        SyncItem.objects.create(run=run, account=account, state="failed", cause=cause, message="<b>said</b>", tries=1)
    response = finance.get(reverse("billing:run", args=[run.public_id]))
    groups = response.context["facts"].failed
    assert [group.count for group in groups] == [2, 1]
    text = response.content.decode()
    assert reverse("customers:account", args=[accounts[0].public_id]) in text
    assert "The account has no v2 username" in text
    assert "&lt;b&gt;said" in text
    assert "Retry failed accounts" in text


def test_the_home_page_is_told_of_the_last_runs() -> None:
    run = make_run("complete", total=0)
    bare = ConnectionFactory()
    found = {connection.name: run for connection, run in with_last_run(Connection.objects.all())}
    assert found == {run.connection.name: run, bare.name: None}
