"""Adjustments that generated cases seldom reach."""

from __future__ import annotations

from typing import Any

from tests.rating.comparison import compare_adjustments


def version(name: str, since: str, amount: str) -> dict[str, Any]:
    prices = [{"offering": offering, "component": "base", "amount": amount} for offering in ("Pro", "Max")]
    return {"id": name, "valid_from": since, "prices": prices}


def test_a_line_at_another_price_is_reversed() -> None:
    """The billing period begins later than it was billed, after a change of prices: its last segment begins as it did,
    and has another price."""
    spans = [{"from": "2026-01-01", "items": [{"name": "Pro"}]}, {"from": "2026-11-16", "items": [{"name": "Max"}]}]
    period = {"start": "2026-11-01", "end": "2026-11-30", "used": 0}
    versions = [version("v1", "2026-01-01", "30"), version("v2", "2026-11-05", "60")]
    case = {
        "side": "sell", "currency": "EUR", "month": "2026-11",
        "price_lists": [{"id": "L", "provider": "sendgrid", "versions": versions}],
        "contracts": [{"id": "K", "valid_from": "2026-01-01", "price_lists": ["L"]}],
        "accounts": [{"id": "A", "provider": "sendgrid", "offerings": spans, "periods": [period]}],
        "late_figures": [
            {"account": "A", "replaces": "2026-11-01", "period": {**period, "start": "2026-11-06"}},
        ],
    }  # fmt: skip
    (found,) = compare_adjustments(case)
    lines = [(each["offering"], each["rate"], each["quantity"], each["amount"]) for each in found["lines"]]
    assert lines == [
        ("Pro", "30", -1, "-15.00"),
        ("Max", "30", -1, "-15.00"),
        ("Pro", "60", 1, "24.00"),
        ("Max", "60", 1, "36.00"),
    ]
