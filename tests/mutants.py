"""`make mutants`: plant small mistakes, one at a time, in what decides and counts, and see whether tests notice.

Mistakes come from cosmic-ray's operators and three of our own; those of type annotations are left out. Of each module
SAMPLE=20 are tried (0: all), chosen by SEED=1; ONLY=text takes the modules whose path holds the text. They are planted
in copies of the working tree, one for each of PROCESSES=2. Survivors are printed with what was changed; the last lines
are the score. The exit code is 0, unless the tests fail without any mistake.
"""

from __future__ import annotations

import ast
import difflib
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import MutationVisitor
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names
from parso.python.tree import Keyword
from parso.tree import NodeOrLeaf

ROOT = Path(__file__).resolve().parents[1]
# Every module with the tests that have to notice, fastest first: the first failure ends a run.
TARGETS: dict[str, tuple[str, ...]] = {
    "portal/leases.py": ("test_leases.py", "customers/operations/test_transitions.py"),
    "customers/models/operation_states.py": (
        "customers/models/test_operation_states.py",
        "customers/monitoring/test_repair.py",
        "customers/operations/test_transitions.py",
    ),
    "customers/operations/transitions.py": (
        "customers/models/test_operation_states.py",
        "customers/operations/test_transitions.py",
        "customers/operations/test_executor.py",
    ),
    "customers/operations/conclusions.py": (
        "customers/operations/test_transitions.py",
        "customers/operations/test_executor.py",
    ),
    "customers/operations/create_limits.py": (
        "customers/operations/test_transitions.py",
        "customers/operations/test_create_limits_together.py",
    ),
    "customers/operations/attempts.py": ("customers/operations/test_transitions.py",),
    "customers/operations/executor.py": (
        "customers/operations/test_executor.py",
        "customers/operations/test_transitions.py",
        "customers/operations/test_create_search.py",
    ),
    "customers/operations/outcomes.py": ("customers/operations/test_executor.py",),
    "portal/access/permissions.py": ("access/test_permissions.py", "house/test_permissions.py"),
    **{
        f"billing/pricing/rating/{name}.py": ("rating/test_examples.py", "rating/test_case_json.py", "rating")
        for name in (
            "account_lines",
            "books",
            "checks",
            "commit",
            "currency",
            "engine",
            "json_form",
            "lines",
            "overage",
            "shares",
            "spans",
        )
    },
    "billing/usage/periods.py": ("billing/usage/test_periods.py", "billing/usage/test_snapshots.py"),
    "billing/usage/snapshots.py": ("billing/usage/test_snapshots.py", "billing/usage/test_late_snapshots.py"),
    "billing/usage/pool_snapshots.py": ("billing/usage/test_pooled_sync.py",),
}
# Not copied: what is no source, and what another process may be changing.
LEFT_OUT = (".git", ".venv", "var", "node_modules", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis")
# cosmic-ray turns every operator into every other one; of those the opposite and the boundary say enough.
FAMILIES = ("ReplaceBinaryOperator", "ReplaceComparisonOperator", "ReplaceUnaryOperator")
OPPOSITES = (
    "Add_Sub", "Sub_Add", "Mul_FloorDiv", "Div_Mul", "FloorDiv_Mul", "Mod_FloorDiv", "BitOr_BitAnd", "BitAnd_BitOr",
    "Delete_Not", "Delete_USub", "Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is", "In_NotIn", "NotIn_In",
    "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt",
)  # fmt: skip
KILLED, SURVIVED, TIMEOUT = "killed", "survived", "timeout"


class DropKeyword(Operator):
    """Leave a keyword argument out: `filter(pk=1, fence=2)` without the fence."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[tuple[Any, Any]]:
        for argument in _keywords(node):
            yield argument.start_pos, argument.end_pos

    def mutate(self, node: NodeOrLeaf, index: int) -> NodeOrLeaf:
        return _without(node, _keywords(node)[index])

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class DropElement(Operator):
    """Leave one element out of a list, tuple or set: a step out of the table of steps."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[tuple[Any, Any]]:
        for element in _elements(node):
            yield element.start_pos, element.end_pos

    def mutate(self, node: NodeOrLeaf, index: int) -> NodeOrLeaf:
        return _without(node, _elements(node)[index])

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class DropStatement(Operator):
    """Leave out a call whose result nobody takes, or a `raise`."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[tuple[Any, Any]]:
        statement = node.children[0] if node.type == "simple_stmt" else node
        calls = statement.type in ("atom_expr", "raise_stmt") and statement.parent.type == "simple_stmt"
        if node.type == "simple_stmt" and calls and statement.get_first_leaf().value != "log":
            yield statement.start_pos, statement.end_pos

    def mutate(self, node: NodeOrLeaf, index: int) -> NodeOrLeaf:
        first = node.get_first_leaf()
        node.children[0] = Keyword("pass", first.start_pos, first.prefix)
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


@dataclass(frozen=True)
class Mutant:
    module: str
    operator: type[Operator]
    occurrence: int

    def source(self, original: str) -> str:
        return str(MutationVisitor.mutate_code(original, self.operator(), self.occurrence))

    def compiles(self, original: str) -> bool:
        try:
            ast.parse(self.source(original))
        except SyntaxError:
            return False
        return True

    def diff(self, original: str) -> str:
        lines = (original.splitlines(), self.source(original).splitlines())
        return "\n".join(difflib.unified_diff(*lines, self.module, self.operator.__name__, n=1, lineterm=""))


def main() -> int:
    seed, sample = os.environ.get("SEED", "1"), int(os.environ.get("SAMPLE", "20"))
    processes, only = int(os.environ.get("PROCESSES", "2")), os.environ.get("ONLY", "")
    chosen: list[Mutant] = []
    originals = {name: (ROOT / name).read_text() for name in TARGETS if only in name}
    for module, original in originals.items():
        found = mutants_of(module)
        random.Random(f"{seed} {module}").shuffle(found)
        taken = list(islice((mutant for mutant in found if mutant.compiles(original)), sample or None))
        print(f"{module}: {len(taken)} of {len(found)} mistakes", flush=True)
        chosen += taken
    results: list[tuple[Mutant, str]] = []
    with tempfile.TemporaryDirectory(prefix="postkeeper-mutants-") as folder, ThreadPoolExecutor(processes) as pool:
        copies: queue.Queue[Path] = queue.Queue()
        for number in range(processes):
            copies.put(_copy(Path(folder, str(number))))
        limits = _limits({mutant.module for mutant in chosen}, copies)
        try:
            for mutant, verdict in pool.map(lambda each: (each, _try(each, copies, limits)), chosen):
                results.append((mutant, verdict))
                if verdict != KILLED:
                    print(f"\n{verdict}\n{mutant.diff(originals[mutant.module])}", flush=True)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
    _report(results)
    return 0


def mutants_of(module: str) -> list[Mutant]:
    source = (ROOT / module).read_text()
    annotations, nodes = _annotations(source), list(ast_nodes(get_ast(source)))
    operators = [get_operator(name) for name in operator_names() if _is_wanted(name)]
    found = []
    for operator in (*operators, DropKeyword, DropElement, DropStatement):
        positions = [at for node in nodes for at in operator().mutation_positions(node)]
        found += [
            Mutant(module, operator, occurrence)
            for occurrence, (start, _) in enumerate(positions)
            if not any(begin <= start < end for begin, end in annotations)
        ]
    return found


def _is_wanted(name: str) -> bool:
    family, _, change = name.removeprefix("core/").partition("_")
    return change in OPPOSITES if family in FAMILIES else not get_operator(name).arguments()


def _annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where types stand. `int | None` may become anything: nobody evaluates it."""
    nodes = [getattr(node, name, None) for node in ast.walk(ast.parse(source)) for name in ("annotation", "returns")]
    return [
        ((node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)) for node in nodes if node
    ]


def _keywords(node: NodeOrLeaf) -> list[NodeOrLeaf]:
    if node.type not in ("arglist", "trailer"):
        return []
    return [each for each in node.children if each.type == "argument" and each.children[1] == "="]


def _elements(node: NodeOrLeaf) -> list[NodeOrLeaf]:
    """Of a display with two or more; none of a dictionary or a comprehension."""
    if node.type not in ("testlist_comp", "dictorsetmaker") or ":" in node.children or "," not in node.children:
        return []
    return [each for each in node.children if each != ","]


def _without(node: NodeOrLeaf, part: NodeOrLeaf) -> NodeOrLeaf:
    """Delete a part of a node, and the comma that goes with it."""
    at = node.children.index(part)
    comma_follows = node.children[at + 1 : at + 2] == [","]
    begin, end = (at, at + 2) if comma_follows else (at - (node.children[0] != "("), at + 1)
    del node.children[begin:end]
    return node


def _copy(target: Path) -> Path:
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    return target


def _limits(modules: set[str], copies: queue.Queue[Path]) -> dict[str, float]:
    """How long the tests of each module may take. They have to pass as the code is."""
    limits, copy = {}, copies.get()
    for module in sorted(modules):
        began = time.monotonic()
        if _tests(module, copy, None):
            sys.exit(f"The tests of {module} fail without any mistake planted.")
        limits[module] = 20 + 3 * (time.monotonic() - began)
    copies.put(copy)
    return limits


def _try(mutant: Mutant, copies: queue.Queue[Path], limits: dict[str, float]) -> str:
    copy = copies.get()
    file = copy / mutant.module
    original = file.read_text()
    try:
        file.write_text(mutant.source(original))
        return KILLED if _tests(mutant.module, copy, limits[mutant.module]) else SURVIVED
    except subprocess.TimeoutExpired:
        return TIMEOUT
    finally:
        file.write_text(original)
        copies.put(copy)


def _tests(module: str, copy: Path, limit: float | None) -> int:
    tests = [f"tests/{name}" for name in TARGETS[module]]
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-x", "-p", "no:cacheprovider", *tests]
    env = os.environ | {"TEST_DATABASE": "sqlite"}
    quiet = subprocess.DEVNULL
    return subprocess.run(command, cwd=copy, env=env, timeout=limit, check=False, stdout=quiet, stderr=quiet).returncode


def _report(results: list[tuple[Mutant, str]]) -> None:
    verdicts = (KILLED, SURVIVED, TIMEOUT)
    print(f"\n{'module':32}" + "".join(f"{name:>10}" for name in verdicts))
    for module in TARGETS:
        counted = Counter(verdict for mutant, verdict in results if mutant.module == module)
        if counted:
            print(f"{module:32}" + "".join(f"{counted[name]:>10}" for name in verdicts))
    noticed = sum(verdict != SURVIVED for _, verdict in results)
    print(f"{noticed} of {len(results)} noticed: {noticed / max(1, len(results)):.0%}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
