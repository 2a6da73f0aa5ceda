"""New prices and contracts begin after what is closed."""

from __future__ import annotations

from datetime import date

import pytest

from billing.models import Contract, PriceVersion
from billing.pricing.contracts.commands import end_contract, publish_contract
from billing.pricing.lists.drafts import publish_version
from portal.commands import Command
from portal.refusals import Refusal
from tests.billing.closing.closed import LATER, close, finance
from tests.billing.pricing.statements.agreed import BASE, OVERAGE, customer_with
from tests.support.factories import CustomerFactory

pytestmark = pytest.mark.django_db


def draft(contract: Contract, since: date, **facts: object) -> Contract:
    values = {"customer": contract.customer, "n": 2, "currency": "EUR", "terms": contract.terms} | facts
    return Contract.objects.create(valid_from=since, **values)


def publish(contract: Contract) -> Contract:
    return publish_contract(Command(finance(), LATER), contract=contract, seen_edits=contract.edits)


def test_a_contract_begins_after_closed_months() -> None:
    customer, _account = customer_with()
    close()
    contract = draft(customer.contracts.get(), date(2026, 11, 30))
    with pytest.raises(Refusal, match=r"closed for this customer\. Enter 1 Dec") as refused:
        publish(contract)
    assert refused.value.field == "valid_from"
    Contract.objects.filter(pk=contract.pk).update(valid_from=date(2026, 12, 1))
    assert publish(contract).published_at


def test_another_customers_months_do_not_matter() -> None:
    customer, _account = customer_with()
    close()
    contract = draft(customer.contracts.get(), date(2026, 1, 1), customer=CustomerFactory(), n=1)
    assert publish(contract).published_at


def test_a_contract_ends_after_closed_months() -> None:
    customer, _account = customer_with()
    close()
    command, contract = Command(finance(), LATER), customer.contracts.get()
    with pytest.raises(Refusal, match="November 2026 is closed") as refused:
        end_contract(command, contract=contract, last_on=date(2026, 11, 15))
    assert refused.value.field == "last_on"
    assert end_contract(command, contract=contract, last_on=date(2026, 12, 15)).valid_until == date(2026, 12, 15)


def test_a_price_version_begins_after_closed_service() -> None:
    customer, _account = customer_with()
    close()
    prices = customer.contracts.get().price_lists.get().price_list
    version = PriceVersion.objects.create(price_list=prices, n=2, prices=[BASE, OVERAGE])
    command = Command(finance(), LATER)
    for day in (date(2026, 11, 1), date(2025, 1, 1)):
        with pytest.raises(Refusal, match="on 1 Nov") as refused:
            publish_version(command, version=version, valid_from=day, seen_edits=0)
        assert refused.value.field == "valid_from"
    # The closed period began on the first: a later day changes nothing of it.
    assert publish_version(command, version=version, valid_from=date(2026, 11, 2), seen_edits=0).published_at
