"""The JSON form of a case: what is refused, and with which words."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from billing.pricing.rating import case as inputs
from billing.pricing.rating.case_json import case_from_json, case_to_json, load_json
from billing.pricing.rating.json_form import CaseError
from tests.rating.cases import case_of

Json = dict[str, Any]
CASE: Json = {
    "side": "sell",
    "currency": "EUR",
    "month": "2026-11",
    "price_lists": [
        {
            "id": "L", "provider": "p",
            "versions": [
                {"id": "V", "valid_from": "2026-01-01", "prices": [
                    {"offering": "Pro", "component": "base", "amount": "1"},
                    {"offering": "Pro", "component": "overage", "included": 10, "mode": "block", "block_size": 10,
                     "tiers": [{"up_to": 10, "rate": "1"}, {"up_to": 20, "rate": "1"}, {"up_to": None, "rate": "1"}]},
                ]},
                {"id": "W", "valid_from": "2026-02-01", "prices": []},
            ],
        },
        {"id": "M", "provider": "p", "versions": []},
    ],
    "contracts": [
        {
            "id": "K", "valid_from": "2026-01-01", "valid_until": "2026-06-30", "price_lists": ["L"],
            "discounts": [{"valid_from": "2026-01-01", "percent": "10", "kinds": ["base"]}],
            "overrides": [{"valid_from": "2026-01-01", "offering": "Pro", "component": "overage", "included": 5}],
            "commit": {"amount": "5"},
        },
        {"id": "J", "valid_from": "2026-07-01", "price_lists": ["L"]},
    ],
    "accounts": [
        {
            "id": "A", "provider": "p", "created_on": "2026-01-01", "deleted_on": "2026-12-01",
            "offerings": [
                {"from": "2026-01-01", "items": [{"name": "Pro"}]},
                {"from": "2026-02-01", "items": [], "uncertain_since": "2026-01-30"},
            ],
            "states": [{"from": "2026-01-01", "state": "active"}],
            "periods": [
                {"start": "2026-10-01", "end": "2026-10-31", "used": 5},
                {"start": "2026-11-01", "end": "2026-11-30", "used": 5, "high": 7, "status": "interval",
                 "at_changes": [{"on": "2026-11-05", "used": 1}, {"on": "2026-11-06", "used": 2}]},
            ],
        },
        {"id": "B", "provider": "p"},
    ],
    "invoice": {
        "period": {"start": "2026-11-01", "end": "2026-11-30"}, "total": "1.00", "method": "volume",
        "accounts": [{"id": "A"}, {"id": "B"}],
    },
    "exchange_rate": {"rate": "1.1", "units_of": "USD", "per_one": "EUR", "on": "2026-11-30"},
}  # fmt: skip
VERSION = ("price_lists", 0, "versions", 0)
BASE, OVERAGE = (*VERSION, "prices", 0), (*VERSION, "prices", 1)
CONTRACT, ACCOUNT, INVOICE, RATE = ("contracts", 0), ("accounts", 0), ("invoice",), ("exchange_rate",)
PERIOD = (*ACCOUNT, "periods", 1)
TIERS = (*OVERAGE, "tiers")


def changed(path: tuple[Any, ...], value: Any) -> Json:
    case = deepcopy(CASE)
    place: Any = case
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return case


def at(*path: Any) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")


REFUSED: list[tuple[tuple[Any, ...], Any, str]] = [
    (("side",), "both", 'side: "both" is not one of sell, cost.'),
    (("side",), ..., "side: is missing."),
    (("unknown",), 1, "unknown: is not a known key."),
    (("un\nknown",), 1, "un\\nknown: is not a known key."),
    (("side",), "bo\nth", 'side: "bo\\nth" is not one of sell, cost.'),
    (("currency",), "XAU", "currency: 'XAU' is not a currency of ISO 4217 with minor units."),
    (("currency",), "EURO", "currency: 'EURO' is not a currency"),
    (("currency",), "eur", "currency: 'eur' is not a currency"),
    (("month",), "2026-13", 'month: "2026-13" is not a month.'),
    (("month",), "1899-12", 'month: "1899-12" is not in the years 1900 to 2999.'),
    (("month",), "9999-12", 'month: "9999-12" is not in the years 1900 to 2999.'),
    (("month",), "202611", 'month: "202611" is not a month.'),
    (("price_lists",), {}, "price_lists: an object is not a list."),
    (("price_lists", 1, "id"), "L", 'price_lists[1].id: "L" was used before.'),
    (("price_lists", 1, "id"), "", "price_lists[1].id: is empty."),
    (("price_lists", 0, "versions", 1, "id"), "V", 'price_lists[0].versions[1].id: "V" was used before.'),
    (("price_lists", 0, "versions", 1, "valid_from"), "2026-01-01", "valid_from: 2026-01-01 is not after 2026-01-01."),
    (("price_lists", 0, "versions", 1, "valid_from"), "2026-02-30", '"2026-02-30" is not a date.'),
    (("price_lists", 0, "versions", 1, "valid_from"), "20260201", '"20260201" is not a date.'),
    (("price_lists", 0, "versions", 1, "valid_from"), "2026-W05-1", '"2026-W05-1" is not a date.'),
    ((*VERSION, "prices", 0), [], "prices[0]: a list is not an object."),
    ((*VERSION, "prices", 0), {"component": "fee"}, 'component: "fee" is not one of base'),
    ((*VERSION, "prices", 0), {}, "prices[0].component: null is not one of base"),
    ((*BASE, "amount"), 1.5, "prices[0].amount: 1.5 is not a string."),
    ((*BASE, "amount"), Decimal("1.5"), "prices[0].amount: 1.5 is not a string."),
    ((*BASE, "amount"), "1e3", 'amount: "1e3" is not a number.'),
    ((*BASE, "amount"), "NaN", 'amount: "NaN" is not a number.'),
    ((*BASE, "amount"), "", 'amount: "" is not a number.'),
    ((*BASE, "amount"), "+1", 'amount: "+1" is not a number.'),
    ((*BASE, "amount"), " 1", 'amount: " 1" is not a number.'),
    ((*BASE, "amount"), "1_0", 'amount: "1_0" is not a number.'),
    ((*BASE, "amount"), "\u0661", "is not a number."),
    ((*BASE, "amount"), "1.0000000001", "has more than 9 digits before or 9 after the point."),
    ((*BASE, "amount"), "1000000000", "has more than 9 digits before or 9 after the point."),
    ((*BASE, "on_start"), "half", '"half" is not one of full, prorated.'),
    ((*BASE, "bill_when_suspended"), 1, "1 is not true or false."),
    ((*BASE, "included"), 1, "prices[0].included: is not a known key."),
    ((*OVERAGE, "component"), "base", "is not a known key."),
    ((*OVERAGE, "included"), True, "true is not a whole number from 0"),
    ((*OVERAGE, "included"), -1, "-1 is not a whole number from 0"),
    ((*OVERAGE, "included"), 10**15 + 1, "is not a whole number from 0"),
    ((*OVERAGE, "per"), 0, "0 is not a whole number from 1"),
    ((*OVERAGE, "block_size"), None, "block_size: is given exactly where the mode is block."),
    ((*OVERAGE, "mode"), "volume", "block_size: is given exactly where the mode is block."),
    ((*OVERAGE, "block_size"), 20, "tiers: every bound has to be a multiple of the block size 20."),
    (TIERS, [], "tiers: the last tier has to be open"),
    (
        TIERS,
        [{"up_to": n * 10, "rate": "1"} for n in range(1, 101)] + [{"rate": "1"}],
        "tiers: has more than 100 tiers.",
    ),
    ((*TIERS, 2, "up_to"), 30, "tiers: the last tier has to be open"),
    ((*TIERS, 0, "up_to"), None, "tiers: upper bounds have to ascend, and only the last tier is open."),
    ((*TIERS, 0, "up_to"), 20, "tiers: upper bounds have to ascend"),
    ((*TIERS, 0, "up_to"), 0, "up_to: 0 is not a whole number from 1"),
    ((*TIERS, 0, "rate"), "-1", '"-1" is not a number of at least 0.'),
    ((*VERSION, "prices", 1), {"offering": "Pro", "component": "base", "amount": "1"}, '"Pro" has its price for base'),
    ((*CONTRACT, "valid_until"), "2025-12-31", "contracts[0].valid_until: 2025-12-31 is before 2026-01-01."),
    ((*CONTRACT, "valid_until"), "2026-07-01", 'contracts[1]: is valid at the same time as the contract "K".'),
    ((*CONTRACT, "valid_until"), None, 'contracts[1]: is valid at the same time as the contract "K".'),
    (("contracts", 1, "id"), "K", 'contracts[1].id: "K" was used before.'),
    ((*CONTRACT, "price_lists"), ["N"], 'contracts[0].price_lists[0]: no price list has the ID "N".'),
    ((*CONTRACT, "price_lists"), ["L", "M"], "contracts[0].price_lists: a contract has at most one price list"),
    ((*CONTRACT, "price_lists"), ["L", "L"], "contracts[0].price_lists: a contract has at most one price list"),
    ((*CONTRACT, "discounts", 0, "percent"), "101", '"101" is not a number from 0 to 100.'),
    ((*CONTRACT, "discounts", 0, "percent"), "-1", '"-1" is not a number from 0 to 100.'),
    ((*CONTRACT, "discounts", 0, "kinds"), ["commit"], 'kinds[0]: "commit" is not one of base'),
    ((*CONTRACT, "discounts"), [CASE["contracts"][0]["discounts"][0]] * 2, "discounts[1]: another discount"),
    ((*CONTRACT, "overrides"), [CASE["contracts"][0]["overrides"][0]] * 2, "overrides[1]: another override"),
    ((*CONTRACT, "overrides", 0, "block_size"), 7, "overrides[0].tiers: every bound has to be a multiple"),
    ((*CONTRACT, "overrides", 0, "amount"), "1", "overrides[0].amount: is not a known key."),
    ((*CONTRACT, "overrides", 0, "valid_until"), "2025-01-01", "overrides[0].valid_until: 2025-01-01 is before"),
    ((*CONTRACT, "commit", "amount"), "-5", '"-5" is not a number of at least 0.'),
    (("accounts", 1, "id"), "A", 'accounts[1].id: "A" was used before.'),
    ((*ACCOUNT, "deleted_on"), "2025-01-01", "accounts[0].deleted_on: 2025-01-01 is before 2026-01-01."),
    ((*ACCOUNT, "offerings", 1, "from"), "2025-01-01", "offerings[1].from: 2025-01-01 is not after 2026-01-01."),
    ((*ACCOUNT, "offerings", 1, "uncertain_since"), "2026-02-02", "uncertain_since: 2026-02-02 is after 2026-02-01."),
    ((*ACCOUNT, "offerings", 0, "items"), [{"name": "Pro"}] * 2, 'items[1].name: "Pro" was used before.'),
    ((*ACCOUNT, "offerings", 0, "items", 0, "quantity"), -1, "-1 is not a whole number from 0"),
    ((*ACCOUNT, "offerings", 0, "items", 0, "name"), "", "items[0].name: is empty."),
    ((*ACCOUNT, "states", 0, "state"), "gone", '"gone" is not one of pending'),
    ((*PERIOD, "end"), "2026-10-31", "periods[1].end: 2026-10-31 is before 2026-11-01."),
    ((*PERIOD, "end"), "9999-12-31", 'end: "9999-12-31" is not in the years 1900 to 2999.'),
    ((*ACCOUNT, "periods", 0, "start"), "0001-01-01", 'start: "0001-01-01" is not in the years 1900 to 2999.'),
    ((*PERIOD, "start"), "2026-10-31", "periods[1].start: 2026-10-31 is in the period before."),
    ((*PERIOD, "high"), 4, "periods[1].high: is less than used."),
    ((*PERIOD, "used"), None, "periods[1].high: is less than used."),
    ((*PERIOD, "status"), "final", "periods[1].high: a figure that is final is one number."),
    ((*ACCOUNT, "periods", 0, "used"), None, "periods[0].used: a figure that is final has a number."),
    ((*PERIOD, "at_changes", 0, "on"), "2026-10-31", "at_changes[0].on: 2026-10-31 is not in the period."),
    ((*PERIOD, "at_changes", 0, "on"), "2026-11-06", "at_changes[1].on: 2026-11-06 is not after 2026-11-06."),
    ((*PERIOD, "at_changes", 0, "used"), 3, "at_changes[1].used: is less than at the change before."),
    ((*PERIOD, "at_changes", 0, "high"), 0, "at_changes[0].high: is less than used."),
    ((*PERIOD, "at_changes", 1, "used"), 6, "at_changes[1].used: is more than used in the whole period."),
    ((*INVOICE, "total"), "1.005", "invoice.total: 1.005 has more decimal places than EUR."),
    ((*INVOICE, "accounts", 1, "id"), "A", 'invoice.accounts[1].id: "A" was used before.'),
    ((*INVOICE, "period", "end"), "2026-10-01", "invoice.period.end: 2026-10-01 is before 2026-11-01."),
    ((*RATE, "units_of"), "EUR", "exchange_rate: is not one between EUR and another currency."),
    ((*RATE, "per_one"), "JPY", "exchange_rate: is not one between EUR and another currency."),
    ((*RATE, "units_of"), "XXX", "exchange_rate.units_of: 'XXX' is not a currency"),
    ((*RATE, "rate"), "0.0", "exchange_rate.rate: is zero."),
    ((*RATE, "on"), "2026-11-29", "exchange_rate.on: 2026-11-29 is not the last day of the month."),
]


@pytest.mark.parametrize(
    ("path", "value", "message"), REFUSED, ids=lambda each: at(*each) if isinstance(each, tuple) else ""
)
def test_what_is_wrong_is_named_with_its_path(path: tuple[Any, ...], value: Any, message: str) -> None:
    with pytest.raises(CaseError) as refused:
        case_from_json(changed(path, value))
    text = str(refused.value)
    assert message in text
    assert "\n" not in text
    assert text.endswith(".")


def of_overage(since: str, until: str | None, **fields: Any) -> Json:
    dated = {"valid_from": since, "valid_until": until}
    return {**dated, "offering": "Pro", "component": "overage", **fields}


def test_overrides_are_checked_on_each_day() -> None:
    """Those of the same days together, and not those of different days."""
    graduated = of_overage("2026-01-01", None, mode="graduated")
    unset = of_overage("2026-01-01", "2026-05-31", block_size=None)
    again = of_overage("2026-06-01", None, block_size=None)
    case_from_json(changed((*CONTRACT, "overrides"), [graduated, unset, again]))
    with pytest.raises(CaseError, match=r"^contracts\[0\]\.overrides\[0\]\.block_size: is given exactly where"):
        case_from_json(changed((*CONTRACT, "overrides"), [graduated, unset]))
    apart = [
        of_overage("2026-01-01", "2026-05-31", tiers=[{"up_to": 9, "rate": "1"}, {"rate": "1"}], block_size=9),
        of_overage("2026-03-01", None, included=1),
        of_overage("2026-06-01", None, block_size=5),
    ]
    case_from_json(changed((*CONTRACT, "overrides"), apart))
    apart[2]["block_size"] = 7
    with pytest.raises(CaseError, match=r"^contracts\[0\]\.overrides\[2\]\.tiers: every bound has to be a multiple"):
        case_from_json(changed((*CONTRACT, "overrides"), apart))


def test_the_cost_side_has_no_contracts() -> None:
    with pytest.raises(CaseError, match=r"^contracts: the cost side has no contracts\.$"):
        case_from_json(changed(("side",), "cost"))


def test_the_cost_side_has_one_list_per_provider() -> None:
    case = {**CASE, "side": "cost", "contracts": []}
    with pytest.raises(CaseError, match=r'^price_lists\[1\]\.provider: "p" was used before\.$'):
        case_from_json(case)


@pytest.mark.parametrize("value", [None, [], "case", 1, True])
def test_a_case_is_an_object(value: object) -> None:
    with pytest.raises(CaseError, match=r"^case: .* is not an object\.$"):
        case_from_json(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "case: is not JSON: "),
        ('{"a": NaN}', "case: NaN is not a number of JSON."),
        ('{"a": 1, "a": 2}', 'case: an object has the key "a" twice.'),
        ("[" * 100_000, "case: is nested too deeply."),
        ("1" * 5000, "case: is not JSON: "),
        ("1e99999999999999999999", "case: a number is too large."),
    ],
    ids=["cut", "nan", "twice", "deep", "long", "exponent"],
)
def test_text_that_is_no_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(CaseError) as refused:
        load_json(text)
    assert str(refused.value).startswith(message)


def test_a_number_with_a_point_never_becomes_a_float() -> None:
    assert load_json("[1.10, 1e2]") == [Decimal("1.10"), Decimal("1e2")]
    assert not any(isinstance(each, float) for each in load_json("[1.10, 1e2]"))  # type: ignore[attr-defined]


def test_writing_and_reading_a_case_changes_nothing() -> None:
    """Also through text, and what was written in full is written the same again."""
    cases = [CASE, *(case_of(number) for number in range(100))]
    for case in cases:
        read = case_from_json(case)
        written = case_to_json(read)
        assert case_from_json(load_json(json.dumps(written))) == read
        assert case_to_json(case_from_json(written)) == written


def test_amounts_keep_their_places() -> None:
    written = case_to_json(case_from_json(changed((*BASE, "amount"), "1.500")))
    assert written["price_lists"][0]["versions"][0]["prices"][0]["amount"] == "1.500"


DEFAULTS: list[tuple[str, Callable[[inputs.Case], Any], Any]] = [
    ("on_start", lambda case: case.price_lists[0].versions[0].prices[0].on_start, "full"),  # type: ignore[union-attr]
    ("when_changed", lambda case: case.price_lists[0].versions[0].prices[1].when_changed, None),  # type: ignore[union-attr]
    ("valid_until", lambda case: case.contracts[1].valid_until, None),
    ("quantity", lambda case: case.accounts[0].offerings[0].items[0].quantity, 1),
    ("status", lambda case: case.accounts[0].periods[0].status, "final"),
    ("test", lambda case: case.accounts[0].test, False),
    ("prorated", lambda case: case.contracts[0].commit.prorated, False),  # type: ignore[union-attr]
    ("month", lambda case: case.month, date(2026, 11, 1)),
]


@pytest.mark.parametrize(("name", "value_of", "default"), DEFAULTS, ids=[name for name, *_rest in DEFAULTS])
def test_what_is_left_out_has_its_default(name: str, value_of: Callable[[inputs.Case], Any], default: Any) -> None:
    assert value_of(case_from_json(CASE)) == default
