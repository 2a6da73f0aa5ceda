"""Offerings without a price: those that accounts have, and those that are on sale, by the price list that lacks them.

What accounts have is taken from this month's draft statements, what is on sale from the catalogs. The number of queries
depends on neither.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from django.db.models import Count, Min, OuterRef, QuerySet, Subquery
from django.utils.translation import gettext as _

from billing.models import ContractPriceList, PriceList, PriceVersion, Side, StatementFinding
from billing.pricing.contract_days import contracts_in_force
from billing.pricing.lists.kinds import PACKAGE, has_offerings, provider_label
from billing.pricing.rating import case
from billing.pricing.rating.books import PreparedList
from billing.pricing.statements.agreements import PriceCatalog
from customers.connections.catalogue import IPS, offering_label
from customers.models import Offering

UNPRICED = "unpriced"


@dataclass(slots=True)
class UnpricedOffering:
    """An offering that a price list lacks. `accounts` of `customers` have it since the month `since`; on sale at
    `connections`, `seen_at` first. `item` is the kind of price it probably needs."""

    price_list: PriceList
    offering: str
    accounts: int = 0
    customers: int = 0
    since: date | None = None
    seen_at: datetime | None = None
    connections: list[str] = field(default_factory=list)
    item: str = PACKAGE
    in_draft: bool = False

    @property
    def label(self) -> str:
        return offering_label(self.offering) if self.offering else _("Every account")

    @property
    def provider(self) -> str:
        return provider_label(self.price_list.provider_kind)


def unpriced_offerings(*, today: date, is_held: bool) -> list[UnpricedOffering]:
    """Return what sell lists lack, what most accounts have first. `is_held`: only what accounts have."""
    month = today.replace(day=1)
    held = {(row["list"], row["offering"]): row for row in _held(today).filter(statement__month=month)}
    begun = {(row["list"], row["offering"]): row["since"] for row in _held(today)} if held else {}
    in_use = ContractPriceList.objects.filter(contract__in=contracts_in_force(today)).values("price_list")
    lists = PriceList.objects.filter(side=Side.SELL, pk__in=in_use, archived_at=None).in_bulk()
    lists |= PriceList.objects.filter(side=Side.SELL).in_bulk([pk for pk, _name in held if pk and pk not in lists])
    on_sale = _on_sale({each.provider_kind for each in lists.values()})
    wanted = dict.fromkeys(key for key in held if key[0] in lists)
    if not is_held:
        wanted |= dict.fromkeys(_lacking(lists.values(), on_sale, today=today))
    drafts = dict(
        PriceVersion.objects.filter(price_list__in=lists, published_at=None).values_list("price_list", "prices")
    )
    rows = []
    for pk, name in wanted:
        row = UnpricedOffering(lists[pk], name)
        if found := held.get((pk, name)):
            row.accounts, row.customers = found["accounts"], found["owners"]
            row.since = begun.get((pk, name))
        sold = on_sale.get((row.price_list.provider_kind, name), [])
        row.connections = sorted({each.connection.name for each in sold})
        row.seen_at = min((each.first_seen_at for each in sold), default=None)
        row.item = _item_of(sold)
        row.in_draft = any(each.get("offering", "") == name for each in drafts.get(pk, ()))
        rows.append(row)
    return sorted(rows, key=lambda row: (-row.accounts, row.price_list.name, row.offering))


def _held(today: date) -> QuerySet[Any, Any]:
    """Return offerings that accounts have, with the price list by which their customer pays today."""
    current = contracts_in_force(today).filter(customer=OuterRef(OuterRef("statement__customer")))
    lists = ContractPriceList.objects.filter(
        contract__in=current.values("pk"), provider_kind=OuterRef("account__provider_kind")
    )
    found = StatementFinding.objects.filter(kind=UNPRICED, statement__side=Side.SELL)
    return (
        found.annotate(list=Subquery(lists.values("price_list")[:1]))
        .order_by()
        .values("list", "offering")
        .annotate(
            accounts=Count("account", distinct=True),
            owners=Count("statement__customer", distinct=True),
            since=Min("statement__month"),
        )
    )


Catalogs = dict[tuple[str, str], list[Offering]]


def _on_sale(kinds: Iterable[str]) -> Catalogs:
    """Return the offerings that connections of these providers sell, by provider and name."""
    rows = Offering.objects.filter(connection__kind__in=list(kinds), gone_at=None).select_related("connection")
    found: Catalogs = defaultdict(list)
    for row in rows:
        found[row.connection.kind, row.name].append(row)
    return found


def _lacking(lists: Iterable[PriceList], on_sale: Catalogs, *, today: date) -> Iterable[tuple[int, str]]:
    """Yield what lists lack on a day, as a period that begins then is rated: a later version counts too."""
    catalog = PriceCatalog()
    every = list(lists)
    catalog.load(str(each.public_id) for each in every)
    for each in every:
        (prices,) = catalog.of([str(each.public_id)])
        priced = PreparedList(prices).at(today)
        names = [name for kind, name in on_sale if kind == each.provider_kind]
        for name in names if has_offerings(each.provider_kind) else [""]:
            if name not in priced:
                yield each.pk, name


def _item_of(sold: Iterable[Offering]) -> str:
    for each in sold:
        if each.type != "addon":
            return PACKAGE
        return case.DEDICATED_IP if (each.entitlements or {}).get(IPS) else case.ADDON
    return PACKAGE
