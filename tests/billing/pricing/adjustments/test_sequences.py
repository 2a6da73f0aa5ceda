"""Random sequences of late figures over several closed months: what was billed always adds up to the month rated with
its last exact figures."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from django.core.cache import cache
from django.db.models import Q

from billing.models import Statement, StatementLine, UsagePeriod
from billing.pricing.rating.engine import rate
from billing.pricing.statements.drafts import draft_of
from billing.pricing.statements.frozen import FrozenCases
from billing.usage.periods import month_after
from customers.models import Account, Customer
from tests.billing.pricing.adjustments.late import DECEMBER, store_version
from tests.billing.pricing.statements.agreed import (
    BASE,
    NOVEMBER,
    NOW,
    OVERAGE,
    account,
    contract,
    figure,
    price_list,
)
from tests.support.closing import close_by_hand

pytestmark = pytest.mark.django_db
TIERS = [{"up_to": 20_000, "rate": "1"}, {"up_to": 60_000, "rate": "0.73"}, {"up_to": None, "rate": "0.517"}]
MODES = ({}, {"mode": "volume"}, {"mode": "block", "block_size": 10_000, "per": 10_000})
UNCERTAIN = ("interval", "disputed")


@pytest.fixture(autouse=True)
def _forget() -> Any:
    cache.clear()
    yield
    cache.clear()


def rated_now(statement: Statement, exact: dict[int, dict[str, Any]]) -> int:
    """Rate the month again with the last exact figure of each account."""
    (case,) = FrozenCases().read([statement.frozen.case])
    accounts = tuple(
        replace(each, periods=tuple(replace(one, **exact.get(int(each.id), {})) for one in each.periods))
        for each in case.accounts
    )
    return int(rate(replace(case, accounts=accounts)).total.amount * 100)


@pytest.mark.parametrize("seed", range(12))
def test_late_figures_add_up_over_months(seed: int) -> None:
    random = Random(seed)
    customer, periods = agreed(random)
    close_by_hand(NOVEMBER, now=NOW)
    closed = Statement.objects.get(customer=customer, month=NOVEMBER)
    exact: dict[int, dict[str, Any]] = {}
    month = DECEMBER
    for _step in range(random.randint(4, 9)):
        for _n in range(random.randint(0, 3)):
            period = random.choice(periods)
            used = random.choice((90_000, 100_000, random.randint(100_001, 190_000)))
            if random.random() < 0.25:
                store_version(period, used=used, high=used + 30_000, status=random.choice(UNCERTAIN))
            else:
                store_version(period, used=used, status="final")
                exact[period.account_id] = {"used": used, "high": used, "status": "final"}
        now = datetime.combine(month, datetime.min.time(), tzinfo=UTC).replace(day=10)
        drafts = draft_of(customer, month, now=now)
        billed = StatementLine.objects.filter(Q(statement__state="closed") | Q(statement__month=month), adjusts=closed)
        assert closed.total_minor + sum(line.amount_minor for line in billed) == rated_now(closed, exact)
        for draft in drafts:
            draft.refresh_from_db()
            assert draft.total_minor == sum(line.amount_minor for line in draft.lines.all())
        if random.random() < 0.7:
            close_by_hand(month, now=now, held_back=[customer] if random.random() < 0.4 else [])
            month = month_after(month)


def agreed(random: Random) -> tuple[Customer, list[UsagePeriod]]:
    """A customer with one to three accounts, a commit or none, a discount or none, in one of the tier modes."""
    first: Account = account()
    customer = first.customer
    overage = {**OVERAGE, "tiers": TIERS, **random.choice(MODES)}
    terms: dict[str, Any] = {}
    if random.random() < 0.6:
        terms["commit"] = {"amount": str(random.randint(50, 500))}
    if random.random() < 0.5:
        terms["discounts"] = [{"percent": "12.5", "kinds": ["overage", "base"], "valid_from": "2020-01-01"}]
    contract(customer, price_list(BASE, overage), **terms)
    periods = []
    for one in (first, *(account(customer) for _n in range(random.randint(0, 2)))):
        period = figure(one, random.randint(80_000, 170_000))
        store_version(period)
        periods.append(period)
    return customer, periods
