"""Rows that statements are rated from: prices, contracts, spans, figures. Valid as the database wants them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.utils import timezone

from billing.models import (
    ConnectionBilling,
    Contract,
    ContractPriceList,
    PriceList,
    PriceVersion,
    Statement,
    Status,
    UsagePeriod,
    UsageSnapshot,
)
from billing.pricing.statements.costs import cost_draft_of
from billing.pricing.statements.drafts import draft_of
from customers.models import Account, AccountSpan, Customer
from tests.support.factories import PACKAGE, AccountFactory, CustomerFactory

NOVEMBER, NOW = date(2026, 11, 1), datetime(2026, 12, 2, 12, 0, tzinfo=UTC)
FIRST, LAST = date(2026, 11, 1), date(2026, 11, 30)
BASE = {"offering": PACKAGE, "component": "base", "amount": "89.95"}
OVERAGE = {
    "offering": PACKAGE,
    "component": "overage",
    "included": 100_000,
    "tiers": [{"up_to": None, "rate": "0.85"}],
    "per": 1000,
}


def moment(day: date, hour: int = 12) -> datetime:
    return datetime.combine(day, time(hour), tzinfo=UTC)


def price_list(
    *prices: dict[str, Any],
    name: str = "Standard",
    side: str = "sell",
    currency: str = "EUR",
    kind: str = "sendgrid",
    since: date = date(2020, 1, 1),
) -> PriceList:
    found = PriceList.objects.create(name=name, side=side, currency=currency, provider_kind=kind)
    publish(found, *(prices or (BASE, OVERAGE)), since=since)
    return found


def publish(prices: PriceList, *rows: dict[str, Any], since: date) -> PriceVersion:
    return PriceVersion.objects.create(
        price_list=prices,
        n=prices.versions.count() + 1,
        valid_from=since,
        prices=list(rows),
        published_at=timezone.now(),
    )


def contract(customer: Customer, *lists: PriceList, since: date = date(2020, 1, 1), **facts: Any) -> Contract:
    """A published contract of a customer that the accounting tool knows."""
    Customer.objects.filter(pk=customer.pk, external_reference="").update(external_reference=f"C-{customer.pk}")
    until, reference, terms = facts.pop("until", None), facts.pop("accounting_reference", ""), facts
    found = Contract.objects.create(
        customer=customer,
        n=customer.contracts.count() + 1,
        valid_from=since,
        valid_until=until,
        currency=lists[0].currency,
        accounting_reference=reference,
        terms={"price_lists": [str(each.public_id) for each in lists], **terms},
        published_at=timezone.now(),
    )
    ContractPriceList.objects.bulk_create(
        ContractPriceList(contract=found, price_list=each, provider_kind=each.provider_kind) for each in lists
    )
    return found


def account(customer: Customer | None = None, *, package: str = PACKAGE, spans: bool = True, **facts: Any) -> Account:
    """An account that had its package long before the month."""
    found = AccountFactory(customer=customer or CustomerFactory(may_be_bare=False), **facts)
    if spans:
        offerings(found, date(2024, 5, 1), (package, 1), source="stored")
        state(found, date(2024, 5, 1), "active", source="stored")
    return found


def offerings(account: Account, on: date, *items: tuple[str, int], **facts: Any) -> AccountSpan:
    rows = [
        {"name": name, "type": "addon" if "x." in name else "package", "quantity": quantity} for name, quantity in items
    ]
    return span(account, "offerings", rows, on, package=items[0][0] if items else "", **facts)


def state(account: Account, on: date, value: str, **facts: Any) -> AccountSpan:
    return span(account, "state", value, on, **facts)


def span(
    account: Account, kind: str, value: Any, on: date, *, seen: datetime | None = None, **facts: Any
) -> AccountSpan:
    """A value in force since `on`, as an operation of ours at noon leaves it; `seen` and `from_at` say otherwise."""
    at = seen or moment(on)
    AccountSpan.objects.filter(account=account, kind=kind, until_at=None).update(until_at=at)
    facts = {"source": "operation", "from_at": at - timedelta(seconds=2)} | facts
    if facts["source"] == "stored":
        facts["from_at"] = None
    return AccountSpan.objects.create(account=account, kind=kind, value=value, seen_at=at, **facts)


def reading(account: Account, period: UsagePeriod, at: datetime, used: int) -> UsageSnapshot:
    return UsageSnapshot.objects.create(
        account=account,
        source="credits",
        period_start_on=period.reported_start_on,
        period_end_on=period.end_on,
        as_of=at,
        used=used,
        raw_sha256="",
    )


def figure(
    account: Account, used: int | None = 41_238, *, start: date = FIRST, end: date = LAST, **facts: Any
) -> UsagePeriod:
    """A final figure of the month, or one as `facts` say."""
    status = facts.pop("status", Status.FINAL if used is not None else Status.MISSING)
    high = facts.pop("high", used if status == Status.FINAL else None)
    period = UsagePeriod(
        account=account,
        start_on=start,
        end_on=end,
        reported_start_on=start,
        ends_at=moment(end + timedelta(days=1), 0),
        month=end.replace(day=1),
        status=status,
        used=used,
        high=high,
        allowed=facts.pop("allowed", 100_000),
        package=facts.pop("package", account.package),
        **facts,
    )
    if used is not None:
        period.current = period.latest = reading(account, period, moment(end, 23), used)
        period.reason = facts.get("reason", "")
    period.save(force_insert=True)
    return period


def rated_statements(one: Account, month: date, *, now: datetime) -> tuple[list[Statement], list[Statement]]:
    """Rate the account's customer and its connection. A cost of 731.37 stands in the cost list and nowhere else."""
    base = {"offering": one.package, "component": "base"}
    contract(one.customer, price_list({**base, "amount": "950"}, currency="NOK"))
    prices = price_list({**base, "amount": "731.37"}, name="Provider", side="cost", currency="NOK")
    ConnectionBilling.objects.create(connection=one.connection, cost_source="price_list", cost_list=prices)
    return draft_of(one.customer, month, now=now), cost_draft_of(one.connection_id, month, now=now)


def customer_with(
    *prices: dict[str, Any], used: int | None = 41_238, name: str = "Standard", **terms: Any
) -> tuple[Customer, Account]:
    """A customer with a contract, one account and its figure of November."""
    found = account()
    contract(found.customer, price_list(*prices, name=name), **terms)
    figure(found, used)
    return found.customer, found
