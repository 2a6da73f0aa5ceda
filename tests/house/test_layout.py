"""The figures of the layout, read from the source; `python -m tests.house.test_layout` prints them.

A folder or file directly in an app is a *part*. An *arrow* leads from one part to another that it imports; it is
*backward* where the contract of the app in pyproject.toml has the parts the other way around.
"""

from __future__ import annotations

import ast
import re
import statistics
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
APPS = ("customers", "billing")
# What each figure may be at most.
BOUNDS = {
    "files directly in customers": 12,
    "files directly in billing": 12,
    "parts of customers": 23,
    "levels of customers": 10,
    "arrows in customers": 102,
    "backward arrows in customers": 0,
    "parts of billing": 17,
    "levels of billing": 6,
    "arrows in billing": 44,
    "backward arrows in billing": 0,
    "median lines of a production file": 112,
    "lines of the largest production file": 400,
    "homonyms among public names": 0,
    "one-letter module aliases": 0,
    "docstrings that begin with a question word": 0,
    "names of tests over 60 characters": 0,
}

QUESTIONS = ("What ", "Whether ", "Who ", "Whoever ", "Where ")


def _production() -> list[Path]:
    paths = (path for folder in ("portal", *APPS) for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in paths if "migrations" not in path.parts)


def _parts(app: str) -> dict[str, set[str]]:
    """Each part of the app, and the other parts it imports."""
    graph = _graph()
    found: dict[str, set[str]] = defaultdict(set)
    for module in graph.modules:
        part = _part(module, app)
        if part is None or part == "migrations":
            continue
        imported = {_part(each, app) for each in graph.find_modules_directly_imported_by(module)}
        found[part] |= {each for each in imported if each not in (None, part, "migrations")}  # type: ignore[misc]
    return dict(found)


@cache
def _graph() -> grimp.ImportGraph:
    return grimp.build_graph("portal", *APPS)


def _part(module: str, app: str) -> str | None:
    return module.split(".")[1] if module.startswith(f"{app}.") else None


def _levels(parts: dict[str, set[str]]) -> int:
    """The longest chain of parts that import each other; a cycle has no end and counts as a hundred."""

    def height(part: str, above: tuple[str, ...] = ()) -> int:
        if part in above:
            return 100
        return 1 + max((height(each, (*above, part)) for each in parts.get(part, ())), default=0)

    return min(100, max(height(part) for part in parts))


def _backward(app: str, parts: dict[str, set[str]]) -> list[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each.get("containers") == [app])
    level = {part: n for n, layer in enumerate(layers) for part in re.split(r"\s*[|:]\s*", layer)}
    return [
        f"{above} -> {below}"
        for above, imported in sorted(parts.items())
        for below in sorted(imported)
        if level.get(above, 0) > level.get(below, len(layers))
    ]


def _homonyms() -> dict[str, list[str]]:
    """Public functions and classes that several modules define. The sandbox stands alone; every command of Django is
    called `Command`, and a task is called like what it calls."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in _production():
        name = str(path.relative_to(ROOT))
        if name.startswith("portal/sandbox/") or "/management/" in name or path.name == "tasks.py":
            continue
        for node in ast.parse(path.read_text()).body:
            if (
                isinstance(node, ast.FunctionDef | ast.ClassDef)
                and not node.name.startswith("_")
                and node.name != "main"
            ):
                found[node.name].append(name)
    return {name: places for name, places in sorted(found.items()) if len(places) > 1}


def _letters() -> list[str]:
    """Module-level names of one letter that only repeat another name."""
    return [
        f"{path.relative_to(ROOT)}: {target.id}"
        for path in _production()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign)
        for targets, values in [(_each(node.targets[0]), _each(node.value))]
        for target, value in zip(targets, values, strict=False)
        if isinstance(value, ast.Name | ast.Attribute)
        if isinstance(target, ast.Name) and len(target.id) == 1 and target.id != "_"
    ]


def _each(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _questions() -> list[str]:
    """Docstrings whose first word asks a question instead of saying what is done."""
    named = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return [
        f"{path.relative_to(ROOT)}: {text}"
        for path in _production()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, named) and (text := ast.get_docstring(node) or "").startswith(QUESTIONS)
    ]


def _long_test_names() -> list[str]:
    return [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and len(node.name) > 60
    ]


def figures() -> dict[str, int]:
    found: dict[str, int] = {}
    for app in APPS:
        parts = _parts(app)
        found |= {
            f"files directly in {app}": len(list((ROOT / app).glob("*.py"))),
            f"parts of {app}": len(parts),
            f"levels of {app}": _levels(parts),
            f"arrows in {app}": sum(len(imported) for imported in parts.values()),
            f"backward arrows in {app}": len(_backward(app, parts)),
        }
    lines = [len(text.splitlines()) for path in _production() if (text := path.read_text()).strip()]
    return found | {
        "median lines of a production file": int(statistics.median(lines)),
        "lines of the largest production file": max(lines),
        "homonyms among public names": len(_homonyms()),
        "one-letter module aliases": len(_letters()),
        "docstrings that begin with a question word": len(_questions()),
        "names of tests over 60 characters": len(_long_test_names()),
    }


def test_the_layout_stays_within_its_bounds() -> None:
    found = figures()
    assert found.keys() == BOUNDS.keys()
    assert {name: value for name, value in found.items() if value > BOUNDS[name]} == {}


if __name__ == "__main__":
    for name, value in figures().items():
        print(f"{value:5} {name} (at most {BOUNDS[name]})")  # noqa: T201
    homonyms = [f"{name}: {', '.join(places)}" for name, places in _homonyms().items()]
    for line in (*homonyms, *_letters(), *_questions(), *_long_test_names()):
        print(f"      {line}")  # noqa: T201
