"""Every input of a draft: a change of it lets the worker rate again, and nothing else does."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from django.core.cache import cache

from billing.models import ConnectionBilling, PriceVersion, Statement, StatementFinding, UsagePeriod
from billing.pricing.statements import due_months
from billing.pricing.statements.costs import CostRater
from billing.pricing.statements.drafts import Rater, RatingCounts, draft_of, rate_month
from customers.models import Account, Connection
from portal import audit
from tests.billing.pricing.statements.agreed import (
    BASE,
    NOVEMBER,
    NOW,
    OVERAGE,
    account,
    contract,
    customer_with,
    figure,
    offerings,
    price_list,
)
from tests.support.factories import PACKAGE, SMALLER, CustomerFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget() -> Any:
    cache.clear()
    yield
    cache.clear()


def totals() -> list[tuple[str, int]]:
    return list(
        Statement.objects.filter(month=NOVEMBER, side="sell")
        .order_by("customer", "currency")
        .values_list("currency", "total_minor")
    )


def test_a_version_published_while_a_run_goes_on() -> None:
    customer, _one = customer_with()
    run = Rater(NOVEMBER, now=NOW)
    run.refresh([customer.pk], RatingCounts())
    assert totals() == [("EUR", 8995)]
    sold = customer.contracts.get().price_lists.get().price_list
    dearer = [{**BASE, "amount": "100"}, OVERAGE]
    PriceVersion.objects.create(price_list=sold, n=2, valid_from=date(2026, 11, 1), prices=dearer, published_at=NOW)
    run.refresh([customer.pk], RatingCounts())
    assert totals() == [("EUR", 10000)]


def test_billing_settings_saved_while_a_run_goes_on() -> None:
    customer, one = customer_with()
    run = Rater(NOVEMBER, now=NOW)
    run.refresh([customer.pk], RatingCounts())
    ConnectionBilling.objects.update_or_create(connection=one.connection, defaults={"starts_on": date(2027, 1, 1)})
    run.refresh([customer.pk], RatingCounts())
    assert totals() == [("EUR", 0)]


def test_a_cost_source_saved_while_a_run_goes_on() -> None:
    _customer, one = customer_with()
    run = CostRater(NOVEMBER, now=NOW)
    run.refresh(one.connection_id)
    cost = price_list(name="Cost", side="cost")
    ConnectionBilling.objects.update_or_create(
        connection=one.connection, defaults={"cost_source": "price_list", "cost_list": cost}
    )
    run.refresh(one.connection_id)
    assert Statement.objects.get(side="cost").currency == "EUR"


def test_a_version_published_after_a_newer_draft() -> None:
    customer, _one = customer_with()
    sold = customer.contracts.get().price_lists.get().price_list
    early = PriceVersion.objects.create(
        price_list=sold, n=2, valid_from=date(2026, 11, 1), prices=[{**BASE, "amount": "100"}, OVERAGE]
    )
    price_list(name="Other")  # published while the draft waits
    due_months.rate_due(now=NOW)
    assert totals() == [("EUR", 8995)]
    PriceVersion.objects.filter(pk=early.pk).update(published_at=NOW)
    due_months.rate_due(now=NOW)
    assert totals() == [("EUR", 10000)]


def test_an_account_that_became_a_duplicate() -> None:
    _customer, one = customer_with()
    kept = account(is_test=True)
    due_months.rate_due(now=NOW)
    Account.objects.filter(pk=one.pk).update(duplicate_of=kept)
    audit.record(actor=None, verb="account.marked_duplicate", obj=one)
    due_months.rate_due(now=NOW)
    assert totals() == [("EUR", 0)]


def test_a_merged_account() -> None:
    _customer, one = customer_with()
    other = CustomerFactory()
    due_months.rate_due(now=NOW)
    Account.objects.filter(pk=one.pk).update(customer=other)
    audit.record(actor=None, verb="account.moved", obj=one, customer=other, before={"customer": "?"})
    due_months.rate_due(now=NOW)
    assert "owner_unknown" in StatementFinding.objects.values_list("kind", flat=True)


def test_a_period_never_read_has_its_change_of_package() -> None:
    one = account(package=SMALLER)
    small = [
        {"offering": SMALLER, "component": "base", "amount": "19.95", "on_start": "prorated"},
        {**OVERAGE, "offering": SMALLER, "included": 40_000},
    ]
    contract(one.customer, price_list({**BASE, "on_start": "prorated"}, OVERAGE, *small))
    figure(one, 0, start=date(2026, 9, 16), end=date(2026, 10, 15))
    offerings(one, date(2026, 10, 20), (PACKAGE, 1))
    (draft,) = draft_of(one.customer, NOVEMBER, now=NOW)
    lines = list(draft.lines.order_by("n").values_list("start_on", "end_on"))
    assert lines == [(date(2026, 10, 16), date(2026, 10, 19)), (date(2026, 10, 20), date(2026, 11, 15))]


def test_a_draft_does_not_depend_on_others() -> None:
    """Customers are rated together by the worker and alone by a page: from the same inputs."""
    customer, one = customer_with()
    offerings(one, date(2026, 10, 20), (PACKAGE, 1))
    two = account()
    figure(two, 5, start=date(2026, 10, 15), end=date(2026, 11, 14))
    rate_month(NOVEMBER, now=NOW)
    before = Statement.objects.get(customer=customer).rated_at
    draft_of(customer, NOVEMBER, now=NOW + timedelta(hours=1))
    assert Statement.objects.get(customer=customer).rated_at == before


def test_a_confirmation_is_no_change() -> None:
    customer_with()
    rate_month(NOVEMBER, now=NOW)
    UsagePeriod.objects.update(readings=9)
    assert rate_month(NOVEMBER, now=NOW).rated == 0


def test_a_new_name_of_the_connection_is_no_change() -> None:
    customer_with()
    rate_month(NOVEMBER, now=NOW)
    Connection.objects.update(name="Other name")
    assert rate_month(NOVEMBER, now=NOW).rated == 0
