"""Quantity, unit price and basis of a statement line, as the accounting file has them.

The unit price is that of one unit for the billed days and after the discount, rounded to four decimals. Where quantity
times unit price, rounded half up, isn't the net amount, the line is 1 x amount. The forms of the basis are listed in
docs/reference/accounting-file.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from billing.models import LineKind
from billing.pricing.rating.currency import BILLION, as_amount, billionths, half_up

# Quantities and unit prices have at most four decimal places.
UNIT_PLACES = 4
TEN_THOUSAND = 10**UNIT_PLACES
LUMP_SUM = "lump sum"
_UNITS: dict[str, str] = {
    LineKind.BASE: "billing period",
    LineKind.ADDON: "unit",
    LineKind.DEDICATED_IP: "IP address",
    LineKind.OVERAGE: "email",
    LineKind.ONE_TIME: "unit",
}
_WHOLE_PERCENT = 100 * BILLION


class BilledLine(NamedTuple):
    """The columns of a line that its quantity, unit price and basis come from."""

    kind: str
    days: int | None
    of_days: int | None
    quantity: int
    rate: Decimal | None
    per: int
    discount_minor: int
    amount_minor: int
    because: Mapping[str, Any]
    adjusts: str = ""


class UnitPrice(NamedTuple):
    quantity: Decimal | int
    unit: str
    unit_price: Decimal


def unit_price_of(line: BilledLine, places: int) -> UnitPrice:
    """Return quantity and unit price that give the line's net amount, or 1 x amount."""
    found = _by_quantity(line, places) if line.rate is not None and line.quantity else None
    return found or UnitPrice(1, LUMP_SUM, as_amount(line.amount_minor * 10 ** (UNIT_PLACES - places), UNIT_PLACES))


def _by_quantity(line: BilledLine, places: int) -> UnitPrice | None:
    per = line.per if (line.quantity * TEN_THOUSAND) % line.per == 0 else 1
    quantity = line.quantity * TEN_THOUSAND // per
    days, of_days = (line.days, line.of_days) if line.days and line.of_days else (1, 1)
    percent = _WHOLE_PERCENT - billionths(_discount(line))
    numerator = billionths(line.rate or Decimal(0)) * per * days * percent * TEN_THOUSAND
    price = half_up(numerator, BILLION * line.per * of_days * _WHOLE_PERCENT)
    if half_up(quantity * price * 10**places, TEN_THOUSAND * TEN_THOUSAND) != line.amount_minor:
        return None
    unit = _UNITS.get(_kind_of(line), "unit")
    return UnitPrice(_plain_quantity(quantity), f"{per} {unit}s" if per > 1 else unit, as_amount(price, UNIT_PLACES))


def _kind_of(line: BilledLine) -> str:
    """Return the line's kind; of an adjustment that of the line that it adjusts."""
    if line.kind != LineKind.ADJUSTMENT:
        return line.kind
    return str(line.because.get("kind", line.kind))


def _plain_quantity(ten_thousandths: int) -> Decimal | int:
    whole, rest = divmod(ten_thousandths, TEN_THOUSAND)
    return as_amount(ten_thousandths, UNIT_PLACES).normalize() if rest else whole


def _discount(line: BilledLine) -> Decimal:
    """Return the percent of the line's discount; of an adjustment that of both ratings, if it is the same."""
    told = [line.because]
    if line.kind == LineKind.ADJUSTMENT:
        told = [each for name in ("before", "after") if (each := line.because.get(name))]
    found = {_percent(each.get("steps", ())) for each in told}
    return found.pop() if len(found) == 1 else Decimal(0)


def _percent(steps: Iterable[Mapping[str, Any]]) -> Decimal:
    return next((Decimal(each["percent"]) for each in steps if each.get("step") == "discount"), Decimal(0))


def basis_of(line: BilledLine, places: int) -> str:
    """Return how the amount was calculated, in one of the documented forms."""
    if line.kind == LineKind.OPENING:
        return "opening balance"
    if line.kind == LineKind.ADJUSTMENT:
        n = line.because.get("line")
        adjusted = f"adjusts {line.adjusts}{f' line {n}' if isinstance(n, int) else ''}"
        return f"{adjusted}: {_arithmetic(line, places)}" if line.rate is not None else adjusted
    return _arithmetic(line, places)


def _arithmetic(line: BilledLine, places: int) -> str:
    if line.rate is None:
        return LUMP_SUM
    is_share = bool(line.days and line.of_days and line.days != line.of_days)
    share = f"{line.days}/{line.of_days} x " if is_share else ""
    rate = _plain_amount(line.rate, places)
    if _kind_of(line) == LineKind.COMMIT:
        eligible = line.because.get("eligible")
        less = f" {share}{rate} less {_plain_amount(Decimal(eligible), places)}" if eligible is not None else ""
        return f"minimum commit{less}"
    quantity = "" if line.quantity == 1 and is_share else f"{line.quantity:,} x "
    per = f" per {line.per:,}" if line.per > 1 else ""
    return f"{quantity}{share}{rate}{per}{_less(line, places)}"


def _less(line: BilledLine, places: int) -> str:
    if percent := _discount(line):
        return f", {_trimmed(percent)} % discount"
    return f", less discount {as_amount(line.discount_minor, places)}" if line.discount_minor else ""


def _plain_amount(value: Decimal, places: int) -> str:
    """Write a rate with the currency's places, and with more where it has more."""
    whole, _point, rest = f"{value:f}".partition(".")
    rest = rest.rstrip("0").ljust(places, "0")
    return f"{int(whole):,}.{rest}" if rest else f"{int(whole):,}"


def _trimmed(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
