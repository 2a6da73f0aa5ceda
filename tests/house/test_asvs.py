"""docs/reference/asvs.csv: each requirement of level 1 and 2 once, with tests that exist or a reason."""

from __future__ import annotations

import ast
import csv
import os
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.house.test_source import ROOT

TABLE = ROOT / "docs/reference/asvs.csv"
PAGE = ROOT / "docs/reference/asvs.md"
COLUMNS = ["id", "level", "status", "requirement", "how", "tests"]
PASS, NOT_APPLICABLE, OPEN = "pass", "not applicable", "open"
REQUIREMENTS, LEVEL_1 = 253, 70
MOST_OPEN = {"1": 0, "2": 5}


@cache
def rows() -> list[dict[str, str]]:
    with TABLE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@cache
def functions_of(path: Path) -> frozenset[str]:
    """Return the names of a file's functions, read without importing it."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def is_there(test: str) -> bool:
    path, _, name = test.partition("::")
    file = ROOT / path
    return name.startswith("test_") and file.is_file() and name in functions_of(file)


def test_each_requirement_of_both_levels_is_there_once() -> None:
    assert list(rows()[0]) == COLUMNS
    ids = [row["id"] for row in rows()]
    assert [name for name, times in Counter(ids).items() if times > 1] == []
    assert len(ids) == REQUIREMENTS
    assert Counter(row["level"] for row in rows()) == {"1": LEVEL_1, "2": REQUIREMENTS - LEVEL_1}
    assert ids == sorted(ids, key=lambda each: [int(part) for part in each.removeprefix("V").split(".")])


def test_they_are_those_of_the_standard() -> None:
    """Where the standard's own file is."""
    folder = os.environ.get("CONTRACTS_DIR", "")
    file = Path(folder, "owasp_asvs_5.0.csv")
    if not folder or not file.is_file():
        pytest.skip("CONTRACTS_DIR has no owasp_asvs_5.0.csv")
    with file.open(newline="", encoding="utf-8-sig") as lines:
        standard = {row["req_id"]: row["L"] for row in csv.DictReader(lines) if row["L"] in "12"}
    assert {row["id"]: row["level"] for row in rows()} == standard


def test_few_are_open_and_none_of_level_1() -> None:
    still_open = Counter(row["level"] for row in rows() if row["status"] == OPEN)
    assert all(still_open[level] <= most for level, most in MOST_OPEN.items()), still_open


def test_what_passes_names_tests_and_all_else_a_reason() -> None:
    for row in rows():
        assert row["status"] in (PASS, NOT_APPLICABLE, OPEN), row["id"]
        assert bool(row["tests"]) == (row["status"] == PASS), row["id"]
        assert len(row["requirement"]) > 5, row["id"]
        assert len(row["how"]) > 2, row["id"]
        if row["status"] == OPEN:
            assert "Consequence: " in row["how"], row["id"]


def test_every_named_test_exists() -> None:
    missing = {test for row in rows() for test in row["tests"].split() if not is_there(test)}
    assert missing == set()


def test_the_page_has_the_figures_and_the_open_ones() -> None:
    text = PAGE.read_text()
    for level in ("1", "2"):
        count = Counter(row["status"] for row in rows() if row["level"] == level)
        line = f"| {level} | {count.total()} | {count[PASS]} | {count[NOT_APPLICABLE]} | {count[OPEN]} |"
        assert line in text, line
    for row in rows():
        assert (f"| {row['id']} |" in text) == (row["status"] == OPEN), row["id"]
        if row["status"] == OPEN:
            assert row["how"].split("Consequence: ", 1)[1].split(". ")[0] in text, row["id"]


def test_every_open_one_is_a_known_gap() -> None:
    gaps = (ROOT / "docs/gaps.md").read_text()
    assert [row["id"] for row in rows() if row["status"] == OPEN and row["id"] not in gaps] == []
