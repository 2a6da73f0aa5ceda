"""What each finding says, and what a line says about itself."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rating.comparison import compare

Json = dict[str, Any]
PERIOD = {"start": "2026-11-01", "end": "2026-11-30"}
OVERAGE = {
    "component": "overage",
    "included": 100,
    "tiers": [{"up_to": 50, "rate": "0.5"}, {"up_to": None, "rate": "1"}],
}
PRICES = [
    {"offering": "Pro", "component": "base", "amount": "10"},
    {"offering": "Pro", **OVERAGE},
    {"offering": "Max", **OVERAGE, "included": 200, "when_changed": "incurred"},
    {"offering": "IP", "component": "one_time", "amount": "5", "included": 1},
    {"offering": "Flat", "component": "base", "amount": "10"},
]


def case(period: Json | None = None, **account: Any) -> Json:
    held = {"offerings": [{"from": "2026-01-01", "items": [{"name": "Pro"}]}]}
    found = {"id": "A", "provider": "p", **held, **account}
    found["periods"] = [{**PERIOD, "used": 0, **(period or {})}]
    return {
        "side": "sell", "currency": "EUR", "month": "2026-11", "accounts": [found],
        "price_lists": [
            {"id": "L", "provider": "p", "versions": [{"id": "V", "valid_from": "2026-01-01", "prices": PRICES}]}
        ],
        "contracts": [{"id": "K", "valid_from": "2026-01-01", "price_lists": ["L"]}],
    }  # fmt: skip


def held(since: str, *names: str, **more: Any) -> Json:
    return {"from": since, "items": [{"name": name} for name in names], **more}


FINDINGS: list[tuple[Json, list[Json]]] = [
    (case(), []),
    (case(provider="q"), [{"code": "no_price_list", "provider": "q"}]),
    ({**case(), "contracts": []}, [{"code": "no_contract", "provider": "p"}]),
    (case(offerings=[held("2026-01-01", "Pro", "Old")]), [{"code": "unpriced", "offering": "Old"}]),
    (case(offerings=[]), [{"code": "unpriced", "offering": ""}]),
    (case({"used": None, "status": "missing"}), [{"code": "missing", "status": "missing"}]),
    (case({"used": 5, "status": "missing"}), [{"code": "missing", "status": "missing"}]),
    (case({"used": None, "status": "interval"}), [{"code": "missing", "status": "interval"}]),
    (case({"status": "stale"}), [{"code": "not_final", "status": "stale"}]),
    (case({"status": "disputed"}), [{"code": "disputed"}]),
    (case({"status": "interval", "high": 101}), [{"code": "interval"}]),
    (case({"status": "interval", "high": 100}), []),
    (case({"status": "interval"}), [{"code": "open_ended"}]),
    (case({"allowed": 99}), [{"code": "allowed_differs", "allowed": 99, "included": 100}]),
    (
        case({"used": 7}, offerings=[held("2026-01-01", "Flat")]),
        [{"code": "overage_unpriced", "used": {"low": 7, "high": 7}}],
    ),
    (case({"used": 0}, offerings=[held("2026-01-01", "Flat")]), []),
    (case({"used": None, "status": "missing"}, offerings=[held("2026-01-01", "Flat")]), []),
    (
        case(offerings=[held("2026-01-01", "Pro", "Max")]),
        [{"code": "several_packages", "offerings": ["Pro", "Max"]}],
    ),
    (
        case({"used": 250}, offerings=[held("2026-01-01", "Pro"), held("2026-11-05", "Max")]),
        [
            {"code": "usage_at_change_unknown", "on": "2026-11-05", "used": {"low": 0, "high": 250}},
            {"code": "interval"},
        ],
    ),
    (
        case(
            {"used": 250, "at_changes": [{"on": "2026-11-05", "used": 5}]},
            offerings=[held("2026-01-01", "Flat"), held("2026-11-05", "Max")],
        ),
        [{"code": "overage_unpriced", "used": {"low": 5, "high": 5}, "from": "2026-11-01", "until": "2026-11-04"}],
    ),
    (
        case(offerings=[held("2026-01-01", "Flat"), held("2026-11-05", "Pro", uncertain_since="2026-11-03")]),
        [{"code": "uncertain_day", "from": "2026-11-05", "uncertain_since": "2026-11-03"}],
    ),
    (
        case(offerings=[held("2026-01-01", "Pro"), held("2026-12-01", "Flat", uncertain_since="2026-11-30")]),
        [{"code": "uncertain_day", "from": "2026-12-01", "uncertain_since": "2026-11-30"}],
    ),
    (case(offerings=[held("2026-01-01", "Pro"), held("2026-12-02", "Flat", uncertain_since="2026-12-01")]), []),
    (case(offerings=[held("2026-01-01", "Flat"), held("2026-11-01", "Pro", uncertain_since="2026-10-30")]), []),
    (
        case(offerings=[held("2026-11-05", "Pro")]),
        [{"code": "offerings_unknown", "from": "2026-11-01", "until": "2026-11-04"}],
    ),
    (
        case(offerings=[held("2026-12-05", "Pro")]),
        [{"code": "offerings_unknown", "from": "2026-11-01", "until": "2026-11-30"}],
    ),
    (
        case(offerings=[held("2026-01-01"), {"from": "2026-11-01", "items": [{"name": "IP", "quantity": 3}]}]),
        [{"code": "one_time_on_first_day", "offering": "IP", "units": 2}],
    ),
    (case({"used": 7}, created_on="2026-12-01"), [{"code": "usage_without_account", "used": 7}]),
    (case({"used": 0}, created_on="2026-12-01"), []),
]  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), FINDINGS, ids=range(len(FINDINGS)))
def test_a_finding_says_what_was_found(given: Json, expected: list[Json]) -> None:
    found = compare(given)["findings"]
    assert found == [{"account": "A", "period": PERIOD, **each} for each in expected]


def test_a_line_explains_its_price_and_arithmetic() -> None:
    given = case({"used": 160})
    given["contracts"][0] |= {
        "discounts": [{"valid_from": "2026-01-01", "percent": "10", "kinds": ["overage"]}],
        "overrides": [{"valid_from": "2026-01-01", "offering": "Pro", "component": "overage", "included": 90}],
    }
    line = compare(given)["lines"][-1]
    assert line["key"] == "A/overage/Pro/2026-11-01/1"
    assert line["because"] == {
        "figure": {"status": "final", "used": 160, "high": None},
        "offering": "Pro",
        "offering_quantity": 1,
        "price": {
            "price_list": "L",
            "version": "V",
            "valid_from": "2026-01-01",
            "contract": "K",
            "overrides": [
                {
                    "valid_from": "2026-01-01", "valid_until": None, "offering": "Pro", "component": "overage",
                    "included": 90,
                }
            ],
        },
        "mode": "graduated",
        "block_size": None,
        "tiers": [{"up_to": 50, "rate": "0.5"}, {"up_to": None, "rate": "1"}],
        "used": {"low": 160, "high": 160},
        "included": 90,
        "included_by": {
            "when_changed": "last",
            "spans": [{"from": "2026-11-01", "until": "2026-11-30", "days": 30, "included": 90}],
        },
        "units": {"low": 70, "high": 70},
        "tier": 1,
        "steps": [
            {"step": "gross", "quantity": 20, "days": 30, "of_days": 30, "exact": "20/1", "rounded": "20.00"},
            {"step": "discount", "percent": "10", "exact": "2/1", "rounded": "2.00"},
        ],
    }  # fmt: skip


def test_an_incurred_line_explains_its_stretch() -> None:
    offerings = [held("2026-01-01", "Pro"), held("2026-11-05", "Max")]
    lines = compare(case({"used": 250, "at_changes": [{"on": "2026-11-05", "used": 120}]}, offerings=offerings))[
        "lines"
    ]
    first, second = (line["because"] for line in lines if line["kind"] == "overage")
    assert (first["used"], first["used_before"]) == ({"low": 120, "high": 120}, {"low": 0, "high": 0})
    assert (second["used"], second["used_before"]) == ({"low": 250, "high": 250}, {"low": 120, "high": 120})
    assert first["included_by"] == {"when_changed": "incurred", "from": "2026-11-01", "until": "2026-11-04"}
    assert (second["included"], second["units"]) == (200, {"low": 50, "high": 50})


def test_a_held_line_explains_the_days_it_is_for() -> None:
    """Base names the days of the account, an add-on that is not prorated its quantities, a one-time line the rises."""
    given = case(
        offerings=[held("2026-11-03", "Pro"), {"from": "2026-11-09", "items": [{"name": "IP", "quantity": 3}]}]
    )
    given["accounts"][0] |= {"created_on": "2026-11-03", "deleted_on": "2026-11-20"}
    given["price_lists"][0]["versions"][0]["prices"].append(
        {"offering": "IP", "component": "dedicated_ip", "amount": "1"}
    )
    base, address, once = (line["because"] for line in compare(given)["lines"])
    assert base["exists"] == {"from": "2026-11-03", "until": "2026-11-20"}
    assert address["highest_of"] == [{"from": "2026-11-09", "until": "2026-11-20", "above": 3}]
    assert once["rises"] == [{"on": "2026-11-09", "units": 2}]


def test_a_true_up_explains_what_is_missing() -> None:
    given = case({"used": 50, "status": "interval"})
    given["contracts"][0]["commit"] = {"amount": "31"}
    line = compare(given)["lines"][-1]
    assert (line["amount"], line["amount_high"]) == ("21.00", "0.00")
    assert line["because"] == {
        "contract": "K", "commit": "31", "prorated": False, "eligible": "10.00", "eligible_high": "open_ended",
        "steps": [{"step": "commit", "days": 30, "of_days": 30, "exact": "31/1", "rounded": "31.00"}],
    }  # fmt: skip
