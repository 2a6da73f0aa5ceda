"""Pooled reports that contradict the one before: decided as a whole, with all their shares."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import Anomaly, PooledSnapshot
from billing.usage import decisions
from billing.usage.decisions import decide_anomalies, of_cause, undo_decision
from billing.usage.period_ends import assess_due
from customers.models import Account
from tests.billing.pooling import Pool, period_of
from tests.billing.worklist.support import command
from tests.customers.page_helpers import prose_of
from tests.support.factories import UserFactory
from tests.support.people import sign_in

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sums_are_right")]


@pytest.fixture
def shares(pool: Pool) -> tuple[Account, Account]:
    """Two accounts in a report of 200,000 emails and EUR 16.00 of the parent on top."""
    pool.report.parent = (100_000, "8.0")
    return pool.account(60_000, "20.00"), pool.account(40_000, "5.00")


def read(pool: Pool) -> None:
    pool.read()
    pool.later(hours=6)


def causes() -> list[tuple[str, str, bool]]:
    rows = Anomaly.objects.filter(closed_at=None).order_by("kind", "pk")
    return [(row.kind, row.cause, row.account_id is None) for row in rows]


def decide(pool: Pool, verdict: str) -> Anomaly:
    head = Anomaly.objects.filter(closed_at=None).order_by("pk")[0]
    decide_anomalies(command(pool.now), anomalies=list(of_cause(head)), verdict=verdict)
    assert causes() == []
    return head


def shown(account: Account) -> tuple[str, int | None, str | None]:
    period = period_of(account)
    return period.status, period.used, period.allocated_cost and f"{period.currency} {period.allocated_cost:.2f}"


def last_report() -> PooledSnapshot:
    return PooledSnapshot.objects.order_by("-as_of")[0]


class TestAShareThatFell:
    """EUR 20.00 becomes 9.90 while the account's emails rise."""

    @pytest.fixture(autouse=True)
    def _fallen(self, pool: Pool, shares: tuple[Account, Account]) -> None:
        read(pool)
        pool.say(shares[0], 61_000, "9.90")
        pool.say(shares[1], 41_000, "16.00")
        read(pool)

    def test_it_is_disputed(self, pool: Pool, shares: tuple[Account, Account]) -> None:
        assert causes() == [("cost_fell", f"report/{last_report().pk}", False)]
        assert shown(shares[0]) == ("disputed", 61_000, "EUR 9.90")
        assert shown(shares[1])[0] == "open", "its own share only rose"

    def test_wrong_drops_the_whole_report(self, pool: Pool, shares: tuple[Account, Account]) -> None:
        anomaly = decide(pool, "wrong")
        assert shown(shares[0]) == ("open", 60_000, "EUR 20.00")
        assert shown(shares[1]) == ("open", 40_000, "EUR 5.00"), "its reading was of the same report"
        undo_decision(command(pool.now), anomaly=anomaly)
        assert shown(shares[0])[0] == "disputed"
        assert shown(shares[1]) == ("open", 41_000, "EUR 16.00")

    def test_one_value_about_very_many_figures_says_so(
        self, client: Client, pool: Pool, shares: tuple[Account, Account], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(decisions, "WHILE_WAITING", 1)
        sign_in(client, UserFactory(role="finance"))
        address = reverse("billing:decide-anomaly", args=[Anomaly.objects.get().public_id])
        seen = client.get(address).context["seen"]
        answer = client.post(address, {"verdict": "wrong", "reason": "An outage.", "seen": seen}, follow=True)
        assert "Decision saved. The figures are recalculated now." in prose_of(answer)
        assess_due(now=pool.now)
        assert shown(shares[0]) == ("open", 60_000, "EUR 20.00")

    def test_right_keeps_it(self, pool: Pool, shares: tuple[Account, Account]) -> None:
        decide(pool, "counted")
        assert shown(shares[0]) == ("open", 61_000, "EUR 9.90")

    def test_the_same_answer_again_opens_nothing(self, pool: Pool, shares: tuple[Account, Account]) -> None:
        decide(pool, "wrong")
        read(pool)
        assert causes() == []
        assert shown(shares[0]) == ("open", 60_000, "EUR 20.00")

    def test_later_values_are_compared_with_what_counts(self, pool: Pool, shares: tuple[Account, Account]) -> None:
        decide(pool, "wrong")
        pool.say(shares[0], 62_000, "9.95")
        read(pool)
        assert [kind for kind, _, _ in causes()] == ["cost_fell"]
        pool.say(shares[0], 63_000, "21.00")
        read(pool)
        decide(pool, "counted")
        assert shown(shares[0]) == ("open", 63_000, "EUR 21.00")


class TestAFallingPrice:
    def proportional(self, pool: Pool, accounts: Any, counts: tuple[int, int], total: str) -> None:
        """The whole cost, divided by emails and rounded to cents."""
        whole, emails = float(total), sum(counts) + 100_000
        for account, count in zip(accounts, counts, strict=True):
            pool.say(account, count, f"{whole * count / emails:.2f}")
        pool.report.parent = (100_000, f"{whole * 100_000 / emails:.2f}")
        pool.report.total = (emails, total)

    def test_a_proportional_share_may_fall(self, pool: Pool, shares: tuple[Account, Account]) -> None:
        self.proportional(pool, shares, (60_000, 40_000), "50.00")
        read(pool)
        self.proportional(pool, shares, (60_500, 400_000), "60.00")
        assert float(pool.report.shares[shares[0].provider_id or ""][1]) < 15
        read(pool)
        assert causes() == []
        assert shown(shares[0])[0] == "open"

    def test_the_whole_cost_may_not(self, pool: Pool, shares: tuple[Account, Account]) -> None:
        self.proportional(pool, shares, (60_000, 40_000), "50.00")
        read(pool)
        self.proportional(pool, shares, (61_000, 41_000), "25.00")
        read(pool)
        assert causes() == [("cost_fell", f"report/{last_report().pk}", True)]
        assert shown(shares[0])[0] == "disputed"
        decide(pool, "counted")
        assert shown(shares[0])[0] == "open"


class TestACurrencyThatChanged:
    @pytest.fixture(autouse=True)
    def _changed(self, pool: Pool, shares: tuple[Account, Account]) -> None:
        read(pool)
        pool.report.currency = "usd"
        for account, count in zip(shares, (61_000, 41_000), strict=True):
            pool.say(account, count, "30.00")
        read(pool)

    def test_all_of_the_report_have_one_cause(self, shares: tuple[Account, Account]) -> None:
        cause = f"report/{last_report().pk}"
        assert causes() == [("currency", cause, True), ("currency", cause, False), ("currency", cause, False)]
        assert {shown(account)[0] for account in shares} == {"disputed"}

    def test_wrong_leaves_the_old_currency(self, pool: Pool, shares: tuple[Account, Account]) -> None:
        decide(pool, "wrong")
        assert [shown(account) for account in shares] == [("open", 60_000, "EUR 20.00"), ("open", 40_000, "EUR 5.00")]

    def test_right_goes_on_in_the_new_one(self, pool: Pool, shares: tuple[Account, Account]) -> None:
        decide(pool, "counted")
        pool.say(shares[0], 62_000, "31.00")
        read(pool)
        assert causes() == []
        assert shown(shares[0]) == ("open", 62_000, "USD 31.00")

    def test_a_report_meanwhile_is_compared_again(self, pool: Pool, shares: tuple[Account, Account]) -> None:
        first = last_report()
        pool.say(shares[0], 62_000, "31.00")
        read(pool)
        assert {cause for _, cause, _ in causes()} == {f"report/{first.pk}"}
        head = Anomaly.objects.filter(cause=f"report/{first.pk}")[0]
        decide_anomalies(command(pool.now), anomalies=list(of_cause(head)), verdict="wrong")
        assert {cause for _, cause, _ in causes()} == {f"report/{last_report().pk}"}, "also in another currency"
        decide(pool, "wrong")
        assert shown(shares[0]) == ("open", 60_000, "EUR 20.00")


class TestATotalThatFell:
    @pytest.fixture(autouse=True)
    def _fallen(self, pool: Pool, shares: tuple[Account, Account]) -> None:
        pool.report.parent = (300_000, "8.0")
        read(pool)
        pool.report.parent = (180_000, "8.0")
        pool.say(shares[0], 20_000, "20.00")
        read(pool)

    def test_everything_of_it_waits(self, shares: tuple[Account, Account]) -> None:
        cause = f"report/{last_report().pk}"
        assert causes() == [("fell", cause, False), ("pool_fell", cause, True)]
        [row] = Anomaly.objects.filter(kind="pool_fell")
        assert (row.before, row.after, row.effect) == ("400000", "240000", 160_000)
        assert shown(shares[0])[0] == "disputed"

    def test_wrong_leaves_what_was(self, pool: Pool, shares: tuple[Account, Account]) -> None:
        decide(pool, "wrong")
        assert shown(shares[0]) == ("open", 60_000, "EUR 20.00")

    def test_right_takes_the_lower_values(self, pool: Pool, shares: tuple[Account, Account]) -> None:
        decide(pool, "counted")
        assert shown(shares[0]) == ("open", 20_000, "EUR 20.00")

    def test_a_higher_total_later_does_not_decide(self, pool: Pool, shares: tuple[Account, Account]) -> None:
        pool.report.parent = (300_000, "8.0")
        pool.say(shares[0], 60_500, "20.10")
        read(pool)
        assert "pool_fell" in {kind for kind, _, _ in causes()}
        decide(pool, "wrong")
        assert shown(shares[0]) == ("open", 60_500, "EUR 20.10")


def test_every_account_of_a_dropped_report_is_told(pool: Pool, shares: tuple[Account, Account]) -> None:
    read(pool)
    pool.say(shares[0], 61_000, "9.90")
    pool.say(shares[1], 45_000, "6.00")
    read(pool)
    decide(pool, "wrong")
    for account, used in zip(shares, (60_000, 40_000), strict=True):
        account.refresh_from_db()
        assert (account.usage_used, account.usage_missing_since) == (used, None)
    pool.now += timedelta(hours=1)


class TestThePageOfThePool:
    @pytest.fixture(autouse=True)
    def _contradicted(self, pool: Pool, shares: tuple[Account, Account], time_machine: Any) -> None:
        time_machine.move_to(pool.now + timedelta(hours=7), tick=False)
        read(pool)
        pool.say(shares[0], 61_000, "9.90")
        read(pool)

    def page(self, client: Client, pool: Pool) -> str:
        sign_in(client, UserFactory(role="finance"))
        return prose_of(client.get(reverse("billing:pool", args=[pool.connection.public_id])))

    def test_it_leads_to_the_decision(self, client: Client, pool: Pool) -> None:
        page = self.page(client, pool)
        assert "A report contradicts the one before it" in page
        assert "201,000" in page, "the last report is shown until finance decides"

    def test_it_says_which_report_counts(self, client: Client, pool: Pool) -> None:
        decide(pool, "wrong")
        page = self.page(client, pool)
        assert "A report contradicts" not in page
        assert "not counted" in page
        total, _, readings = page.partition("All usage snapshots")
        assert "200,000" in total
        assert "201,000" not in total
        assert "201,000" in readings
        undo_decision(command(pool.now), anomaly=Anomaly.objects.all()[0])
        decide(pool, "counted")
        assert "counted by decision" in self.page(client, pool)
