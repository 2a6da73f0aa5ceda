"""Exports of large reports are written by a worker; whatever fails is tried again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import FigureVersion, UsagePeriod
from billing.reports import exports
from billing.tasks import advance_exports, prepare_export
from billing.usage.exported import mark_exported
from billing.usage.figures import FIGURE
from billing.usage.ledger import last_batch
from tests.billing.exports.support import (
    IN_MONTH,
    NOW,
    a_customer_account,
    content_of,
    csv_rows,
    export,
    read_over,
    read_usage,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every report counts as large."""
    monkeypatch.setattr(exports, "AT_ONCE", 0)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Task messages that were sent."""
    found: list[Any] = []
    monkeypatch.setattr("portal.queue.current_app.send_task", lambda task, args, **_: found.append((task, args)))
    return found


def test_a_large_export_is_written_by_a_worker(
    finance: Client, large: None, sent: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    read_over(a_customer_account(), 500)
    with django_capture_on_commit_callbacks(execute=True):
        kept = export(finance, month="2026-10")
    assert sent == [("billing.prepare_export", (kept.pk,))]
    page = finance.get(reverse("billing:usage-export-detail", args=[kept.public_id]))
    assert (kept.state, kept.file) == ("preparing", None)
    assert 'data-poll="' in page.content.decode()
    assert finance.get(reverse("billing:usage-export-file", args=[kept.public_id])).status_code == 404

    prepare_export(kept.pk)
    fragment = finance.get(reverse("billing:usage-export-progress", args=[kept.public_id])).content.decode()
    assert 'data-poll="' not in fragment
    kept.refresh_from_db()
    assert fragment.count(kept.sha256) >= 1
    assert [row["Emails (least)"] for row in csv_rows(content_of(finance, kept))] == ["500"]
    before = (kept.sha256, kept.batch)
    prepare_export(kept.pk)
    kept.refresh_from_db()
    assert (kept.sha256, kept.batch) == before, "a message that came twice"


def test_a_lost_message_is_sent_again(
    finance: Client, large: None, sent: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    read_over(a_customer_account(), 500)
    kept = export(finance, month="2026-10")
    with django_capture_on_commit_callbacks(execute=True):
        advance_exports()
    assert sent == [("billing.prepare_export", (kept.pk,))]


def test_a_failed_export_is_tried_again_and_then_fails(
    finance: Client, monkeypatch: pytest.MonkeyPatch, time_machine: Any
) -> None:
    read_over(a_customer_account(), 500)
    monkeypatch.setattr(exports, "export_lines", lambda _: iter(["too", "many", "rows"]))
    kept = export(finance, month="2026-10")
    assert (kept.state, kept.tries) == ("preparing", 1)
    for minutes in (2, 4, 6):
        exports.prepare_export(kept.pk, now=kept.requested_at + timedelta(minutes=minutes))
    kept.refresh_from_db()
    assert (kept.state, kept.tries, kept.lease_until) == ("failed", exports.TRIES, None)
    page = finance.get(reverse("billing:usage-export-detail", args=[kept.public_id])).content.decode()
    assert "The file couldn't be written" in page
    assert exports.due_exports(now=kept.requested_at + timedelta(days=1)) == []


def test_an_open_figure_has_versions_from_its_export_on(finance: Client) -> None:
    account = a_customer_account()
    period = read_usage(account, 500, at=IN_MONTH)
    assert (period.version, period.exported) == (0, False)
    kept = export(finance, month="2026-10")
    period.refresh_from_db()
    assert (period.version, period.exported) == (1, True)
    version = FigureVersion.objects.get()
    assert (version.n, version.cause, version.at, version.to_batch) == (1, "export", kept.requested_at, None)
    assert version.from_batch <= (kept.batch or 0)
    assert [getattr(version, name) for name in (*FIGURE, "read_at", "account")] == [
        getattr(period, name) for name in (*FIGURE, "read_at", "account")
    ]
    read_usage(account, 600, at=IN_MONTH + timedelta(days=1))
    assert list(FigureVersion.objects.order_by("n").values_list("n", "used")) == [(1, 500), (2, 600)]
    assert UsagePeriod.objects.get().exported


def test_another_export_adds_no_version(finance: Client) -> None:
    read_usage(a_customer_account(), 500, at=IN_MONTH)
    export(finance, month="2026-10")
    batch = last_batch()
    again = export(finance, month="2026-10")
    assert FigureVersion.objects.count() == 1
    assert (again.batch or 0) >= batch


def test_a_mark_is_kept_by_a_reading_that_changes_nothing() -> None:
    account = a_customer_account()
    period = read_usage(account, 500, at=IN_MONTH)
    mark_exported([period.pk], now=NOW)
    read_usage(account, 500, at=IN_MONTH + timedelta(hours=1))
    period.refresh_from_db()
    assert (period.exported, period.version) == (True, 1)
    assert period.readings == 2


@pytest.mark.long
def test_many_figures_are_marked_in_few_queries(django_assert_max_num_queries: Any) -> None:
    first = a_customer_account()
    read_usage(first, 500, at=IN_MONTH)
    like = UsagePeriod.objects.get()
    ids = [a_customer_account(connection=first.connection, customer=first.customer).pk for _ in range(300)]
    fields = {f.attname: getattr(like, f.attname) for f in UsagePeriod._meta.concrete_fields if f.name != "id"}
    UsagePeriod.objects.bulk_create(UsagePeriod(**fields | {"account_id": pk}) for pk in ids)
    every = list(UsagePeriod.objects.values_list("pk", flat=True))
    with django_assert_max_num_queries(12):
        mark_exported(every, now=NOW)
    assert FigureVersion.objects.count() == UsagePeriod.objects.filter(exported=True, version=1).count() == 301
