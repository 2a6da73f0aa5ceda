"""Rates a case by the product and by the independent rater, and compares what both say."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

from billing.pricing.rating.adjusted import adjustments_of, adjustments_to_json
from billing.pricing.rating.case_json import case_from_json, case_to_json
from billing.pricing.rating.engine import rate
from billing.pricing.rating.lines import result_to_json
from tests.rating.independent import adjust_case, rate_case, rounded

Json = dict[str, Any]
ADJUSTED = (
    "account", "kind", "offering", "service", "period", "tier", "rate", "per", "quantity", "gross", "discount",
    "amount", "account_code", "tax_code", "version",
)  # fmt: skip
ORDER = ("base", "addon", "dedicated_ip", "overage", "commit", "one_time")


def compare_adjustments(case: Json) -> list[Json]:
    """Assert that both raters adjust a month equally. Return what the product says."""
    read = case_from_json(case)
    assert case_from_json(case_to_json(read)) == read
    found: list[Json] = json.loads(json.dumps(adjustments_to_json(adjustments_of(read))))
    expected = adjust_case(case)
    assert [set(each["undecided"]) for each in found] == [each["undecided"] for each in expected]
    for ours, theirs in zip(found, expected, strict=True):
        plain = [{name: line[name] for name in ADJUSTED} | {"rate": Fraction(line["rate"])} for line in ours["lines"]]
        wanted = [{name: line[name] for name in ADJUSTED} for line in theirs["lines"]]
        assert sorted(plain, key=_of_line) == sorted(wanted, key=_of_line)
        kinds = [ORDER.index(line["kind"]) for line in ours["lines"]]
        assert kinds == sorted(kinds)
        assert len({line["key"] + line["rate"] for line in ours["lines"]}) == len(ours["lines"])
    return found


def _of_line(line: Json) -> Any:
    service = line["service"]["start"]
    return line["account"] or "", line["kind"], line["offering"], service, line["tier"], line["rate"], line["per"]


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
