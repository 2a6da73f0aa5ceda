"""Several processes that rate the same customer leave one consistent draft, of the newest inputs."""

from __future__ import annotations

from typing import Any

import pytest

from billing.models import Statement, UsagePeriod
from billing.pricing.statements.drafts import draft_of, rate_month
from customers.models import Customer
from tests.billing.pricing.statements.agreed import NOVEMBER, NOW, account, contract, customer_with, figure, price_list
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]


def test_two_workers_and_a_page(transactional_db: Any) -> None:
    customer, one = customer_with()
    for n in rounds():
        used = 110_000 + 1_000 * n

        def work(place: int, used: int = used) -> None:
            if place == 0:
                UsagePeriod.objects.filter(account=one.pk).update(used=used, high=used)
            if place == 1:
                draft_of(Customer.objects.get(pk=customer.pk), NOVEMBER, now=NOW)
            else:
                rate_month(NOVEMBER, now=NOW)

        assert together(work, 4) == [None] * 4
        draft = Statement.objects.get()
        amounts = list(draft.lines.order_by("n").values_list("kind", "amount_minor"))
        assert amounts == [("base", 8995), ("overage", (used - 100_000) * 85 // 1000)]
        assert draft.total_minor == sum(amount for _kind, amount in amounts)
        assert draft.lines_count == len(amounts)


def test_a_draft_that_ends_and_one_that_begins(transactional_db: Any) -> None:
    """The contract appears while everybody rates: the draft without a currency gives way to one with."""
    prices = price_list()
    for _n in rounds():
        one = account()
        figure(one, 0)
        customer = one.customer

        def work(place: int, customer: Customer = customer) -> None:
            if place == 0:
                contract(customer, prices)
            rate_month(NOVEMBER, now=NOW, customers=[customer.pk])

        assert together(work, 3) == [None] * 3
        assert [(row.currency, row.total_minor) for row in draft_of(customer, NOVEMBER, now=NOW)] == [("EUR", 8995)]
