"""Workers that close a month beside each other, beside raters and late figures, and one that is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections

from billing.closing.runs import statements
from billing.closing.runs.verification import verify_closed_months
from billing.closing.runs.worker import close_month
from billing.models import MonthClosing, Statement, StatementCounter, UsagePeriod
from billing.pricing.rating.engine import rate
from billing.pricing.statements import drafts
from billing.pricing.statements.drafts import rate_month
from billing.pricing.statements.frozen import FrozenCases
from tests.billing.closing.closed import LATER, request
from tests.billing.closing.runs.test_runs import customers
from tests.billing.pricing.statements.agreed import NOVEMBER
from tests.support.together import together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]
EXPIRED = timedelta(minutes=16)


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each customer be a group of its own, so that a month has several."""
    monkeypatch.setattr(drafts, "lock_group", lambda pk: pk)


def refuse_gaps(number: int) -> None:
    """Assert that the month is closed with so many statements, each as its case gives it."""
    run = MonthClosing.objects.get()
    assert (run.state, run.statements_closed) == ("closed", number)
    numbers = Statement.objects.filter(side="sell").order_by("number").values_list("number", flat=True)
    assert list(numbers) == list(range(1, number + 1))
    assert StatementCounter.objects.get().last == number
    assert verify_closed_months().problems == []
    for each in Statement.objects.filter(side="sell").select_related("frozen"):
        (case,) = FrozenCases().read([each.frozen.case])
        lines = list(each.lines.order_by("n").values_list("amount_minor", flat=True))
        assert lines == [int(line.amount * 100) for line in rate(case).lines]
        assert each.total_minor == sum(lines)


def test_two_workers_and_a_rater(transactional_db: Any) -> None:
    customers(6)
    run = request()

    def work(place: int) -> None:
        if place == 2:
            rate_month(NOVEMBER, now=LATER)
            return
        for step in range(12):
            close_month(run.pk, now=LATER + step * EXPIRED, seconds=0)

    assert together(work, 3) == [None] * 3
    close_month(run.pk, now=LATER + 20 * EXPIRED)
    refuse_gaps(6)


def test_figures_that_change_meanwhile(transactional_db: Any) -> None:
    """A figure counts before its customer is closed, or corrects the month later: never in part."""
    found = customers(6)
    run = request()

    def work(place: int) -> None:
        if place == 0:
            close_month(run.pk, now=LATER)
            return
        for customer in reversed(found):
            period = UsagePeriod.objects.filter(account=customer.accounts.get())
            period.update(used=200_000, high=200_000)
            rate_month(NOVEMBER, now=LATER, customers=[customer.pk])

    assert together(work, 2) == [None] * 2
    refuse_gaps(6)
    totals = set(Statement.objects.filter(side="sell").values_list("total_minor", flat=True))
    assert totals <= {8995 + 2593, 8995 + 8500}


@pytest.mark.parametrize("group", [1, 3])
def test_a_killed_worker_leaves_no_gap(transactional_db: Any, group: int) -> None:
    customers(3)
    run = request()

    def die() -> None:
        connections["default"].connection = None
        right, calls = statements.update_rows, iter(range(1, 9))

        def update(*args: Any) -> None:
            right(*args)
            if next(calls) == group:  # numbered and closed, not committed
                os.kill(os.getpid(), signal.SIGKILL)

        statements.update_rows = update
        close_month(run.pk, now=LATER)

    connections.close_all()
    process = multiprocessing.get_context("fork").Process(target=die)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert Statement.objects.filter(state="closed").count() == group - 1
    assert StatementCounter.objects.get().last == group - 1
    close_month(run.pk, now=LATER)  # the dead worker's lease
    assert Statement.objects.filter(state="closed").count() == group - 1
    close_month(run.pk, now=LATER + EXPIRED)
    refuse_gaps(3)
