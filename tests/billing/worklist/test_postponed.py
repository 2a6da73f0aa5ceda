"""A decision about very many accounts is stored at once; their figures follow in pieces, and pages tell of them."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import Anomaly, FigureVersion, UsageRollup
from billing.usage import decisions, postponed, rollups
from billing.usage.decisions import decide_anomalies, of_cause, undo_decision
from customers.models import Account
from tests.billing.worklist.support import AFTER, at, command, figure, let_time_pass, next_period, read
from tests.customers.page_helpers import prose_of
from tests.support.factories import AccountFactory, ConnectionFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
WAITING = reverse("billing:worklist-recalculated")


@pytest.fixture(autouse=True)
def _few_at_once(monkeypatch: pytest.MonkeyPatch, time_machine: Any) -> None:
    time_machine.move_to(AFTER, tick=False)
    monkeypatch.setattr(decisions, "WHILE_WAITING", 2)


@pytest.fixture
def three() -> list[Account]:
    connection = ConnectionFactory()
    found = [AccountFactory(usage_read_at=None, connection=connection) for _ in range(3)]
    for account in found:
        for day, used in ((5, 100_000), (10, 20_000), (31, 150_000)):
            read(account, used, at(day))
        next_period(account)
    return found


def reset(accounts: list[Account]) -> Anomaly:
    head = Anomaly.objects.filter(account=accounts[0])[0]
    assert decide_anomalies(command(), anomalies=list(of_cause(head)), verdict="reset") == 3
    return head


def test_the_figures_follow_later(three: list[Account]) -> None:
    reset(three)
    assert not Anomaly.objects.filter(closed_at=None).exists()
    assert [figure(account)[0] for account in three] == ["disputed"] * 3
    assert postponed.waiting_figures().count() == 3
    let_time_pass()
    assert [figure(account)[:2] for account in three] == [("interval", 250_000)] * 3
    assert not postponed.waiting_figures().exists()
    last = FigureVersion.objects.filter(account__in=three, month=date(2026, 10, 1), to_batch=None)
    assert {version.cause for version in last} == {"decision"}
    assert sum(row.used for row in UsageRollup.objects.filter(month=date(2026, 10, 1))) == 750_000


def test_a_piece_is_derived_at_a_time(three: list[Account]) -> None:
    reset(three)
    assert postponed.follow_some(now=AFTER, limit=2) == 2
    assert [figure(account)[0] for account in three] == ["interval", "interval", "disputed"]
    assert postponed.follow_some(now=AFTER, limit=2) == 1
    assert postponed.follow_some(now=AFTER, limit=2) == 0


def test_it_is_undone_before_the_figures_followed(three: list[Account]) -> None:
    before = [figure(account) for account in three]
    undo_decision(command(), anomaly=reset(three))
    let_time_pass()
    assert [figure(account) for account in three] == before
    assert Anomaly.objects.filter(closed_at=None).count() == 3


def test_it_is_undone_after_the_figures_followed(three: list[Account]) -> None:
    before = [figure(account) for account in three]
    head = reset(three)
    let_time_pass()
    undo_decision(command(), anomaly=head)
    assert postponed.waiting_figures().count() == 3
    let_time_pass()
    assert [figure(account) for account in three] == before


def test_a_reading_that_comes_first_follows_it(three: list[Account]) -> None:
    reset(three)
    read(three[0], 160_000, at(1, 1, month=11))
    assert figure(three[0])[:2] == ("interval", 260_000)
    let_time_pass()
    assert figure(three[0])[:2] == ("interval", 260_000)


def test_sums_follow_moved_periods_at_once() -> None:
    connection = ConnectionFactory()
    for _ in range(3):
        account = AccountFactory(usage_read_at=None, connection=connection)
        read(account, 50, at(6), allowed=100, period_end_on=date(2026, 11, 8))
    decide_anomalies(command(), anomalies=list(Anomaly.objects.all()), verdict="counted")
    assert postponed.waiting_figures().count() == 3
    assert list(rollups.wrong_sums()) == []


def test_pages_say_how_many_wait(client: Client, three: list[Account]) -> None:
    finance = sign_in(client, UserFactory(role="finance"))
    head = Anomaly.objects.filter(account=three[0])[0]
    address = reverse("billing:decide-anomaly", args=[head.public_id])
    seen = finance.get(address).context["seen"]
    answer = finance.post(address, {"verdict": "reset", "reason": "An outage.", "seen": seen}, follow=True)
    assert "The figures are recalculated now. This takes some minutes." in prose_of(answer)
    assert "3 figures are being recalculated after a decision" in prose_of(answer)
    assert WAITING in answer.content.decode()
    report = finance.get(reverse("billing:usage"), {"month": "2026-10"})
    assert "3 figures are being recalculated after a decision" in prose_of(report)
    let_time_pass()
    assert "recalculated" not in prose_of(finance.get(WAITING))
    assert WAITING not in finance.get(reverse("billing:worklist")).content.decode()
