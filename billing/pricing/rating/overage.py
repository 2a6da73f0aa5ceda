"""Overage of one billing period: the included volume when the package changes, and the tiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from billing.pricing.rating import case as inputs
from billing.pricing.rating.account_lines import WHOLE_PERCENT, PeriodLines
from billing.pricing.rating.books import Charge
from billing.pricing.rating.currency import half_up
from billing.pricing.rating.lines import OPEN_ENDED, OpenEnd, shown_number
from billing.pricing.rating.spans import days_of

FULL_DISCOUNT = WHOLE_PERCENT


class Package(NamedTuple):
    """The overage price that an account has, and how many of its offering it has."""

    charge: Charge
    quantity: int

    @property
    def price(self) -> inputs.OveragePrice:
        price = self.charge.price
        assert isinstance(price, inputs.OveragePrice)  # noqa: S101 - only such charges are packages
        return price

    @property
    def included(self) -> int:
        return self.price.included * self.quantity


Stretch = tuple[date, date, Package | None]


@dataclass(frozen=True, slots=True)
class UsageRange:
    """Emails, at the least and at the most."""

    low: int
    high: int | OpenEnd

    def shown(self) -> dict[str, Any]:
        return {"low": self.low, "high": shown_number(self.high)}


def add_overage(out: PeriodLines, stretches: Sequence[Stretch], side: str) -> None:
    """Add the overage lines of a period whose stretches cover all of its days."""
    period, package = out.period, stretches[-1][2]
    if package and period.allowed not in (None, package.included):
        out.find("allowed_differs", allowed=period.allowed, included=package.included)
    if not any(priced for *_days, priced in stretches):
        if period.used or period.high:
            out.find("overage_unpriced", used=UsageRange(period.used or 0, _most(period)).shown())
        return
    if period.used is None or period.status == "missing":
        out.find("missing", status=period.status)
        return
    if period.status == "disputed":
        out.find("disputed")
    elif period.status in ("open", "stale"):
        out.find("not_final", status=period.status)
    used = UsageRange(period.used, _most(period))
    mode = _mode_of(package, side, out.account.provider)
    if len(stretches) > 1 and mode == inputs.INCURRED:
        _add_incurred(out, stretches, used)
    elif package:
        included, how = _included(stretches, mode)
        units = UsageRange(max(0, used.low - included), _above(used.high, included))
        because = {"used": used.shown(), "included": included, "included_by": how, "units": units.shown()}
        _add_tiers(out, package, (period.start, period.end), units, because)
    elif used.high != 0:
        out.find("overage_unpriced", used=used.shown())
    _find_intervals(out)


def _mode_of(package: Package | None, side: str, provider: str) -> str:
    """Return what decides the included volume if the package changes."""
    if package and package.price.when_changed:
        return package.price.when_changed
    is_incurred = side == inputs.COST and provider in inputs.INCURRED_BY_DEFAULT
    return inputs.INCURRED if is_incurred else inputs.LAST


def _most(period: inputs.RatedPeriod) -> int | OpenEnd:
    if period.high is not None:
        return period.high
    return OPEN_ENDED if period.status == "interval" else period.used or 0


def _above(used: int | OpenEnd, bound: int) -> int | OpenEnd:
    return used if isinstance(used, OpenEnd) else max(0, used - bound)


def _find_intervals(out: PeriodLines) -> None:
    kinds = {type(line.amount_high) for line in out.lines if line.amount_high is not None}
    if OpenEnd in kinds:
        out.find("open_ended")
    elif kinds:
        out.find("interval")


def _included(stretches: Sequence[Stretch], mode: str) -> tuple[int, dict[str, Any]]:
    """Return the included volume of a period whose overage has the rates of the last stretch, and how it came about."""
    volumes = [(first, last, package.included if package else 0) for first, last, package in stretches]
    if mode == inputs.HIGHEST:
        included = max(volume for *_days, volume in volumes)
    elif mode == inputs.PRORATED:
        whole = days_of(volumes[0][0], volumes[-1][1])
        included = half_up(sum(volume * days_of(first, last) for first, last, volume in volumes), whole)
    else:
        included = volumes[-1][2]
    spans = [
        {"from": first.isoformat(), "until": last.isoformat(), "days": days_of(first, last), "included": volume}
        for first, last, volume in volumes
    ]
    return included, {"when_changed": mode, "spans": spans}


def _add_incurred(out: PeriodLines, stretches: Sequence[Stretch], used: UsageRange) -> None:
    """Add the overage of each stretch by its own package: units above its volume that earlier stretches did not use."""
    before = UsageRange(0, 0)
    for n, (first, last, package) in enumerate(stretches):
        at_end, is_known = used, True
        if n + 1 < len(stretches):
            at_end, is_known = _used_at(out.period, stretches[n + 1][0], before, used)
            if not is_known:
                out.find("usage_at_change_unknown", on=stretches[n + 1][0].isoformat(), used=at_end.shown())
        if package:
            high = at_end.high
            most = high if isinstance(before.high, OpenEnd) else _above(high, max(package.included, before.high))
            units = UsageRange(max(0, at_end.low - max(package.included, before.low)), most)
            because = {
                "used": at_end.shown(),
                "used_before": before.shown(),
                "included": package.included,
                "included_by": {"when_changed": inputs.INCURRED, "from": first.isoformat(), "until": last.isoformat()},
                "units": units.shown(),
            }
            _add_tiers(out, package, (first, last), units, because)
        elif at_end.high != before.low:
            out.find("overage_unpriced", used=at_end.shown(), **{"from": first.isoformat(), "until": last.isoformat()})
        before = at_end


def _used_at(period: inputs.RatedPeriod, on: date, before: UsageRange, used: UsageRange) -> tuple[UsageRange, bool]:
    """Return the usage when the package changed on a day, and if it is known. If not, it lies between the usage known
    before and the usage known next."""
    low, high, is_known = before.low, used.high, False
    for each in reversed(period.at_changes):
        most = each.used if each.high is None else each.high
        if each.on >= on and (isinstance(high, OpenEnd) or most < high):
            high = most
        if each.on <= on:
            low, is_known = max(low, each.used), each.on == on
            break
    return UsageRange(low, high), is_known


def _add_tiers(
    out: PeriodLines, package: Package, service: tuple[date, date], units: UsageRange, because: dict[str, Any]
) -> None:
    """Add a line for each tier with units, or in mode volume the one of the tier that the total falls in."""
    price = package.price
    figure = {"status": out.period.status, "used": out.period.used, "high": out.period.high}
    tiers = [{"up_to": tier.up_to, "rate": format(tier.rate, "f")} for tier in price.tiers]
    because = {
        "figure": figure,
        "offering": price.offering,
        "offering_quantity": package.quantity,
        "price": package.charge.origin,
        "mode": price.mode,
        "block_size": price.block_size,
        "tiers": tiers,
        **because,
    }
    if price.mode == inputs.VOLUME:
        low, high = _tier_of(price, units.low), _tier_of(price, units.high)
        _add_tier(out, package, service, units, because, tier=low, tier_high=high)
        return
    for n in range(len(price.tiers)):
        in_tier = UsageRange(_units_in(price, n, units.low) or 0, _units_in(price, n, units.high))
        _add_tier(out, package, service, in_tier, because, tier=n, tier_high=n)


def _tier_of(price: inputs.OveragePrice, units: int | OpenEnd) -> int:
    """Return the number of the tier that a total of units falls in."""
    last = len(price.tiers) - 1
    if isinstance(units, OpenEnd):
        return last
    return next((n for n, tier in enumerate(price.tiers) if tier.up_to is not None and units <= tier.up_to), last)


def _units_in(price: inputs.OveragePrice, tier: int, units: int | OpenEnd) -> Any:
    """Return the units of a total that fall into a tier, in mode block those of the started blocks."""
    below = (price.tiers[tier - 1].up_to or 0) if tier else 0
    up_to = price.tiers[tier].up_to
    if isinstance(units, OpenEnd):
        return units if up_to is None else up_to - below
    found = max(0, (units if up_to is None else min(units, up_to)) - below)
    size = price.block_size
    return -(-found // size) * size if size else found


def _add_tier(
    out: PeriodLines,
    package: Package,
    service: tuple[date, date],
    units: UsageRange,
    because: dict[str, Any],
    *,
    tier: int,
    tier_high: int,
) -> None:
    """Add the line of the units in a tier. In mode volume the most usage may fall into another tier than the least."""
    if units.low == 0 and units.high == 0:
        return
    charge, per = package.charge, package.price.per
    gross, discount, steps = out.charged(charge.rates[tier], units.low, charge, out.of_days, per)
    most: int | OpenEnd | None = None
    if isinstance(units.high, OpenEnd):
        most = OPEN_ENDED if charge.rates[tier_high] and charge.percent != FULL_DISCOUNT else 0
        because = {**because, "tier_high": tier_high}
    elif (units.high, tier_high) != (units.low, tier):
        gross_high, discount_high, steps_high = out.charged(
            charge.rates[tier_high], units.high, charge, out.of_days, per
        )
        most = gross_high - discount_high
        because = {**because, "tier_high": tier_high, "steps_high": steps_high}
    out.add(
        charge, *service, gross=gross, discount=discount, quantity=units.low, tier=tier, per=per,
        quantity_high=None if units.high == units.low else units.high,
        most=None if most == gross - discount else most,
        because={**because, "tier": tier, "steps": steps},
    )  # fmt: skip
