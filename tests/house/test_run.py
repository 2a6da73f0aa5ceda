"""The runner: a failure on one database does not keep the other from running; the last lines say what was not run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run import DATES, NO_FAKETIME
from tests.support import postgres
from tests.support.skips import require

pytestmark = [pytest.mark.processes, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
SUITE = """
import os
import time

import pytest


def test_the_database() -> None:
    assert os.environ["TEST_DATABASE"] != {failing!r}


def test_the_date() -> None:
    print("date", time.strftime("%Y-%m-%d", time.gmtime()))


@pytest.mark.skip(reason="no such program here")
@pytest.mark.parametrize("number", range(3))
def test_that_is_skipped(number: int) -> None: ...
"""


def run(folder: Path, selection: str, *, failing: str = "") -> tuple[int, list[str]]:
    """Run a suite of its own, as from a shell."""
    file = folder / "test_suite_of_its_own.py"
    file.write_text(SUITE.format(failing=failing))
    ours = ("TEST_RUN_DIR", "DATABASE_URL", "DATA_DIR", "TEST_DATABASE", "NO_SKIPS")
    env = {name: value for name, value in os.environ.items() if name not in ours and not name.startswith("PYTEST_")}
    options = ("-n", "0", "-p", "no:cacheprovider", "-rP", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT))
    done = subprocess.run(
        [sys.executable, "-m", "tests.run", selection, *options, str(file)],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.splitlines()


def test_a_failure_on_one_database_does_not_keep_the_other_from_running(tmp_path: Path) -> None:
    require(postgres.programs(), postgres.MISSING)
    code, lines = run(tmp_path, "all", failing="sqlite")
    assert code == 1
    assert sum("3 skipped" in line and "passed" in line for line in lines) == 2, "both summaries of pytest"
    assert lines[-6:] == [
        "=== Result ===",
        "sqlite: failed",
        "  not run: 3 x no such program here",
        "postgres: passed",
        "  not run: 3 x no such program here",
        "FAILED",
    ]


def test_other_dates(tmp_path: Path) -> None:
    require(shutil.which("faketime"), NO_FAKETIME)
    code, lines = run(tmp_path, "dates")
    assert code == 0
    assert [line for line in lines if line.startswith("date ")] == [f"date {date}" for date in DATES]
    assert lines[-1] == "PASSED"
