"""Contracts and price lists that fit each other, whichever of them is published later."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from billing.models import Contract, PriceList
from billing.pricing.contracts import commands
from billing.pricing.lists import drafts
from customers.models import Customer
from portal.refusals import Refusal
from tests.billing.pricing.pages import BASE, OVERAGE, by, draft_with, new_list, published
from tests.support.factories import PACKAGE, CustomerFactory

pytestmark = pytest.mark.django_db
DAY = date(2026, 1, 1)
BLOCKS = OVERAGE | {"mode": "block", "block_size": 1000}


@pytest.fixture
def customer() -> Customer:
    return CustomerFactory(company_name="Larkfield Outdoor")


def with_override(customer: Customer, prices: PriceList, **override: Any) -> Contract:
    """Return a draft with an override of the overage."""
    draft = commands.start_contract(by(), customer=customer)
    facts = {"valid_from": DAY, f"list_{prices.provider_kind}": str(prices.public_id)}
    commands.edit_contract(by(), contract=draft, facts=facts)
    value = {"valid_from": "2026-01-01", "valid_until": None, "offering": PACKAGE, "component": "overage", **override}
    commands.replace_term(by(), contract=draft, part="overrides", index=None, value=value, was=None)
    draft.refresh_from_db()
    return draft


def publish(draft: Contract) -> Contract:
    return commands.publish_contract(by(), contract=draft, seen_edits=draft.edits)


class TestNewPrices:
    def publish(self, prices: PriceList, *rows: dict[str, Any], since: date = date(2026, 6, 1)) -> None:
        draft = draft_with(prices, *rows)
        drafts.publish_version(by(), version=draft, valid_from=since, seen_edits=draft.edits)

    @pytest.fixture
    def prices(self, customer: Customer) -> PriceList:
        """A list whose overage is in blocks, of a size that a contract overrides."""
        found = new_list()
        published(found, BASE, BLOCKS, since=date(2020, 1, 1))
        publish(with_override(customer, found, block_size=5000))
        return found

    def test_blocks_that_a_contract_overrides(self, prices: PriceList) -> None:
        with pytest.raises(Refusal, match=r"contract 1 of Larkfield Outdoor .*multiple of that size\. Change"):
            self.publish(prices, BASE, OVERAGE)
        assert prices.versions.filter(published_at=None).exists()

    def test_bounds_that_its_blocks_do_not_divide(self, prices: PriceList) -> None:
        tiers = [{"up_to": 401_000, "rate": "0.85"}, {"up_to": None, "rate": "0.70"}]
        with pytest.raises(Refusal, match="Larkfield Outdoor"):
            self.publish(prices, BASE, BLOCKS | {"tiers": tiers})

    def test_those_that_fit(self, prices: PriceList) -> None:
        self.publish(prices, BASE, BLOCKS | {"included": 50_000})

    def test_a_contract_that_ends_before(self, prices: PriceList) -> None:
        (found,) = Contract.objects.all()
        commands.end_contract(by(), contract=found, last_on=date(2026, 5, 31))
        self.publish(prices, BASE, OVERAGE)

    def test_a_contract_that_was_replaced(self, prices: PriceList, customer: Customer) -> None:
        draft = commands.start_contract(by(), customer=customer)
        commands.edit_contract(by(), contract=draft, facts={"valid_from": date(2026, 5, 1)})
        draft.refresh_from_db()
        (override,) = draft.terms["overrides"]
        commands.replace_term(by(), contract=draft, part="overrides", index=0, value=None, was=override)
        draft.refresh_from_db()
        publish(draft)
        self.publish(prices, BASE, OVERAGE)

    def test_an_override_that_ends_before(self, customer: Customer) -> None:
        found = new_list()
        published(found, BASE, BLOCKS, since=date(2020, 1, 1))
        publish(with_override(customer, found, block_size=5000, valid_until="2026-05-31"))
        self.publish(found, BASE, OVERAGE)


class TestTerms:
    def test_an_override_of_a_price_that_no_list_has(self, customer: Customer) -> None:
        prices, other = new_list(), new_list("Other")
        published(prices, BASE, OVERAGE, since=date(2020, 1, 1))
        published(other, BASE, since=date(2020, 1, 1))
        draft = with_override(customer, prices, included=5)
        commands.edit_contract(by(), contract=draft, facts={"list_sendgrid": str(other.public_id)})
        draft.refresh_from_db()
        with pytest.raises(Refusal, match=r"no price list has: .*, Overage\. Remove the override"):
            publish(draft)

    @pytest.mark.parametrize("through", ["", "none"])
    def test_amounts_do_not_change_their_currency(self, customer: Customer, through: str) -> None:
        euros, dollars = new_list(), new_list("Dollars", currency="USD")
        for each in (euros, dollars):
            published(each, BASE, OVERAGE, since=date(2020, 1, 1))
        draft = with_override(customer, euros, tiers=[{"up_to": None, "rate": "0.50"}])
        chosen = "" if through else str(dollars.public_id)
        with pytest.raises(Refusal, match="amounts in EUR"):
            commands.edit_contract(by(), contract=draft, facts={"list_sendgrid": chosen})
        draft.refresh_from_db()
        assert draft.currency == "EUR"

    def test_what_contradicts_itself(self, customer: Customer) -> None:
        prices = new_list()
        published(prices, BASE, OVERAGE, since=date(2020, 1, 1))
        draft = with_override(customer, prices, mode="block")
        with pytest.raises(Refusal, match=r"^An override doesn't fit the price list: .*, Overage\. The mode “block”"):
            publish(draft)

    @pytest.mark.parametrize(
        ("part", "value", "says"),
        [
            ("discounts", {"percent": "10.00", "kinds": ["base"]}, "^Two discounts of the same kind"),
            ("overrides", {"offering": PACKAGE, "component": "base", "amount": "5.00"}, "^Two overrides of the same"),
        ],
    )
    def test_two_terms_for_the_same(self, customer: Customer, part: str, value: dict[str, Any], says: str) -> None:
        prices = new_list()
        published(prices, BASE, OVERAGE, since=date(2020, 1, 1))
        draft = with_override(customer, prices, included=7)
        for first in ("2026-01-01", "2026-03-01"):
            term = {"valid_from": first, "valid_until": None, **value}
            commands.replace_term(by(), contract=draft, part=part, index=None, value=term, was=None)
        draft.refresh_from_db()
        with pytest.raises(Refusal, match=says):
            publish(draft)
