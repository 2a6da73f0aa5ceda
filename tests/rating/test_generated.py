"""Generated cases, rated twice. 500 in the suite, 100,000 in `make proof`, and 20,000 with late figures; `SEED=n`
generates others."""

from __future__ import annotations

import json

import pytest

from tests.rating.cases import case_of, late_case_of
from tests.rating.comparison import compare, compare_adjustments
from tests.support.samples import SEED, is_proof

GROUPS = 10
COUNT = 100_000 if is_proof() else 500
LATE_COUNT = 20_000 if is_proof() else 500
EVERY_FINDING = {
    "no_contract", "no_price_list", "unpriced", "missing", "disputed", "not_final", "interval", "open_ended",
    "usage_at_change_unknown", "overage_unpriced", "several_packages", "allowed_differs", "uncertain_day",
    "offerings_unknown", "one_time_on_first_day", "usage_without_account", "usage_while_banned",
}  # fmt: skip


@pytest.mark.parametrize("group", range(GROUPS))
def test_both_raters_agree(group: int) -> None:
    for number in range(group, COUNT, GROUPS):
        case = case_of(number, SEED)
        try:
            compare(case)
        except Exception as error:
            error.add_note(f"Case {number}, SEED={SEED}: {json.dumps(case)}")
            raise


def test_the_cases_reach_every_kind_and_finding() -> None:
    """A generator that never makes a thing proves nothing about it."""
    kinds: set[object] = set()
    findings: set[str] = set()
    for number in range(500):
        result = compare(case_of(number))
        kinds |= {line["kind"] for line in result["lines"]} | {type(line["amount_high"]) for line in result["lines"]}
        findings |= {finding["code"] for finding in result["findings"]}
    assert kinds == {"base", "addon", "dedicated_ip", "overage", "commit", "one_time", str, type(None)}
    assert findings == EVERY_FINDING


@pytest.mark.parametrize("group", range(GROUPS))
def test_both_raters_adjust_equally(group: int) -> None:
    for number in range(group, LATE_COUNT, GROUPS):
        case = late_case_of(number, SEED)
        try:
            compare_adjustments(case)
        except Exception as error:
            error.add_note(f"Late case {number}, SEED={SEED}: {json.dumps(case)}")
            raise


def test_late_cases_reach_every_kind_of_change() -> None:
    seen: set[object] = set()
    for number in range(500):
        for each in compare_adjustments(late_case_of(number)):
            seen |= {*each["undecided"]} or {"exact" if each["lines"] else "equal"}
            seen |= {line["kind"] for line in each["lines"]}
            keys = [line["key"].rpartition("/")[0] for line in each["lines"] if line["kind"] == "overage"]
            seen |= {"another tier"} if len(set(keys)) < len(keys) else set()
            seen |= {"new period"} if each["from"] is None else set()
            seen |= {"quantity alone"} if any(not float(line["amount"]) for line in each["lines"]) else set()
    assert seen == {
        "exact", "equal", "missing", "disputed", "not_final", "interval", "open_ended", "base", "addon",
        "dedicated_ip", "overage", "commit", "one_time", "another tier", "new period", "quantity alone",
    }  # fmt: skip
