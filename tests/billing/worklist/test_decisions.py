"""Decisions about readings that contradict each other, and about figures that never come."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from billing.models import Anomaly, FigureVersion, UsagePeriod, UsageRollup
from billing.usage.decisions import AlreadyDecided, decide_anomalies, of_cause, state_of, undo_decision
from customers.models import Account
from portal.refusals import Refusal
from tests.billing.worklist.support import (
    AFTER,
    at,
    command,
    decide,
    decide_october,
    figure,
    let_time_pass,
    next_period,
    october,
    open_anomalies,
    read,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sums_are_right")]


def fall(account: Account) -> None:
    """100k, 20k, 90k, 150k inside one period."""
    for day, used in ((5, 100_000), (10, 20_000), (15, 90_000), (31, 150_000)):
        read(account, used, at(day))
    next_period(account)


class TestACounterThatFell:
    def test_until_decided_the_figure_is_all_it_can_be(self, account: Account) -> None:
        fall(account)
        status, least, most = figure(account)
        assert (status, least) == ("disputed", 150_000)
        assert most is not None
        assert most >= 250_000
        [anomaly] = open_anomalies(account)
        assert (anomaly.kind, anomaly.before, anomaly.after) == ("fell", "100000", "20000")

    @pytest.mark.parametrize(
        ("verdict", "least", "most"),
        [("correction", 150_000, 250_000), ("reset", 250_000, 500_000)],
    )
    def test_each_decision_gives_its_figure(self, account: Account, verdict: str, least: int, most: int) -> None:
        fall(account)
        decide(account, verdict)
        assert figure(account) == ("interval", least, most)
        assert open_anomalies(account) == []

    def test_a_wrong_value_leaves_the_readings_around_it(self, account: Account) -> None:
        fall(account)
        decide(account, "wrong")
        [opened] = open_anomalies(account)
        assert (opened.before, opened.after) == ("100000", "90000"), "what contradicts the reading before the dropped"

    def test_an_undone_decision_opens_it_again(self, account: Account) -> None:
        fall(account)
        before = figure(account)
        anomaly = decide(account, "reset")
        undo_decision(command(), anomaly=anomaly)
        assert figure(account) == before
        assert open_anomalies(account) == [anomaly]
        assert [each.verdict for each in anomaly.decisions.all()] == ["reset", "undone"]
        with pytest.raises(AlreadyDecided):
            undo_decision(command(), anomaly=anomaly)

    def test_who_decides_second_is_refused(self, account: Account) -> None:
        fall(account)
        [anomaly] = open_anomalies(account)
        decide(account, "reset")
        with pytest.raises(AlreadyDecided):
            decide_anomalies(command(), anomalies=[anomaly], verdict="correction")
        assert figure(account)[1] == 250_000

    def test_a_figure_that_changed_since_is_reviewed_first(self, account: Account) -> None:
        fall(account)
        [anomaly] = open_anomalies(account)
        seen = state_of(of_cause(anomaly))
        read(account, 160_000, at(31, 20))
        with pytest.raises(Refusal, match="changed since"):
            decide_anomalies(command(), anomalies=[anomaly], verdict="reset", seen=seen)
        decide_anomalies(command(), anomalies=[anomaly], verdict="reset", seen=state_of(of_cause(anomaly)))
        assert figure(account)[1] == 260_000

    def test_only_what_fits_the_anomaly_is_accepted(self, account: Account) -> None:
        fall(account)
        with pytest.raises(Refusal):
            decide(account, "counted")


class TestARestartedPeriod:
    def parts(self, account: Account) -> list[tuple[date, date, int | None]]:
        rows = UsagePeriod.objects.filter(account=account, month=date(2026, 10, 1)).order_by("start_on")
        return [(row.start_on, row.end_on, row.used) for row in rows]

    def test_it_becomes_two(self, account: Account) -> None:
        fall(account)
        decide(account, "new_period")
        assert self.parts(account) == [
            (date(2026, 10, 1), date(2026, 10, 9), 100_000),
            (date(2026, 10, 10), date(2026, 10, 31), 150_000),
        ]

    def test_undone_they_are_one_again(self, account: Account) -> None:
        fall(account)
        before, versions = figure(account), FigureVersion.objects.filter(to_batch=None).count()
        whole = october(account)
        anomaly = decide(account, "new_period")
        undo_decision(command(AFTER + timedelta(hours=1)), anomaly=anomaly)
        assert figure(account) == before
        assert [(each.kind, each.period_id) for each in open_anomalies(account)] == [("fell", whole.pk)]
        assert FigureVersion.objects.filter(to_batch=None).count() == versions, "the later part ended"
        assert FigureVersion.objects.filter(start_on=date(2026, 10, 10)).exists(), "what was, stays known"
        joined = october(account)
        for name in ("end_on", "ends_at", "month", "counts_until", "next_seen_at", "read_at", "days_read", "latest_id"):
            assert getattr(joined, name) == getattr(whole, name), name

    def test_it_can_be_decided_again(self, account: Account) -> None:
        fall(account)
        for _ in range(2):
            undo_decision(command(), anomaly=decide(account, "new_period"))
        decide(account, "new_period")
        assert len(self.parts(account)) == 2
        read(account, 155_000, at(31, 9))
        assert self.parts(account)[1][2] == 155_000

    def test_a_decided_part_is_undone_first(self, account: Account) -> None:
        fall(account)
        anomaly = decide(account, "new_period")
        decide_october(account, "as_known")
        with pytest.raises(Refusal, match="Undo the decision about the figure"):
            undo_decision(command(), anomaly=anomaly)
        decide_october(account, "undone")
        undo_decision(command(), anomaly=anomaly)
        assert figure(account)[1] == 150_000


class TestAContradiction:
    """Kept, not counted, disputed until decided."""

    CASES = {
        "used 500 of 100, overage 0": ({"used": 500, "allowed": 100, "overage": 0}, {"contradiction", "ceiling"}),
        "used 10^12": ({"used": 10**12, "allowed": 100_000}, {"ceiling"}),
        "overage 40 of used 50": ({"used": 50, "allowed": 100, "overage": 40}, {"contradiction"}),
        "a period of 39 days": ({"used": 50, "allowed": 100, "period_end_on": date(2026, 11, 8)}, {"long_period"}),
    }

    @pytest.fixture(params=CASES, ids=str)
    def case(self, request: Any) -> Any:
        facts, kinds = self.CASES[request.param]
        return dict(facts), kinds

    def test_it_is_kept_and_not_counted(self, account: Account, case: Any) -> None:
        facts, kinds = case
        read(account, 40, at(5), allowed=facts["allowed"])
        read(account, facts.pop("used"), at(6), **facts)
        period = october(account)
        assert (period.status, period.used, period.end_on) == ("disputed", 40, date(2026, 10, 31))
        assert {each.kind for each in open_anomalies(account)} <= kinds
        account.refresh_from_db()
        assert account.usage_used == 40
        assert account.usage_missing_since is not None

    def test_right_it_counts(self, account: Account, case: Any) -> None:
        facts, _kinds = case
        used, end_on = facts.pop("used"), facts.get("period_end_on", date(2026, 10, 31))
        read(account, 40, at(5), allowed=facts["allowed"])
        read(account, used, at(6), **facts)
        for anomaly in open_anomalies(account):
            decide_anomalies(command(at(7)), anomalies=[anomaly], verdict="counted")
        period = october(account)
        assert (period.status, period.used, period.end_on) == ("open", used, end_on)
        account.refresh_from_db()
        assert (account.usage_used, account.usage_missing_since) == (used, None)

    def test_wrong_it_never_does(self, account: Account, case: Any) -> None:
        facts, _kinds = case
        read(account, 40, at(5), allowed=facts["allowed"])
        read(account, facts.pop("used"), at(6), **facts)
        for anomaly in open_anomalies(account):
            decide_anomalies(command(at(6, 6)), anomalies=[anomaly], verdict="wrong")
        period = october(account)
        assert (period.status, period.used, period.end_on) == ("open", 40, date(2026, 10, 31))

    def test_an_undone_length_ends_the_period_as_usual(self, account: Account) -> None:
        read(account, 50, at(6), allowed=100, period_end_on=date(2026, 11, 8))
        anomaly = decide(account, "counted", at(7))
        assert october(account).month == date(2026, 11, 1)
        undo_decision(command(at(7)), anomaly=anomaly)
        assert (october(account).end_on, october(account).month) == (date(2026, 10, 31), date(2026, 10, 1))

    def test_accepted_dates_are_no_anomaly_again(self, account: Account) -> None:
        read(account, 50, at(6), allowed=100, period_end_on=date(2026, 11, 8))
        decide(account, "counted", at(7))
        read(account, 60, at(8), allowed=100, period_end_on=date(2026, 11, 8))
        assert open_anomalies(account) == []
        assert (october(account).used, october(account).end_on) == (60, date(2026, 11, 8))


class TestAFigureThatNeverComes:
    @pytest.fixture
    def interval(self, account: Account) -> Account:
        read(account, 150_000, at(31))
        next_period(account)
        assert figure(account) == ("interval", 150_000, 250_000)
        return account

    @pytest.mark.parametrize(
        ("verdict", "quantity", "used", "overage"),
        [("as_known", None, 150_000, 50_000), ("quantity", 170_000, 170_000, 70_000), ("base_only", None, 150_000, 0)],
    )
    def test_a_person_decides(
        self, interval: Account, verdict: str, quantity: int | None, used: int, overage: int
    ) -> None:
        decide_october(interval, verdict, quantity)
        period = october(interval)
        assert (period.status, period.reason, period.used, period.overage) == ("final", verdict, used, overage)
        assert figure(interval) == ("final", used, used)
        decide_october(interval, "undone")
        assert figure(interval) == ("interval", 150_000, 250_000)

    @pytest.mark.parametrize(("quantity", "words"), [(149_999, "at least"), (250_001, "at most")])
    def test_a_number_outside_of_the_interval_is_refused(self, interval: Account, quantity: int, words: str) -> None:
        with pytest.raises(Refusal, match=words):
            decide_october(interval, "quantity", quantity)

    def test_more_than_the_number_is_not_hidden(self, interval: Account) -> None:
        decide_october(interval, "quantity", 160_000)
        read(interval, 180_000, at(31, 23))
        period = october(interval)
        assert (period.status, period.reason, period.used) == ("disputed", "above_quantity", 180_000)
        decide_october(interval, "quantity", 190_000)
        assert figure(interval) == ("final", 190_000, 190_000)

    def test_an_exact_figure_replaces_the_decision(self, interval: Account) -> None:
        decide_october(interval, "quantity", 160_000)
        read(interval, 155_000, at(1, 9, month=11))
        read(interval, 155_000, at(1, 18, month=11))
        period = october(interval)
        assert (period.status, period.reason, period.used) == ("final", "read_after_end", 155_000)
        with pytest.raises(Refusal):
            decide_october(interval, "as_known")

    def test_an_open_period_is_not_decided(self, account: Account) -> None:
        read(account, 100, at(5))
        with pytest.raises(Refusal):
            decide_october(account, "as_known", now=at(6))


class TestAMissingFigure:
    @pytest.fixture
    def missing(self, account: Account) -> Account:
        Account.objects.filter(pk=account.pk).update(created_at=at(1), usage_end_on=None)
        let_time_pass(at(5))
        assert figure(account) == ("missing", None, None)
        return account

    def test_nothing_is_decided_before_the_end(self, missing: Account) -> None:
        with pytest.raises(Refusal):
            decide_october(missing, "base_only", now=at(20))

    def test_a_number_makes_it_final(self, missing: Account) -> None:
        decide_october(missing, "quantity", 120)
        period = october(missing)
        assert (figure(missing), period.reason, period.current) == (("final", 120, 120), "quantity", None)
        assert UsageRollup.objects.get(month=period.month).used == 120
        decide_october(missing, "undone")
        assert figure(missing) == ("missing", None, None)

    def test_the_base_fee_needs_no_number(self, missing: Account) -> None:
        decide_october(missing, "base_only")
        period = october(missing)
        assert (figure(missing), period.reason, period.overage) == (("missing", None, None), "base_only", 0)

    def test_what_is_known_is_nothing(self, missing: Account) -> None:
        with pytest.raises(Refusal):
            decide_october(missing, "as_known")

    def test_a_reading_takes_its_place(self, missing: Account) -> None:
        decide_october(missing, "quantity", 120)
        read(missing, 500, at(31))
        let_time_pass()
        period = october(missing)
        assert UsagePeriod.objects.filter(account=missing, month=date(2026, 10, 1)).count() == 1
        assert (period.status, period.reason, period.used) == ("disputed", "above_quantity", 500)

    def test_a_number_that_cannot_be_is_not_hidden(self, missing: Account) -> None:
        decide_october(missing, "quantity", 500_000)
        read(missing, 500, at(31))
        let_time_pass()
        period = october(missing)
        assert (period.status, period.reason, period.used) == ("disputed", "quantity_too_high", 500)
        decide_october(missing, "quantity", 250_000)
        assert figure(missing) == ("final", 250_000, 250_000)

    def test_a_reading_with_other_dates_takes_its_place(self, missing: Account) -> None:
        decide_october(missing, "quantity", 120)
        read(missing, 500, at(20), period_start_on=date(2026, 10, 5), period_end_on=date(2026, 11, 4))
        period = UsagePeriod.objects.get(account=missing)
        assert (period.start_on, period.end_on, period.used) == (date(2026, 10, 5), date(2026, 11, 4), 500)


class TestNoReadingThatCounts:
    """The only reading is more than can be: what it says is kept, and counts nowhere."""

    @pytest.fixture
    def doubtful(self, account: Account) -> Account:
        read(account, 900_000, at(5))
        return account

    def test_nothing_of_it_counts_before_a_decision(self, doubtful: Account) -> None:
        period = october(doubtful)
        assert (figure(doubtful), period.overage, period.overage_high) == (("disputed", 0, 900_000), 0, 800_000)

    def test_a_wrong_one_leaves_the_figure_missing(self, doubtful: Account) -> None:
        decide(doubtful, "wrong", at(5, 12))
        read(doubtful, 900_000, at(6))
        let_time_pass()
        period = october(doubtful)
        assert (figure(doubtful), period.overage, period.version) == (("missing", None, None), None, 2)
        doubtful.refresh_from_db()
        assert doubtful.usage_missing_since is not None
        decide_october(doubtful, "quantity", 120_000)
        assert figure(doubtful) == ("final", 120_000, 120_000)
        decide_october(doubtful, "undone")
        assert figure(doubtful) == ("missing", None, None)

    def test_the_next_one_counts(self, doubtful: Account) -> None:
        decide(doubtful, "wrong", at(5, 12))
        read(doubtful, 90, at(6))
        assert figure(doubtful) == ("open", 90, None)

    def test_a_decision_that_is_undone_disputes_it_again(self, doubtful: Account) -> None:
        undo_decision(command(), anomaly=decide(doubtful, "wrong", at(5, 12)))
        assert figure(doubtful)[:2] == ("disputed", 0)


def test_a_joined_part_is_known_to_no_list(account: Account) -> None:
    fall(account)
    anomaly = decide(account, "new_period")
    undo_decision(command(), anomaly=anomaly)
    assert UsagePeriod.objects.filter(account=account, month=date(2026, 10, 1)).count() == 1
    assert UsagePeriod._base_manager.filter(account=account, month=date(2026, 10, 1), joined=True).count() == 1
    assert not Anomaly.objects.filter(period__joined=True).exists()
