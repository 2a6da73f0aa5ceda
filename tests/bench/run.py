"""One run of the bench: seeds what is missing, measures each group, prints one table and stores it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.kept import FOLDER, ROOT, seeded, server
from tests.bench.results import Row, load, store, table

# Without Django's settings, which are of one database: the groups are measured in processes of their own.
NAMES = ("pages", "exports", "upkeep", "slope", "sync", "rating", "engine", "start")
SMALLEST = 1_000


def run(*, accounts: int, months: int, only: str) -> int:
    """Return 1 if a figure misses what it must reach. `only`: names of groups, or part of the names of pages and
    exports, with commas."""
    with server() as kept:
        sizes = [size for size in (SMALLEST, 10_000, 100_000) if size < accounts] + [accounts]
        addresses = {size: seeded(kept, size, months) for size in sizes}
        begun = time.monotonic()
        rows: list[Row] = []
        for name, part in _wanted(only):
            if name == "slope":
                rows += _slope({size: _group(name, addresses[size], part) for size in sizes})
            else:
                rows += _group(name, addresses[accounts], part)
    took = Row("this run", "after the seed", (time.monotonic() - begun) / 60, "min", None, None, 25, "lower")
    rows.append(took)
    file = FOLDER / "results" / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}.json"
    store(rows, file)
    print(table(rows))
    missed = [f"{row.group}: {row.name}" for row in rows if not row.passed]
    print(f"\nStored as {file.relative_to(ROOT)}. Misses: {len(missed)} of {len(rows)}.")
    return int(bool(missed))


def _wanted(only: str) -> list[tuple[str, str]]:
    """Return groups, each with the part of names that is measured of it."""
    words = [word for word in only.split(",") if word]
    groups = [(word, "") for word in words if word in NAMES]
    parts = [(name, word) for word in words if word not in NAMES for name in NAMES if name != "slope"]
    return groups + parts if words else [(name, "") for name in NAMES]


def _group(name: str, address: str, part: str) -> list[Row]:
    print(f"{name}{f' ({part})' if part else ''} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="pk-bench-") as folder:
        file = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "tests.bench", "group", name, "--database-url", address, "--json", str(file)]
        ended = subprocess.run([*command, "--only", part], cwd=ROOT, check=False)
        if ended.returncode:
            return [Row(name, "ended with an error", 1, "", None, None, 0, "lower")]
        return load(file)


def _slope(found: dict[int, list[Row]]) -> list[Row]:
    """Return the figure of each size, the larger ones beside that of the smallest."""
    least = found[min(found)][0]
    rows = []
    for size, (row, *_) in found.items():
        is_largest = size == max(found)
        rows.append(
            replace(
                row,
                name=f"{row.name}, {size:,} accounts",
                floor=None if row is least else least.value,
                ratio=None if row is least else row.value / least.value,
                must=1.5 if is_largest and row is not least else None,
            )
        )
    return rows
