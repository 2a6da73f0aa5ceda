"""The worked examples: the command, the independent rater, and the stored lines say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from billing.pricing.rating.cli import main
from tests.rating.comparison import compare, compare_adjustments

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples" / "rating"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.json") if not path.stem.endswith(".expected"))
PAGE = (ROOT / "docs" / "reference" / "rating-examples.md").read_text()
RULES = ("r01", "r02", "r03", "r04", "r05", "r06", "r07", "r08", "r09", "r11", "r12")


def read(name: str) -> Any:
    return json.loads((EXAMPLES / f"{name}.json").read_text(), parse_float=str)


def without_explanation(result: dict[str, Any]) -> dict[str, Any]:
    """Return the result as it is stored, also of adjustments."""
    found = {**result, "lines": [{k: v for k, v in line.items() if k != "because"} for line in result["lines"]]}
    if "adjustments" in result:
        found["adjustments"] = [without_explanation(each) for each in result["adjustments"]]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_its_lines(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(EXAMPLES / f"{name}.json")]) == 0
    assert without_explanation(json.loads(capsys.readouterr().out)) == read(f"{name}.expected")


@pytest.mark.parametrize("name", NAMES)
def test_both_raters_agree_on_an_example(name: str) -> None:
    compare(read(name))
    compare_adjustments(read(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_page_explains_an_example(name: str) -> None:
    """The total that the page names is that of the lines."""
    text = PAGE.partition(f"**[{name}](")[2].partition("\n")[0]
    assert f"{name}.expected.json" in text
    total = read(f"{name}.expected")
    total = total["converted"] or total["total"]
    named = re.findall(r"\*\*(?:[\d.]+ to )?([\d.]+) ([A-Z]{3})\*\*", text)
    high = total["amount"] if total["amount_high"] == "open_ended" else total["amount_high"]
    assert named in ([], [(high, total["currency"])])
    assert named or "shares" in text.lower() or "cents" in text or "unallocated" in text


def test_the_reference_begins_with_a_case() -> None:
    page = (ROOT / "docs" / "reference" / "rating-case.md").read_text()
    case = json.loads(page.partition("```json\n")[2].partition("```")[0])
    assert compare(case)["total"]["amount"] == "30.00"


def test_every_rule_has_an_example() -> None:
    assert {name.partition("-")[0] for name in NAMES} >= set(RULES)
