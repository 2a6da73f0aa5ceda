"""Prices that fit the overrides of contracts: mode, block size, and tiers of an overage may come from either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from django.utils.translation import gettext as _

from billing.models import Contract, ContractPriceList, PriceList
from billing.pricing.lists.prices import Price
from billing.pricing.rating.case import ListPrices
from billing.pricing.rating.case_json import VERSION
from billing.pricing.rating.checks import check_overrides
from billing.pricing.rating.json_form import CaseError
from billing.pricing.statements.agreements import agreements_of
from portal.refusals import Refusal


def check_contracts_of(price_list: PriceList, prices: Sequence[Price], *, since: date) -> None:
    """Raise `Refusal` if overrides of a contract that is in force on the day or later don't fit these prices."""
    version = VERSION.read({"id": "new", "valid_from": since.isoformat(), "prices": list(prices)}, "")
    books = [ListPrices(id="", provider=price_list.provider_kind, name="", versions=(version,))]
    customers = ContractPriceList.objects.filter(price_list=price_list).order_by().values_list("contract__customer")
    agreements = agreements_of({pk for (pk,) in customers}, until=date.max)
    for each in (each for of_customer in agreements.values() for each in of_customer):
        ends_before = each.terms.valid_until is not None and each.terms.valid_until < since
        if ends_before or str(price_list.public_id) not in each.terms.price_lists:
            continue
        lasting = [
            replace(override, valid_from=max(override.valid_from, since))
            for override in each.terms.overrides
            if override.valid_until is None or override.valid_until >= since
        ]
        try:
            check_overrides(lasting, books, "overrides")
        except CaseError:
            contract = Contract.objects.select_related("customer").get(pk=each.pk)
            text = _("An override in contract %(n)d of %(customer)s doesn't fit these prices.")
            advice = _("Change the prices, or publish a contract without that override.")
            words = {"n": contract.n, "customer": contract.customer}
            raise Refusal(f"{text % words} {blocks_rule()} {advice}") from None


def blocks_rule() -> str:
    return _("The mode “block” and a block size go together, and every bound of a tier is a multiple of that size.")
