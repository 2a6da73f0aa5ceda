"""Adjustments from the database: which statement has them, what they say, and when they are done."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.closing.runs.worker import close_month
from billing.models import MonthClosing, Statement, UsagePeriod
from billing.pricing.adjustments.open_month import closed_months
from billing.pricing.statements import due_months
from billing.pricing.statements.drafts import draft_of, rate_month
from customers.models import Account, Customer
from portal import audit
from tests.billing.closing.closed import LATER, close, request, unblock
from tests.billing.pricing.adjustments.late import (
    DECEMBER,
    IN_DECEMBER,
    IN_JANUARY,
    JANUARY,
    adjustments,
    in_short,
    store_version,
)
from tests.billing.pricing.statements.agreed import (
    BASE,
    NOVEMBER,
    NOW,
    OVERAGE,
    account,
    contract,
    customer_with,
    figure,
    state,
)
from tests.support.closing import close_by_hand
from tests.support.factories import ConnectionFactory

pytestmark = pytest.mark.django_db
TIERS = {**OVERAGE, "tiers": [{"up_to": 50_000, "rate": "1"}, {"up_to": None, "rate": "0.5"}]}
VOLUME = {**TIERS, "mode": "volume"}


@pytest.fixture(autouse=True)
def _forget() -> Any:
    cache.clear()
    yield
    cache.clear()


def closed_with(*prices: dict[str, Any], used: int | None = 120_000, **terms: Any) -> tuple[Any, UsagePeriod]:
    """A customer whose November is closed, and the figure of it."""
    customer, one = customer_with(*(prices or (BASE, OVERAGE)), used=used, **terms)
    period = one.usage_periods.get()
    store_version(period)
    close()
    return customer, period


def test_a_late_figure_gives_a_line_in_the_open_month() -> None:
    customer, period = closed_with()
    version = store_version(period, used=130_500)
    (line,) = adjustments(customer)
    assert in_short([line]) == [("overage", 10_500, 893)]  # 25.93 - 17.00
    closed = Statement.objects.get(state="closed")
    assert (line.adjusts, line.figure, line.statement.month) == (closed, version, DECEMBER)
    assert (line.account, line.customer, line.package) == (period.account, customer, period.package)
    assert (line.gross_minor, line.discount_minor, line.price_version is None) == (893, 0, False)
    assert line.contract == customer.contracts.get()
    assert closed.total_minor == 8995 + 1700
    because = line.because
    assert (because["month"], because["statement"], because["line"]) == ("2026-11", closed.number, 2)
    assert (because["from"]["used"], because["to"]["used"]) == (120_000, 130_500)
    assert (because["version"], because["cause"]) == (2, "reading")


def test_totals_have_the_adjustments() -> None:
    customer, period = closed_with(used=110_000)
    store_version(period, used=90_000)
    (draft,) = draft_of(customer, DECEMBER, now=IN_DECEMBER)
    assert [line.amount_minor for line in draft.lines.order_by("n")] == [8995, -850]
    assert (draft.total_minor, draft.lines_count) == (8145, 2)


def test_nothing_is_adjusted_before_a_month_is_closed() -> None:
    customer, one = customer_with(used=120_000)
    period = one.usage_periods.get()
    store_version(period)
    rate_month(NOVEMBER, now=NOW)
    store_version(period, used=140_000)
    assert adjustments(customer) == []
    (draft,) = draft_of(customer, NOVEMBER, now=NOW)
    assert draft.total_minor == 8995 + 3400


def test_tiers_are_adjusted_one_by_one() -> None:
    customer, period = closed_with(BASE, TIERS, used=140_000)
    store_version(period, used=170_000)
    assert in_short(adjustments(customer)) == [("overage", 10_000, 1000), ("overage", 20_000, 1000)]


def test_another_volume_tier_is_reversed_and_billed_anew() -> None:
    customer, period = closed_with(BASE, VOLUME, used=140_000)
    store_version(period, used=170_000)
    lines = adjustments(customer)
    assert in_short(lines) == [("overage", -40_000, -4000), ("overage", 70_000, 3500)]
    assert [line.rate for line in lines] == [1, 0.5]


def test_a_true_up_shrinks_first() -> None:
    customer, period = closed_with(used=120_000, commit={"amount": "120"})
    store_version(period, used=200_000)
    assert in_short(adjustments(customer)) == [("overage", 80_000, 6800), ("commit", -1, -1305)]


def test_a_discount_of_then_counts() -> None:
    discount = {"valid_from": "2020-01-01", "valid_until": "2026-11-30", "percent": "50", "kinds": ["overage"]}
    customer, period = closed_with(used=120_000, discounts=[discount])
    store_version(period, used=140_000)
    (line,) = adjustments(customer)
    assert (line.gross_minor, line.discount_minor, line.amount_minor) == (1700, 850, 850)


def test_each_late_figure_has_its_own_lines() -> None:
    customer, period = closed_with()
    versions = [store_version(period, used=used) for used in (140_000, 130_000)]
    lines = adjustments(customer)
    assert in_short(lines) == [("overage", 20_000, 1700), ("overage", -10_000, -850)]
    assert [line.figure for line in lines] == versions


def test_what_a_closed_month_has_is_done() -> None:
    customer, period = closed_with()
    store_version(period, used=140_000)
    store_version(figure(period.account, 0, start=DECEMBER, end=date(2026, 12, 31)))
    close(DECEMBER, now=IN_JANUARY)
    assert in_short(adjustments(customer)) == [("overage", 20_000, 1700)]
    assert adjustments(customer, JANUARY, now=IN_JANUARY) == []
    store_version(period, used=150_000)
    assert in_short(adjustments(customer, JANUARY, now=IN_JANUARY)) == [("overage", 10_000, 850)]
    assert in_short(adjustments(customer)) == [("overage", 20_000, 1700)]


def test_a_customer_held_back_is_adjusted_in_the_next_month() -> None:
    customer, period = closed_with()
    store_version(period, used=140_000)
    assert len(adjustments(customer)) == 1
    Customer.objects.update(external_reference="")
    assert close(DECEMBER, now=IN_JANUARY).held_back == 1
    unblock(customer)
    assert adjustments(customer) == []
    assert in_short(adjustments(customer, JANUARY, now=IN_JANUARY)) == [("overage", 20_000, 1700)]


def test_an_undecided_figure_is_a_finding_until_it_is_exact() -> None:
    customer, period = closed_with()
    store_version(period, used=130_000, high=150_000, status="interval")
    assert adjustments(customer) == []
    (draft,) = draft_of(customer, DECEMBER, now=IN_DECEMBER)
    (finding,) = draft.findings.filter(kind="adjustment_undecided")
    assert (finding.account, finding.detail["codes"], draft.is_exact) == (period.account, ["interval"], False)
    store_version(period, used=140_000, status="final")
    (line,) = adjustments(customer)
    assert (line.amount_minor, line.because["from"]["used"]) == (1700, 120_000)
    assert not line.statement.findings.filter(kind="adjustment_undecided").exists()


def test_a_figure_that_stays_as_it_was_gives_nothing() -> None:
    customer, period = closed_with(used=90_000)
    store_version(period, used=90_000, reason="read_after_end")
    store_version(period, used=95_000)
    assert adjustments(customer) == []


def test_a_customer_without_a_contract_gets_a_statement() -> None:
    customer, period = closed_with(until=date(2026, 11, 30))
    store_version(period, used=80_000)
    drafts = {draft.currency: draft for draft in draft_of(customer, DECEMBER, now=IN_DECEMBER)}
    assert drafts["EUR"].total_minor == -1700
    assert (drafts["EUR"].lines_count, drafts["EUR"].is_exact) == (1, True)


def test_a_customer_without_anything_left_is_rated_by_the_run() -> None:
    customer, period = closed_with(until=date(2026, 11, 30))
    state(period.account, date(2026, 11, 30), "deleted")
    store_version(period, used=80_000)
    rate_month(DECEMBER, now=IN_DECEMBER)
    assert Statement.objects.get(customer=customer, month=DECEMBER).total_minor == -1700


def test_an_account_that_appeared_late_is_billed() -> None:
    customer, _period = closed_with()
    other = account(customer)
    other_period = figure(other, 110_000)
    store_version(other_period)
    lines = adjustments(customer)
    assert in_short(lines) == [("base", 1, 8995), ("overage", 10_000, 850)]
    assert {line.account for line in lines} == {other}
    assert lines[0].because["from"] is None


def test_test_accounts_and_those_of_others_are_left_out() -> None:
    customer, _period = closed_with()
    store_version(figure(account(customer, is_test=True), 110_000))
    store_version(figure(account(), 110_000))
    assert adjustments(customer) == []


def test_a_period_that_moved_to_another_month_is_reversed() -> None:
    """The provider restarted the billing period: it ended in October, which is closed too."""
    customer, one = customer_with(used=None)
    UsagePeriod.objects.all().delete()
    store_version(figure(one, 0, start=date(2026, 9, 5), end=date(2026, 10, 4)))
    period = figure(one, 120_000, start=date(2026, 10, 5), end=date(2026, 11, 4))
    store_version(period)
    close(date(2026, 10, 1))
    close(NOVEMBER)
    store_version(period, end_on=date(2026, 10, 20))
    lines = adjustments(customer)
    assert [(line.because["month"], *short) for line, short in zip(lines, in_short(lines), strict=True)] == [
        ("2026-10", "base", 1, 8995),
        ("2026-10", "overage", 20_000, 1700),
        ("2026-11", "base", -1, -8995),
        ("2026-11", "overage", -20_000, -1700),
    ]


def test_the_worker_rates_again_once_a_month_is_closed() -> None:
    """Also an open month that is older than the last one."""
    customer, one = customer_with(used=120_000)
    period = one.usage_periods.get()
    store_version(period)
    run = request()
    assert close_month(run.pk, now=LATER, seconds=0)  # closed it, and did not finish
    store_version(period, used=140_000)
    due_months.rate_due(now=IN_DECEMBER)
    december = Statement.objects.get(customer=customer, month=DECEMBER)
    assert december.total_minor == 8995
    close_month(run.pk, now=LATER + timedelta(seconds=9))
    due_months.rate_due(now=IN_DECEMBER)
    december.refresh_from_db()
    assert december.total_minor == 8995 + 1700
    store_version(period, used=150_000)
    due_months.rate_due(now=IN_JANUARY.replace(month=3))
    december.refresh_from_db()
    assert december.total_minor == 8995 + 2550


def test_a_run_reads_late_figures_once() -> None:
    customer, period = closed_with()
    for used in range(130_000, 150_000, 1_000):
        store_version(period, used=used)
    prices = customer.contracts.get().price_lists.get().price_list
    others = [account().customer for _n in range(5)]
    for each in others:
        contract(each, prices)
    with CaptureQueriesContext(connection) as found:
        rate_month(DECEMBER, now=IN_DECEMBER, customers=[each.pk for each in (customer, *others)])
    assert sum('FROM "billing_figureversion"' in each["sql"] for each in found) == 1
    assert len(adjustments(customer)) == 20


def test_a_run_of_connections_alone_makes_nothing_late() -> None:
    """A month's second run may close no customer's statement. Figures of before the first one stay known."""
    customer, period = closed_with()
    first = closed_months()
    closing = MonthClosing.objects.get()
    closing.pk, closing.public_id, closing.n, closing.seq = None, uuid4(), 2, 2
    closing.save(force_insert=True)
    assert closed_months().batches == first.batches != {NOVEMBER: 0}
    assert closed_months().open == DECEMBER
    store_version(period, used=140_000)
    assert in_short(adjustments(customer)) == [("overage", 20_000, 1700)]


def test_a_later_run_knows_later_first_days() -> None:
    """The customer was held back, and its billing period began on another day by the time it was closed."""
    customer, one = customer_with(used=120_000)
    period = one.usage_periods.get()
    store_version(period)
    customer_with(name="Other")
    close_by_hand(NOVEMBER, now=NOW, held_back=[customer])
    store_version(period, start_on=date(2026, 11, 3))
    close_by_hand(NOVEMBER, now=NOW)
    store_version(period, used=130_000)
    (line,) = adjustments(customer)
    assert in_short([line]) == [("overage", 10_000, 850)]
    assert line.because["from"]["used"] == 120_000


@pytest.mark.parametrize("is_told", [True, False])
def test_an_account_that_moved_is_billed_once(is_told: bool, time_machine: Any) -> None:
    """Its closed month stays with the customer who was billed. Where the audit log doesn't tell the owner before, the
    new customer isn't billed a second time."""
    customer, period = closed_with()
    other, _one = customer_with(name="Other")
    close_by_hand(NOVEMBER, now=NOW)
    one = period.account
    time_machine.move_to(IN_DECEMBER, tick=False)
    if is_told:
        audit.record(actor=None, verb="account.linked", obj=one, customer=customer)
    Account.objects.filter(pk=one.pk).update(customer=other)
    one.refresh_from_db()
    audit.record(actor=None, verb="account.moved", obj=one, customer=other, before={"customer": "?"})
    store_version(period, used=140_000)
    assert in_short(adjustments(other)) == []
    assert in_short(adjustments(customer)) == ([("overage", 20_000, 1700)] if is_told else [])


def test_an_account_in_place_of_a_duplicate_is_billed_once() -> None:
    customer, period = closed_with()
    kept = account(customer, connection=ConnectionFactory())
    Account.objects.filter(pk=period.account_id).update(duplicate_of=kept)
    store_version(figure(kept, 120_000))
    assert adjustments(customer) == []


@pytest.mark.parametrize("later", ["test", "duplicate"])
def test_an_account_stays_in_the_month_that_billed_it(later: str) -> None:
    """What its adjustment took from the true-up is taken once, whatever the account is by now."""
    customer, one = customer_with(used=120_000, commit={"amount": "200"})
    other = account(customer)
    periods = [one.usage_periods.get(), figure(other, 100_000)]
    for each in periods:
        store_version(each)
    close_by_hand(NOVEMBER, now=NOW)
    store_version(periods[1], used=102_000)
    assert in_short(adjustments(customer)) == [("overage", 2_000, 170), ("commit", 0, -170)]
    close_by_hand(DECEMBER, now=IN_DECEMBER)
    changed = {"is_test": True} if later == "test" else {"duplicate_of": account(connection=ConnectionFactory())}
    Account.objects.filter(pk=other.pk).update(**changed)
    store_version(periods[0], used=124_000)
    found = in_short(adjustments(customer, JANUARY, now=IN_JANUARY))
    assert found == [("overage", 4_000, 340), ("commit", -1, -140)]
