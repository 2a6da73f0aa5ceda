"""Published price lists and contracts as the rating engine takes them: versions and contracts in force."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db.models import Q

from billing.models import Contract, PriceList, PriceVersion
from billing.pricing.rating.case import ContractTerms, ListPrices, ListVersion
from billing.pricing.rating.case_json import CONTRACT, VERSION
from billing.usage.periods import DAY, last_day


@dataclass(frozen=True, slots=True)
class Agreement:
    """A contract in force: its row (pk), its currency, and its terms."""

    pk: int
    currency: str
    terms: ContractTerms

    def holds_on(self, day: date) -> bool:
        return self.terms.valid_from <= day and (self.terms.valid_until is None or day <= self.terms.valid_until)


class PriceCatalog:
    """Price lists with their published versions, by public ID, each read once. Of versions with one first day the
    greatest `n` counts."""

    def __init__(self) -> None:
        # By price list (pk): first day, number, version. Published versions stay as they are, so each is read once.
        self._published: dict[int, list[tuple[date, int, ListVersion]]] = defaultdict(list)
        self._lists: dict[str, ListPrices] = {}
        self._rows: dict[str, tuple[int, str]] = {}
        self.version_pks: dict[str, int] = {}
        self.currencies: dict[str, str] = {}

    def renew(self) -> None:
        """Read the lists again when they are needed, with the versions that were published since."""
        self._lists.clear()
        self._rows.clear()

    def load(self, public_ids: Iterable[str]) -> None:
        """Read the lists that are not known yet, in two queries."""
        if missing := set(public_ids) - self._lists.keys():
            self._store(PriceList.objects.filter(public_id__in=missing))

    def load_row(self, pk: int) -> ListPrices | None:
        """Return the list of a row."""
        known = {row: public_id for public_id, (row, _kind) in self._rows.items()}
        if pk not in known:
            self._store(PriceList.objects.filter(pk=pk))
            known = {row: public_id for public_id, (row, _kind) in self._rows.items()}
        return self._lists.get(known.get(pk, ""))

    def _store(self, rows: Iterable[PriceList]) -> None:
        lists = {row.pk: row for row in rows}
        known = [self.version_pks[version.id] for pk in lists for _day, _n, version in self._published[pk]]
        fresh = PriceVersion.objects.filter(price_list__in=lists, published_at__isnull=False).exclude(pk__in=known)
        for version in fresh:
            public_id = str(version.public_id)
            self.version_pks[public_id] = version.pk
            read = VERSION.read({"id": public_id, "valid_from": f"{version.valid_from}", "prices": version.prices}, "")
            self._published[version.price_list_id].append((read.valid_from, version.n, read))
        for pk, row in lists.items():
            public_id = str(row.public_id)
            self._rows[public_id] = (pk, row.provider_kind)
            self.currencies[public_id] = row.currency
            ordered = sorted(self._published[pk], key=lambda each: each[:2])
            by_day = {day: version for day, _n, version in ordered}  # the last of a day
            self._lists[public_id] = ListPrices(public_id, row.name, row.provider_kind, tuple(by_day.values()))

    def of(self, public_ids: Iterable[str]) -> tuple[ListPrices, ...]:
        return tuple(self._lists[each] for each in dict.fromkeys(public_ids) if each in self._lists)

    def replace(self, prices: ListPrices) -> None:
        """Let a list have other prices, in this catalog alone."""
        self._lists[prices.id] = prices


def published_stamp() -> tuple[int, int]:
    """Return what rises whenever a version or a contract is published, in whatever order their drafts were begun."""
    published = Q(published_at__isnull=False)
    return PriceVersion.objects.filter(published).count(), Contract.objects.filter(published).count()


_CONTRACT = ("pk", "public_id", "customer", "n", "valid_from", "valid_until", "currency", "terms")


def agreements_of(customers: Collection[int], *, until: date) -> dict[int, list[Agreement]]:
    """Return by customer the contracts in force up to a day, oldest first, none of which overlap.

    Of contracts with one first day the greatest `n` counts; each ends on the day before the next one at the latest.
    """
    rows = Contract.objects.filter(customer__in=customers, published_at__isnull=False, valid_from__lte=until)
    of_customer: dict[int, dict[date, dict[str, Any]]] = defaultdict(dict)
    for row in rows.order_by("customer", "valid_from", "n").values(*_CONTRACT):
        of_customer[row["customer"]][row["valid_from"]] = row
    return {customer: list(_in_force(by_day)) for customer, by_day in of_customer.items()}


def _in_force(by_day: Mapping[date, dict[str, Any]]) -> Iterable[Agreement]:
    days = sorted(by_day)
    for day, following in zip(days, [*days[1:], None], strict=True):
        row = by_day[day]
        ends = [each for each in (row["valid_until"], following - DAY if following else None) if each]
        stored = {
            "price_lists": [],
            **(row["terms"] or {}),
            "id": str(row["public_id"]),
            "valid_from": f"{day}",
            "valid_until": f"{min(ends)}" if ends else None,
        }
        yield Agreement(row["pk"], row["currency"], CONTRACT.read(stored, ""))


def in_month(agreements: Iterable[Agreement], month: date) -> Agreement | None:
    """Return the contract in force on the month's last day."""
    return next((each for each in agreements if each.holds_on(last_day(month))), None)
