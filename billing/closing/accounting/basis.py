"""Quantity, unit price and basis of a statement line, as the accounting file has them.

The unit price is that of one unit for the billed days and after the discount, rounded to four decimals. Where quantity
times unit price, rounded half up, isn't the net amount, the line is 1 x amount. The forms of the basis are listed in
docs/reference/accounting-file.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    key: str
    days: int | None
    of_days: int | None
    quantity: int
    rate: Decimal | None
    per: int
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
    return next((each for each in line.key.split("/") if each in _UNITS), line.kind)


def _plain_quantity(ten_thousandths: int) -> Decimal | int:
    whole, rest = divmod(ten_thousandths, TEN_THOUSAND)
    return as_amount(ten_thousandths, UNIT_PLACES).normalize() if rest else whole


def _discount(line: BilledLine) -> Decimal:
    steps = line.because.get("steps", ())
    return next((Decimal(each["percent"]) for each in steps if each.get("step") == "discount"), Decimal(0))


def basis_of(line: BilledLine, places: int) -> str:
    """Return how the amount was calculated, in one of the documented forms."""
    return "".join(_parts(line, places))


def _parts(line: BilledLine, places: int) -> Iterator[str]:
    if line.kind == LineKind.OPENING:
        yield "opening balance"
        return
    if line.kind == LineKind.COMMIT:
        days = f"{line.days}/{line.of_days} x " if line.days != line.of_days else ""
        commit = _plain_amount(line.rate or Decimal(0), places)
        yield f"minimum commit {days}{commit} less {_plain_amount(Decimal(line.because.get('eligible', 0)), places)}"
        return
    if line.kind == LineKind.ADJUSTMENT:
        n = line.because.get("line")
        yield f"adjusts {line.adjusts}{f' line {n}' if isinstance(n, int) else ''}"
        if line.rate is None:
            return
        yield ": "
    if line.rate is None:
        yield LUMP_SUM
        return
    is_share = bool(line.days and line.of_days and line.days != line.of_days)
    if line.quantity != 1 or not is_share:
        yield f"{line.quantity:,} x "
    if is_share:
        yield f"{line.days}/{line.of_days} x "
    yield _plain_amount(line.rate, places)
    if line.per > 1:
        yield f" per {line.per:,}"
    if percent := _discount(line):
        yield f", {_trimmed(percent)} % discount"


def _plain_amount(value: Decimal, places: int) -> str:
    """Write a rate with the currency's places, and with more where it has more."""
    whole, _point, rest = f"{value:f}".partition(".")
    rest = rest.rstrip("0").ljust(places, "0")
    return f"{int(whole):,}.{rest}" if rest else f"{int(whole):,}"


def _trimmed(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
