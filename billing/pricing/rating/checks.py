"""Checks of a rating case beyond the form of its fields: what contradicts itself is refused."""

from __future__ import annotations

import calendar
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date
from itertools import combinations, groupby, pairwise
from typing import Any

from billing.pricing.rating import case as inputs
from billing.pricing.rating.currency import UnknownCurrency, minor_unit_places
from billing.pricing.rating.json_form import CaseError, shown
from billing.pricing.rating.spans import DAY

# Each overage line names all tiers of its price.
MOST_TIERS = 100


def check_case(case: inputs.Case) -> None:
    """Raise CaseError if the case contradicts itself."""
    _check_currency(case.currency, "currency")
    _check_distinct("price_lists", "id", [each.id for each in case.price_lists])
    for n, price_list in enumerate(case.price_lists):
        _check_versions(price_list, f"price_lists[{n}]")
    if case.side == inputs.COST:
        if case.contracts:
            raise CaseError("contracts", "the cost side has no contracts.")
        _check_distinct("price_lists", "provider", [each.provider for each in case.price_lists])
    _check_contracts(case)
    _check_distinct("accounts", "id", [each.id for each in case.accounts])
    for n, account in enumerate(case.accounts):
        _check_account(account, f"accounts[{n}]")
    known = {each.id for each in case.accounts}
    for n, late in enumerate(case.late_figures):
        if late.account not in known:
            raise CaseError(f"late_figures[{n}].account", f"no account has the ID {shown(late.account)}.")
        _check_period(late.period, f"late_figures[{n}].period")
    if case.invoice:
        _check_invoice(case.invoice, minor_unit_places(case.currency), case.currency)
    if case.exchange_rate:
        _check_exchange_rate(case, case.exchange_rate)


def last_day_of(month: date) -> date:
    """Return the last day of the month that begins on the given day."""
    return month.replace(day=calendar.monthrange(month.year, month.month)[1])


def is_valid(dated: inputs.ContractTerms | inputs.ContractDiscount | inputs.PriceOverride, day: date) -> bool:
    """Tell if the day is one of its days of validity, both of which are inclusive."""
    return dated.valid_from <= day and (dated.valid_until is None or day <= dated.valid_until)


def _check_currency(code: str, path: str) -> None:
    try:
        minor_unit_places(code)
    except UnknownCurrency as error:
        raise CaseError(path, str(error)) from None


def _check_distinct(path: str, key: str, values: Sequence[object]) -> None:
    seen: set[object] = set()
    for n, value in enumerate(values):
        if value in seen:
            raise CaseError(f"{path}[{n}].{key}", f"{shown(value)} was used before.")
        seen.add(value)


def _check_ascending(path: str, key: str, days: Sequence[date], *, strictly: bool) -> None:
    for n in range(1, len(days)):
        if days[n] < days[n - 1] or (strictly and days[n] == days[n - 1]):
            raise CaseError(f"{path}[{n}].{key}", f"{days[n]} is not after {days[n - 1]}. Dates ascend.")


def _check_span(path: str, start: date, end: date | None, key: str) -> None:
    if end and end < start:
        raise CaseError(f"{path}.{key}", f"{end} is before {start}.")


def _overlaps(one: Any, other: Any) -> bool:
    last = date.max
    return bool(one.valid_from <= (other.valid_until or last) and other.valid_from <= (one.valid_until or last))


def _check_versions(price_list: inputs.ListPrices, path: str) -> None:
    versions = price_list.versions
    _check_distinct(f"{path}.versions", "id", [each.id for each in versions])
    _check_ascending(f"{path}.versions", "valid_from", [each.valid_from for each in versions], strictly=True)
    for n, version in enumerate(versions):
        where = f"{path}.versions[{n}].prices"
        seen: set[tuple[str, str]] = set()
        for m, price in enumerate(version.prices):
            if (price.offering, price.component) in seen:
                raise CaseError(f"{where}[{m}]", f"{shown(price.offering)} has its price for {price.component} twice.")
            seen.add((price.offering, price.component))
            if isinstance(price, inputs.OveragePrice):
                check_tiers(price, f"{where}[{m}]")


def check_tiers(price: inputs.OveragePrice, path: str) -> None:
    """Raise CaseError unless tiers ascend, the last one is open, and blocks fit into them."""
    bounds = [tier.up_to for tier in price.tiers]
    if len(bounds) > MOST_TIERS:
        raise CaseError(f"{path}.tiers", f"has more than {MOST_TIERS} tiers.")
    if not bounds or bounds[-1] is not None:
        raise CaseError(f"{path}.tiers", "the last tier has to be open: its up_to is null.")
    finite = [bound for bound in bounds[:-1] if bound is not None]
    if len(finite) != len(bounds) - 1 or any(one >= other for one, other in pairwise(finite)):
        raise CaseError(f"{path}.tiers", "upper bounds have to ascend, and only the last tier is open.")
    if (price.mode == inputs.BLOCK) != (price.block_size is not None):
        raise CaseError(f"{path}.block_size", "is given exactly where the mode is block.")
    if price.block_size and any(bound % price.block_size for bound in finite):
        raise CaseError(f"{path}.tiers", f"every bound has to be a multiple of the block size {price.block_size}.")


def _check_contracts(case: inputs.Case) -> None:
    lists = {each.id: each for each in case.price_lists}
    _check_distinct("contracts", "id", [each.id for each in case.contracts])
    for n, contract in enumerate(case.contracts):
        path = f"contracts[{n}]"
        _check_span(path, contract.valid_from, contract.valid_until, "valid_until")
        for m, name in enumerate(contract.price_lists):
            if name not in lists:
                raise CaseError(f"{path}.price_lists[{m}]", f"no price list has the ID {shown(name)}.")
        named = [lists[name] for name in contract.price_lists]
        providers = [each.provider for each in named]
        if len(set(providers)) < len(providers):
            raise CaseError(f"{path}.price_lists", "a contract has at most one price list per provider.")
        _check_discounts(contract.discounts, f"{path}.discounts")
        check_overrides(contract.overrides, named, f"{path}.overrides")
    for (_, one), (n, other) in combinations(enumerate(case.contracts), 2):
        if _overlaps(one, other):
            raise CaseError(f"contracts[{n}]", f"is valid at the same time as the contract {shown(one.id)}.")


def _check_pairs(values: Sequence[Any], path: str, is_conflict: Callable[[Any, Any], bool], message: str) -> None:
    for n, each in enumerate(values):
        _check_span(f"{path}[{n}]", each.valid_from, each.valid_until, "valid_until")
    for (_, one), (n, other) in combinations(enumerate(values), 2):
        if _overlaps(one, other) and is_conflict(one, other):
            raise CaseError(f"{path}[{n}]", message)


def _check_discounts(discounts: Sequence[inputs.ContractDiscount], path: str) -> None:
    _check_pairs(
        discounts,
        path,
        lambda one, other: bool({*one.kinds} & {*other.kinds}),
        "another discount of this kind is valid at the same time.",
    )


def check_overrides(overrides: Sequence[inputs.PriceOverride], lists: Iterable[inputs.ListPrices], path: str) -> None:
    """Raise CaseError if overrides contradict each other, or make a price of these lists unsound."""

    def is_conflict(one: inputs.PriceOverride, other: inputs.PriceOverride) -> bool:
        same = (one.offering, one.component) == (other.offering, other.component)
        return same and bool(dict(one.fields).keys() & dict(other.fields).keys())

    _check_pairs(overrides, path, is_conflict, "another override of this field is valid at the same time.")
    prices: dict[str, list[inputs.OveragePrice]] = {}
    for price in (price for each in lists for version in each.versions for price in version.prices):
        if isinstance(price, inputs.OveragePrice):
            prices.setdefault(price.offering, []).append(price)
    of_overage = [(n, each) for n, each in enumerate(overrides) if each.component == inputs.OVERAGE]
    for offering, ours in groupby(sorted(of_overage, key=lambda pair: pair[1].offering), lambda p: p[1].offering):
        _check_together([*ours], prices.get(offering, ()), path)


def _check_together(
    overrides: Sequence[tuple[int, inputs.PriceOverride]], prices: Iterable[inputs.OveragePrice], path: str
) -> None:
    """Raise CaseError unless the prices are sound on every day on which another set of their overrides is valid."""
    begins = {each.valid_from for _n, each in overrides}
    begins |= {each.valid_until + DAY for _n, each in overrides if each.valid_until and each.valid_until < date.max}
    for day in sorted(begins):
        valid = [(n, each) for n, each in overrides if is_valid(each, day)]
        fields: dict[str, Any] = {name: value for _n, each in valid for name, value in each.fields}
        for price in prices if valid else ():
            check_tiers(replace(price, **fields), f"{path}[{valid[-1][0]}]")


def _check_account(account: inputs.RatedAccount, path: str) -> None:
    if account.created_on:
        _check_span(path, account.created_on, account.deleted_on, "deleted_on")
    for key, spans in (("offerings", account.offerings), ("states", account.states), ("owners", account.owners)):
        _check_ascending(f"{path}.{key}", "from", [each.from_on for each in spans], strictly=False)
    for n, span in enumerate(account.offerings):
        where = f"{path}.offerings[{n}]"
        _check_distinct(f"{where}.items", "name", [item.name for item in span.items])
        if span.uncertain_since and span.uncertain_since > span.from_on:
            raise CaseError(f"{where}.uncertain_since", f"{span.uncertain_since} is after {span.from_on}.")
    for n, period in enumerate(account.periods):
        where = f"{path}.periods[{n}]"
        _check_period(period, where)
        if n and period.start <= account.periods[n - 1].end:
            raise CaseError(f"{where}.start", f"{period.start} is in the period before. Periods ascend.")


def _check_period(period: inputs.RatedPeriod, path: str) -> None:
    _check_span(path, period.start, period.end, "end")
    _check_figure(period, path)


def _check_figure(period: inputs.RatedPeriod, path: str) -> None:
    if period.high is not None and (period.used is None or period.high < period.used):
        raise CaseError(f"{path}.high", "is less than used.")
    if period.status in inputs.EXACT_STATUSES:
        if period.used is None:
            raise CaseError(f"{path}.used", f"a figure that is {period.status} has a number.")
        if period.high not in (None, period.used):
            raise CaseError(f"{path}.high", f"a figure that is {period.status} is one number.")
    changes = period.at_changes
    _check_ascending(f"{path}.at_changes", "on", [each.on for each in changes], strictly=True)
    for n, each in enumerate(changes):
        where = f"{path}.at_changes[{n}]"
        if not period.start <= each.on <= period.end:
            raise CaseError(f"{where}.on", f"{each.on} is not in the period.")
        if each.high is not None and each.high < each.used:
            raise CaseError(f"{where}.high", "is less than used.")
        if n and each.used < changes[n - 1].used:
            raise CaseError(f"{where}.used", "is less than at the change before.")
    if changes and period.used is not None and changes[-1].used > period.used:
        raise CaseError(f"{path}.at_changes[{len(changes) - 1}].used", "is more than used in the whole period.")


def _check_invoice(invoice: inputs.SharedInvoice, places: int, currency: str) -> None:
    _check_span("invoice.period", invoice.start, invoice.end, "end")
    if (invoice.total * 10**places) % 1:
        raise CaseError("invoice.total", f"{invoice.total:f} has more decimal places than {currency}.")
    for key, parts in (
        ("accounts", invoice.accounts),
        ("unknown", invoice.unknown),
        ("removed_accounts", invoice.removed_accounts),
    ):
        _check_distinct(f"invoice.{key}", "id", [part.id for part in parts])


def _check_exchange_rate(case: inputs.Case, exchange_rate: inputs.ConversionRate) -> None:
    one, other = exchange_rate.units_of, exchange_rate.per_one
    _check_currency(one, "exchange_rate.units_of")
    _check_currency(other, "exchange_rate.per_one")
    if one == other or case.currency not in (one, other):
        raise CaseError("exchange_rate", f"is not one between {case.currency} and another currency.")
    if not exchange_rate.rate:
        raise CaseError("exchange_rate.rate", "is zero.")
    if exchange_rate.on != last_day_of(case.month):
        raise CaseError("exchange_rate.on", f"{exchange_rate.on} is not the last day of the month.")
