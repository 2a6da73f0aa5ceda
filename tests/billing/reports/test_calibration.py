"""The calibration of an account on its usage page: since when, or why not, and the windows that tell."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import MidnightReading, StatisticsReading, SyncRun
from customers.models import Account
from tests.customers.page_helpers import prose_of
from tests.support.factories import AccountFactory, ConnectionFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
FIRST, TODAY = date(2026, 11, 2), date(2026, 11, 20)
EVEN = [100] * 9
UNEVEN = [100, 120, 90, 100, 100, 100, 100, 100, 100]


@pytest.fixture(autouse=True)
def _now(time_machine: Any) -> None:
    time_machine.move_to(datetime(2026, 11, 20, 12, tzinfo=UTC), tick=False)


@pytest.fixture
def finance(client: Client) -> Client:
    return sign_in(client, UserFactory(role="finance"))


def an_account(counted: list[int], requests: list[int] | None = None) -> Account:
    """An account with these emails counted and requests of each day from `FIRST` on."""
    account = AccountFactory(usage_read_at=None, customer__timezone="UTC")
    for n in range(len(counted) + 1):
        day = FIRST + n * DAY
        MidnightReading.objects.create(
            account=account, day=day, zone="UTC", at=datetime(day.year, day.month, day.day, 0, 0, 5, tzinfo=UTC),
            reported_start_on=date(2026, 11, 1), used=sum(counted[:n]),
        )  # fmt: skip
    found = requests or counted
    StatisticsReading.objects.create(
        account=account, as_of=datetime(2026, 11, 18, tzinfo=UTC), first_on=FIRST, last_on=TODAY, batch=1,
        days={(FIRST + n * DAY).isoformat(): count for n, count in enumerate(found)},
    )  # fmt: skip
    return account  # type: ignore[no-any-return]  # factories return Any


def shown(client: Client, account: Account) -> str:
    return prose_of(client.get(reverse("billing:account-usage", args=[account.public_id])))


def test_a_calibrated_account_says_since_when(finance: Client) -> None:
    page = shown(finance, an_account([*UNEVEN[1:], 90]))
    # The window of 9 Nov is the seventh, and ends on 10 Nov.
    assert "Calibrated at least since 9 Nov: in the last 7 windows" in page
    assert "Days in UTC" in page
    assert page.index("10 Nov") < page.index("4 Nov"), "the newest window comes first"


@pytest.mark.parametrize(
    ("counted", "requests", "lack"),
    [
        (UNEVEN[:3], None, "Not calibrated, 3 of 7 windows. "),
        (UNEVEN[:3], None, "The ones compared are equal."),
        (EVEN, None, "a delayed count would look the same"),
        (UNEVEN, [*UNEVEN[:-1], 140], "differ in these windows"),
        (UNEVEN, [*UNEVEN[:-1], 140], "+40"),
        ([], None, "Nothing can be compared yet."),
    ],
)
def test_another_one_says_why_not(finance: Client, counted: list[int], requests: list[int] | None, lack: str) -> None:
    page = shown(finance, an_account(counted, requests))
    assert "Not calibrated" in page
    assert lack in page


def test_a_key_without_the_scope_is_the_reason(finance: Client) -> None:
    account = an_account([])
    then = datetime(2026, 11, 4, 12, tzinfo=UTC)
    SyncRun.objects.create(
        connection=account.connection, kind=SyncRun.Kind.STATISTICS, slot="2026-11-04/all", source="credits",
        state=SyncRun.State.ABORTED, started_at=then, not_before=then, until=then,
    )  # fmt: skip
    assert "Ask an admin to add the scope for statistics to the key." in shown(finance, account)


def test_a_provider_without_statistics_shows_nothing(finance: Client) -> None:
    account = AccountFactory(usage_read_at=None, connection=ConnectionFactory(kind="ahasend"))
    assert "alibrat" not in shown(finance, account)
