"""Exact money: minor units, the one rounding, conversion, shares, and no float anywhere."""

from __future__ import annotations

import ast
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from billing.pricing.rating.case import ConversionRate, InvoicePart, SharedInvoice
from billing.pricing.rating.currency import UnknownCurrency, as_amount, converted, half_up, minor_unit_places
from billing.pricing.rating.shares import share_invoice
from tests.rating.comparison import compare

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*(ROOT / "billing" / "pricing").rglob("*.py"), ROOT / "billing" / "money.py"])
DAY = date(2026, 11, 30)
RATE = ConversionRate(Decimal("1.0832"), "USD", "EUR", "ECB", DAY)


@pytest.mark.parametrize(("code", "places"), [("JPY", 0), ("EUR", 2), ("USD", 2), ("KWD", 3), ("CLF", 4), ("ISK", 0)])
def test_minor_units_are_those_of_iso_4217(code: str, places: int) -> None:
    assert minor_unit_places(code) == places


@pytest.mark.parametrize("code", ["XAU", "XXX", "EURO", "", "eur", "978"])
def test_a_code_without_minor_units_is_refused(code: str) -> None:
    with pytest.raises(UnknownCurrency):
        minor_unit_places(code)


@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"),
    [
        (1, 2, 1),
        (-1, 2, -1),
        (3, 2, 2),
        (-3, 2, -2),
        (49, 100, 0),
        (-51, 100, -1),
        (0, 7, 0),
        (10**40 + 1, 2, 10**40 // 2 + 1),
    ],
)  # fmt: skip
def test_the_half_is_rounded_away_from_zero(numerator: int, denominator: int, expected: int) -> None:
    assert half_up(numerator, denominator) == expected


@pytest.mark.parametrize(
    ("amount", "source", "target", "expected"),
    [
        ("89.96", "EUR", "USD", "97.44"),
        ("97.44", "USD", "EUR", "89.96"),
        ("-89.96", "EUR", "USD", "-97.44"),
        ("0.00", "EUR", "USD", "0.00"),
    ],
)
def test_a_total_is_converted_in_both_directions(amount: str, source: str, target: str, expected: str) -> None:
    assert str(converted(Decimal(amount), source, target, RATE)) == expected


def test_a_quotient_is_rounded_as_an_exact_fraction() -> None:
    """With 28 digits this quotient is 0.005 exactly, and would be rounded up."""
    rate = ConversionRate(Decimal(3), "USD", "EUR", "", DAY)
    amount = Decimal("0.0149999999999999999999999999999999")
    assert Fraction(amount) / 3 < Fraction(5, 1000)
    assert converted(amount, "USD", "EUR", rate) == 0


def test_large_amounts_keep_all_digits() -> None:
    """The default context of `decimal` rounds to 28 digits."""
    assert str(as_amount(10**40 + 1, 2)) == f"1{'0' * 37}0.01"
    rate = ConversionRate(Decimal("999999999.999999999"), "USD", "EUR", "", DAY)
    amount = Decimal(f"1{'0' * 26}.01")
    assert str(converted(amount, "EUR", "USD", rate)) == "99999999999999999900000000010000000.00"


def test_totals_of_large_lines_keep_all_digits() -> None:
    """Each line is the largest that a case can have."""
    price = {"component": "base", "offering": "Pro", "amount": "999999999.999999999"}
    held = [{"from": "2026-01-01", "items": [{"name": "Pro", "quantity": 10**9}]}]
    tiers = [{"rate": "999999999.999999999"}]
    case = {
        "side": "cost", "currency": "KWD", "month": "2026-11",
        "price_lists": [{"id": "L", "provider": "p", "versions": [{"id": "V", "valid_from": "2026-01-01", "prices": [
            price, {"component": "overage", "offering": "Pro", "included": 0, "tiers": tiers},
        ]}]}],
        "accounts": [
            {"id": f"A{n}", "provider": "p", "offerings": held,
             "periods": [{"start": "2026-11-01", "end": "2026-11-30", "used": 10**15}]}
            for n in range(100)
        ],
    }  # fmt: skip
    assert compare(case)["total"]["amount"] == "100000099999999999899999900.000"


def test_a_rate_between_other_currencies_is_refused() -> None:
    with pytest.raises(ValueError, match="not one between EUR and JPY"):
        converted(Decimal(1), "EUR", "JPY", RATE)


def invoice(
    total: str, counts: dict[str, int], *, removed: int = 0, gone: dict[str, int] | None = None
) -> SharedInvoice:
    return SharedInvoice(
        start=date(2026, 11, 1), end=DAY, total=Decimal(total), method="volume", parent=InvoicePart("", 0),
        accounts=tuple(InvoicePart(name, count) for name, count in counts.items()), unknown=(),
        removed_accounts=tuple(InvoicePart(name, count) for name, count in (gone or {}).items()),
        removed=InvoicePart("", removed),
    )  # fmt: skip


def amounts(shared: SharedInvoice, currency: str = "EUR") -> dict[str, str]:
    return {each.id or each.kind: str(each.amount) for each in share_invoice(shared, currency)}


def test_equal_remainders_go_to_the_first_id() -> None:
    found = amounts(invoice("1.00", {"c": 1, "a": 1, "b": 1}))
    assert (found["a"], found["b"], found["c"]) == ("0.34", "0.33", "0.33")


def test_a_negative_invoice_is_shared_as_a_positive_one() -> None:
    found = amounts(invoice("-1.00", {"c": 1, "a": 1, "b": 1}))
    assert (found["a"], found["b"], found["c"]) == ("-0.34", "-0.33", "-0.33")


def test_removed_accounts_that_sum_to_more_leave_no_rest() -> None:
    found = amounts(invoice("1.00", {"a": 1}, removed=1, gone={"b": 3}))
    assert (found["a"], found["b"], found["removed"]) == ("0.25", "0.75", "0.00")


def test_shares_have_the_places_of_the_currency() -> None:
    assert amounts(invoice("10", {"a": 1, "b": 2}), "JPY") == {"parent": "0", "a": "3", "b": "7", "removed": "0"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_float_touches_money(path: Path) -> None:
    """True division of integers is a float, and so is what json.loads reads by itself. `round` goes to the even."""
    tree = ast.parse(path.read_text())
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            found.append(f"{node.lineno}: {node.value}")
        elif isinstance(node, ast.Name) and node.id in ("float", "round", "complex"):
            found.append(f"{node.lineno}: {node.id}")
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            found.append(f"{node.lineno}: /")
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Pow):
            # A power is a whole number as long as its exponent is not negative.
            negative = isinstance(node, ast.BinOp) and isinstance(node.right, ast.UnaryOp)
            found += [f"{node.lineno}: ** -"] if negative else []
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.loads", "json.load"):
            found += [] if any(each.arg == "parse_float" for each in node.keywords) else [f"{node.lineno}: json"]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [each.name for each in node.names] + [getattr(node, "module", "") or ""]
            allowed = {"gcd"}
            found += [f"{node.lineno}: math"] if "math" in names and not {*names} - {"math"} <= allowed else []
    assert found == []


def test_the_engine_rounds_in_one_place() -> None:
    """Nothing but `half_up` rounds: no quantize, and no rounding mode of a context."""
    words = ("quantize", "to_integral", "ROUND_", "getcontext", "localcontext")
    found = [f"{path.name}: {word}" for path in SOURCES[:-1] for word in words if word in path.read_text()]
    assert [each for each in found if not each.startswith("money.py")] == []
