"""Several people who decide the same at the same moment, and readings that are stored meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from billing.models import Anomaly, Decision, FigureVersion, Ledger
from billing.usage import decisions, postponed
from billing.usage.decisions import AlreadyDecided, decide_anomalies, decide_figure, of_cause, state_of, undo_decision
from billing.usage.rollups import wrong_sums
from customers.models import Account
from portal.access.models import User
from portal.refusals import Refusal
from tests.billing.worklist.support import AFTER, at, command, figure, next_period, october, open_anomalies, read
from tests.support.factories import AccountFactory, ConnectionFactory, UserFactory
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]


def fallen(**facts: Any) -> Account:
    account = AccountFactory(usage_read_at=None, **facts)
    for day, used in ((5, 100_000), (10, 20_000), (31, 150_000)):
        read(account, used, at(day))
    next_period(account)
    return account  # type: ignore[no-any-return]  # a factory has no types


def people() -> list[User]:
    return UserFactory.create_batch(2, role="finance")  # type: ignore[no-any-return]


def test_one_of_two_decides_and_the_other_is_told() -> None:
    both = people()
    for _ in rounds():
        account = fallen()
        [anomaly] = open_anomalies(account)

        def decide(n: int, anomaly: Anomaly = anomaly) -> str:
            verdict = ("correction", "reset")[n]
            try:
                decide_anomalies(command(person=both[n]), anomalies=[anomaly], verdict=verdict)
            except AlreadyDecided:
                return "told"
            return verdict

        answers = together(decide, 2)
        assert "told" in answers
        [decision] = Decision.objects.filter(anomaly=anomaly)
        assert decision.verdict in answers
        assert figure(account)[1] == {"correction": 150_000, "reset": 250_000}[decision.verdict]
        assert list(wrong_sums()) == []


def test_a_reading_meanwhile_is_reviewed_or_counted() -> None:
    """Either it was stored first, and who decides is told; or it counts on top of the decision."""
    [person, _] = people()
    for _ in rounds():
        account = fallen()
        [anomaly] = open_anomalies(account)
        seen = state_of(of_cause(anomaly))

        def work(n: int, account: Account = account, anomaly: Anomaly = anomaly, seen: str = seen) -> str:
            if n == 0:
                read(account, 160_000, at(31, 20))
                return "stored"
            try:
                decide_anomalies(command(person=person), anomalies=[anomaly], verdict="reset", seen=seen)
            except Refusal:
                return "reviewed"
            return "decided"

        answers = set(together(work, 2))
        assert "stored" in answers
        assert (
            figure(account)[:2] == ({True: ("interval", 260_000), False: ("disputed", 160_000)}["decided" in answers])
        )
        assert list(wrong_sums()) == []


def test_a_figure_is_decided_once() -> None:
    both = people()
    for _ in rounds():
        account = AccountFactory(usage_read_at=None)
        read(account, 150_000, at(31))
        next_period(account)
        period = october(account)

        def decide(n: int, period: Any = period) -> str:
            quantity = (160_000, 170_000)[n]
            try:
                decide_figure(
                    command(person=both[n]),
                    period=period,
                    seen_version=period.version,
                    verdict="quantity",
                    quantity=quantity,
                )
            except AlreadyDecided:
                return "told"
            return str(quantity)

        answers = together(decide, 2)
        assert "told" in answers
        assert str(figure(account)[1]) in answers
        assert Decision.objects.filter(period=period).count() == 1


def test_decided_and_undone_at_once() -> None:
    both = people()
    for _ in rounds():
        account = fallen()
        [anomaly] = open_anomalies(account)
        decide_anomalies(command(person=both[0]), anomalies=[anomaly], verdict="new_period")

        def undo(n: int, anomaly: Anomaly = anomaly) -> str:
            try:
                undo_decision(command(AFTER, person=both[n]), anomaly=anomaly)
            except (AlreadyDecided, Refusal):
                return "told"
            return "undone"

        assert sorted(together(undo, 2)) == ["told", "undone"]
        assert [each.verdict for each in anomaly.decisions.all()] == ["new_period", "undone"]
        current = FigureVersion.objects.filter(account=account, to_batch=None, month=october(account).month)
        assert current.count() == 1
        assert list(wrong_sums()) == []


def test_batches_are_numbered_without_gaps() -> None:
    both = people()
    accounts = [fallen() for _ in range(2)]
    before = Ledger.objects.get(pk=1).last
    found = [open_anomalies(account)[0] for account in accounts]

    def decide(n: int) -> int:
        return decisions.decide_anomalies(command(person=both[n]), anomalies=[found[n]], verdict="reset")

    assert together(decide, 2) == [1, 1]
    assert sorted(Decision.objects.values_list("batch", flat=True)) == [before + 1, before + 2]


def test_who_undoes_while_workers_recalculate_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers recalculate what was decided together, and a person undoes it: no figure follows the old decision."""
    monkeypatch.setattr(decisions, "WHILE_WAITING", 2)
    [person, _] = people()
    for _ in rounds():
        connection = ConnectionFactory()
        accounts = [fallen(connection=connection) for _ in range(4)]
        before = [figure(account) for account in accounts]
        head = open_anomalies(accounts[0])[0]
        assert decide_anomalies(command(person=person), anomalies=list(of_cause(head)), verdict="reset") == 4

        def work(n: int, head: Anomaly = head) -> str:
            if n == 2:
                return f"{undo_decision(command(AFTER, person=person), anomaly=head)} undone"
            while postponed.follow_some(now=AFTER, limit=2):
                pass
            return "followed"

        assert sorted(together(work, 3)) == ["4 undone", "followed", "followed"]
        while postponed.follow_some(now=AFTER, limit=2):
            pass
        assert [figure(account) for account in accounts] == before
        assert list(wrong_sums()) == []
