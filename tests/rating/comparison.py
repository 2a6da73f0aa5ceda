"""Rates a case by the product and by the independent rater, and compares what both say."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

from billing.pricing.rating.case_json import case_from_json, case_to_json
from billing.pricing.rating.engine import rate
from billing.pricing.rating.lines import result_to_json
from tests.rating.independent import rate_case, rounded

Json = dict[str, Any]
ORDER = ("base", "addon", "dedicated_ip", "overage", "commit", "one_time")


def by_product(case: Json) -> Json:
    read = case_from_json(case)
    assert case_from_json(case_to_json(read)) == read
    result: Json = json.loads(json.dumps(result_to_json(rate(read))))
    return result


def compare(case: Json) -> Json:
    """Assert that both raters agree and that every line explains itself. Return the product's result."""
    result, expected = by_product(case), rate_case(case)
    assert [_plain(line) for line in in_one_order(result["lines"])] == in_one_order(expected["lines"])
    assert result["total"] == expected["total"]
    assert result["converted"] == expected["converted"]
    assert result["shares"] == expected["shares"]
    findings = {(each["code"], each["account"], each["period"]["start"]) for each in result["findings"]}
    assert findings == expected["findings"]
    check_result(result, case)
    return result


def _plain(line: Json) -> Json:
    return {key: value for key, value in line.items() if key not in ("because", "key")}


def in_one_order(lines: list[Json]) -> list[Json]:
    return sorted(lines, key=lambda line: (
        line["account"] or "", line["kind"], line["offering"], line["service"]["start"], line["tier"],
    ))  # fmt: skip


def check_result(result: Json, case: Json) -> None:
    """Assert what holds for every result: unique keys, the order of kinds, sums, and lines that explain themselves."""
    lines = result["lines"]
    assert len({line["key"] for line in lines}) == len(lines)
    kinds = [ORDER.index(line["kind"]) for line in lines]
    assert kinds == sorted(kinds)
    assert sum(Fraction(line["amount"]) for line in lines) == Fraction(result["total"]["amount"])
    for line in lines:
        assert Fraction(line["amount"]) == Fraction(line["gross"]) - Fraction(line["discount"])
        _check_steps(line, line["because"]["steps"], line["quantity"], line["amount"])
        if "steps_high" in line["because"]:
            amount = line["amount"] if line["amount_high"] is None else line["amount_high"]
            _check_steps(line, line["because"]["steps_high"], line["quantity_high"], amount)


def _check_steps(line: Json, steps: list[Json], quantity: int, amount: str) -> None:
    """Calculate a line again from what it says about itself."""
    places = len(line["gross"].partition(".")[2])
    for step in steps:
        assert rounded(Fraction(step["exact"]) * 10**places) == Fraction(step["rounded"]) * 10**places
    if line["kind"] == "commit":
        because = line["because"]
        assert Fraction(steps[0]["rounded"]) - Fraction(because["eligible"]) == Fraction(amount) or amount in (
            "0",
            f"0.{'0' * places}",
        )
        return
    tier = line["because"].get("tier_high", line["tier"]) if steps is not line["because"]["steps"] else line["tier"]
    rate = line["because"]["tiers"][tier]["rate"] if line["kind"] == "overage" else line["rate"]
    charged = Fraction(rate) * quantity / line["per"] * line["days"] / line["of_days"]
    assert Fraction(steps[0]["exact"]) == charged
    discount = Fraction(steps[1]["rounded"]) if len(steps) > 1 else 0
    assert Fraction(steps[0]["rounded"]) - discount == Fraction(amount)
