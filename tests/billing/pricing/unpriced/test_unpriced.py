"""The worklist of offerings without a price: what lacks where, who has it, and the way to the draft."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.models import PriceList, PriceVersion
from billing.pricing.statements.drafts import rate_month
from billing.pricing.unpriced.queries import unpriced_offerings
from customers.models import Account
from tests.billing.pricing.pages import client_of, page_of, words_of
from tests.billing.pricing.statements.agreed import (
    BASE,
    NOVEMBER,
    OVERAGE,
    account,
    contract,
    figure,
    moment,
    offerings,
    price_list,
)
from tests.support.factories import PACKAGE, CustomerFactory, OfferingFactory

pytestmark = pytest.mark.django_db
TODAY = date(2026, 11, 30)
EXTRA, UNSOLD = "postkeeper.x.ip.v2", "postkeeper.x.old.v1"


@pytest.fixture(autouse=True)
def _november(time_machine: Any) -> None:
    time_machine.move_to(moment(TODAY), tick=False)


def holder(prices: PriceList, *names: str, **facts: Any) -> Account:
    found = account(**facts)
    contract(found.customer, prices)
    figure(found, 0)
    offerings(found, date(2026, 11, 10), (PACKAGE, 1), *((name, 1) for name in names))
    return found


def world() -> PriceList:
    """Two accounts with an add-on that their list lacks, one of them with one that is no longer sold as well."""
    prices = price_list(BASE, OVERAGE)
    first = holder(prices, EXTRA)
    holder(prices, EXTRA, UNSOLD, connection=first.connection)
    OfferingFactory(connection=first.connection)
    OfferingFactory(connection=first.connection, name=EXTRA, type="addon", entitlements={"ip_count": 1})
    OfferingFactory(connection=first.connection, name="postkeeper.ei.new.v1")
    rate_month(NOVEMBER, now=moment(TODAY))
    return prices


def test_it_lists_what_accounts_have() -> None:
    world()
    first, second = unpriced_offerings(today=TODAY, is_held=True)
    assert (first.offering, first.accounts, first.customers, first.since) == (EXTRA, 2, 2, NOVEMBER)
    assert (first.item, len(first.connections)) == ("dedicated_ip", 1)
    assert (second.offering, second.accounts, second.connections) == (UNSOLD, 1, [])


def test_what_is_on_sale_is_listed_if_asked() -> None:
    world()
    rows = unpriced_offerings(today=TODAY, is_held=False)
    assert [(row.offering, row.accounts) for row in rows] == [(EXTRA, 2), (UNSOLD, 1), ("postkeeper.ei.new.v1", 0)]
    assert rows[2].seen_at


def test_a_later_version_prices_it() -> None:
    prices = world()
    price = {"offering": EXTRA, "component": "addon", "amount": "5"}
    PriceVersion.objects.create(
        price_list=prices, n=2, valid_from=date(2027, 1, 1), prices=[BASE, OVERAGE, price], published_at=moment(TODAY)
    )
    rate_month(NOVEMBER, now=moment(TODAY))
    assert EXTRA not in [row.offering for row in unpriced_offerings(today=TODAY, is_held=False)]


def test_the_page_leads_to_the_draft() -> None:
    prices = world()
    finance = client_of()
    words = page_of(finance, "unpriced")
    assert "No longer sold" in words
    answer = finance.post(
        reverse("billing:unpriced-add", args=[prices.public_id]), {"offering": EXTRA, "item": "dedicated_ip"}
    )
    draft = prices.versions.get(published_at=None)
    assert answer["Location"].startswith(reverse("billing:price-add", args=[draft.public_id]))
    assert f'value="{EXTRA}"' in finance.get(answer["Location"]).content.decode()
    draft.prices = [*draft.prices, {"offering": EXTRA, "component": "addon", "amount": "5"}]
    draft.save(update_fields=["prices"])
    assert "In the draft" in page_of(finance, "unpriced")


def test_customers_without_a_contract_are_counted() -> None:
    account(CustomerFactory(may_be_bare=False))
    words = page_of(client_of(), "unpriced")
    assert "1 customer with accounts has no contract in force" in words
    assert "No unpriced offerings" in words


def test_customer_success_reads_and_does_not_change() -> None:
    prices = world()
    success = client_of("customer_success")
    assert "Add price" not in page_of(success, "unpriced")
    url = reverse("billing:unpriced-add", args=[prices.public_id])
    assert success.post(url, {"offering": EXTRA, "item": "addon"}).status_code == 403


def test_a_cost_list_is_not_offered() -> None:
    costs = price_list(name="Provider", side="cost")
    url = reverse("billing:unpriced-add", args=[costs.public_id])
    assert client_of().post(url, {"offering": EXTRA, "item": "addon"}).status_code == 404
    assert "Provider" not in words_of(client_of().get(reverse("billing:unpriced"), {"show": "every"}))


def test_an_unknown_view_is_refused() -> None:
    assert Client.get(client_of(), reverse("billing:unpriced"), {"show": "x"}).status_code == 400


def test_it_asks_as_often_for_many_rows() -> None:
    prices, counts = world(), []
    for n in range(2):
        with CaptureQueriesContext(database) as asked:
            unpriced_offerings(today=TODAY, is_held=False)
        counts.append(len(asked))
        for k in range(3):
            holder(prices, f"postkeeper.x.more{n}{k}.v1")
        rate_month(NOVEMBER, now=moment(TODAY))
    assert counts[0] == counts[1]
