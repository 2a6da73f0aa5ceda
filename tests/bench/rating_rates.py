"""Measure the rating of a month: all customers, all connections, again without a change, and one customer's draft. Then
its page and its accounting file.

The floor reads the same figures and spans in one pass and writes as many lines by COPY, without rating anything. What
is stored is rolled back at the end. `measure_rating` needs Django with a seeded PostgreSQL database.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import islice
from statistics import median
from time import perf_counter
from typing import Any

from django.db import connection as database
from django.db import transaction
from django.utils import timezone

from billing.models import (
    ConnectionBilling,
    Contract,
    ContractPriceList,
    PriceList,
    PriceVersion,
    Statement,
    StatementLine,
    UsagePeriod,
)
from billing.pricing.statements.costs import rate_costs
from billing.pricing.statements.drafts import draft_of, rate_month
from billing.pricing.statements.storage import add_lines
from billing.usage.periods import month_after
from customers.models import Account, AccountSpan, Connection, Customer
from portal.demo.seed.plan import PACKAGES
from tests.bench.closing_rates import measure_month
from tests.bench.kept import open_month
from tests.bench.results import Row

SINCE, IP = date(2020, 1, 1), "postkeeper.x.ip.v2"
TOGETHER, ROUNDS = 5_000, 25
_LINE = {
    "kind": "base", "start_on": SINCE, "end_on": SINCE, "offering": "", "package": "", "tier": 0, "quantity": 1,
    "per": 1, "gross_minor": 1, "discount_minor": 0, "amount_minor": 1, "open_ended": False, "account_code": "",
    "tax_code": "", "because": {"x": "y" * 200},
}  # fmt: skip


def measure_rating() -> list[Row]:
    with transaction.atomic():
        rows = list(_rows(month_after(open_month(), -1), datetime.now(UTC)))
        transaction.set_rollback(True)
    return rows


def _rows(month: date, now: datetime) -> Iterator[Row]:
    _agree()
    accounts = Account.objects.count()
    sell = _timed(lambda: rate_month(month, now=now))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines = StatementLine.objects.count()
    again = _timed(lambda: rate_month(month, now=now))
    cost = _timed(lambda: rate_costs(month, now=now))
    floor = _timed(lambda: _floor(month, lines))
    yield Row("rating", f"{accounts:,} accounts rated", sell, "s", None, None, 120, "lower")
    yield Row("rating", "the same beside reading and writing alone", sell, "s", floor, sell / floor, 45, "lower")
    yield Row("rating", "compared again without a change", again, "s", floor, again / floor, 20, "lower")
    yield Row("rating", "cost of all accounts", cost, "s", floor, cost / floor, 60, "lower")
    yield Row("rating", "memory of rating, peak", memory, "MB", None, None, 300, "lower")
    customers = list(Customer.objects.filter(accounts__isnull=False).order_by("-pk").distinct()[:ROUNDS])
    first = [_timed(lambda each=each: draft_of(each, month_after(month, -1), now=now)) * 1000 for each in customers]
    yield Row("rating", "a customer's draft", median(first), "ms", None, None, 150, "lower", (min(first), max(first)))
    yield from measure_month(month, now=now)


def _timed(work: Any) -> float:
    begun = perf_counter()
    work()
    return perf_counter() - begun


def _floor(month: date, lines: int) -> None:
    for rows in (
        UsagePeriod.objects.filter(month=month).values_list("account", "start_on", "end_on", "used", "high", "package"),
        AccountSpan.objects.values_list("account", "kind", "value", "seen_at"),
    ):
        for _row in rows.iterator(chunk_size=TOGETHER):
            pass
    one = Statement.objects.filter(side="sell").first()
    assert one is not None
    other = Statement.objects.create(
        side="sell", customer=one.customer, month=date(2000, 1, 1), currency="EUR", rated_at=timezone.now()
    )
    add_lines((other.pk, _LINE | {"n": n, "key": f"{n}"}) for n in range(lines))


def _agree() -> None:
    """Give all customers a contract, and all accounts what they have since before the month."""
    lists = {(kind, side): _price_list(kind, side) for kind in ("sendgrid", "ahasend") for side in ("sell", "cost")}
    for each in Connection.objects.all():
        prices = lists[each.kind, "cost"]
        ConnectionBilling.objects.create(connection=each, cost_source="price_list", cost_list=prices)
    sold = [prices for (_kind, side), prices in lists.items() if side == "sell"]
    discount = {"valid_from": f"{SINCE}", "percent": "10", "kinds": ["base", "overage"]}
    # In pieces: the peak of the memory is to be that of rating.
    customers = iter(Customer.objects.values_list("pk", flat=True))
    while some := list(islice(customers, TOGETHER)):
        contracts = Contract.objects.bulk_create(_contract(pk, sold, discount) for pk in some)
        ContractPriceList.objects.bulk_create(
            ContractPriceList(contract=each, price_list=prices, provider_kind=prices.provider_kind)
            for each in contracts
            for prices in sold
        )
    spans = _spans()
    while rows := list(islice(spans, TOGETHER)):
        AccountSpan.objects.bulk_create(rows)
    with database.cursor() as cursor:
        cursor.execute("ANALYZE")


def _contract(customer: int, sold: list[PriceList], discount: dict[str, Any]) -> Contract:
    discounts = [discount] if customer % 5 == 0 else []
    terms = {"price_lists": [str(each.public_id) for each in sold], "discounts": discounts}
    return Contract(
        customer_id=customer, n=1, valid_from=SINCE, currency="EUR", terms=terms, published_at=timezone.now()
    )


def _spans() -> Iterator[AccountSpan]:
    at = datetime(2020, 1, 1, tzinfo=UTC)
    for pk, kind, package in Account.objects.values_list("pk", "provider_kind", "package").iterator(TOGETHER):
        yield AccountSpan(account_id=pk, kind="state", value="active", seen_at=at, source="stored")
        if kind == "sendgrid":
            addon = [{"name": IP, "type": "addon", "quantity": 1}] if pk % 2 else []
            value = [{"name": package, "type": "package", "quantity": 1}, *addon]
            yield AccountSpan(
                account_id=pk, kind="offerings", value=value, package=package, seen_at=at, source="stored"
            )


def _price_list(kind: str, side: str) -> PriceList:
    prices: list[dict[str, Any]] = []
    for name, quota in PACKAGES if kind == "sendgrid" else (("", 200_000),):
        tiers = [{"up_to": 50_000, "rate": "0.85"}, {"up_to": None, "rate": "0.55"}]
        prices += [
            {"offering": name, "component": "base", "amount": "19.95"},
            {"offering": name, "component": "overage", "included": quota, "per": 1000, "tiers": tiers},
        ]
    if kind == "sendgrid":
        prices.append({"offering": IP, "component": "dedicated_ip", "amount": "25"})
    currency = "EUR" if side == "sell" else "USD"
    found = PriceList.objects.create(name=f"{kind} {side}", side=side, currency=currency, provider_kind=kind)
    PriceVersion.objects.create(price_list=found, n=1, valid_from=SINCE, prices=prices, published_at=timezone.now())
    return found
