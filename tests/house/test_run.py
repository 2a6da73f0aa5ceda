"""The runner: a failure on one database does not keep the other from running; the last lines say what was not run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.conftest import ON_BOTH, TESTS
from tests.journeys.processes import until
from tests.run import DATES, NO_FAKETIME
from tests.support import postgres, samples
from tests.support.skips import require

pytestmark = [pytest.mark.processes, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
SUITE = """
import os
import time

import pytest

pytestmark = pytest.mark.both


def test_the_database() -> None:
    assert os.environ["TEST_DATABASE"] != {failing!r}


def test_the_date() -> None:
    print("date", time.strftime("%Y-%m-%d", time.gmtime()))


@pytest.mark.skip(reason="no such program here")
@pytest.mark.parametrize("number", range(3))
def test_that_is_skipped(number: int) -> None: ...
"""


# Starts a process in a session of its own, as Chromium and PostgreSQL are, and never comes to an end.
ENDLESS = """
import subprocess
from pathlib import Path


def test_without_end(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "3600"], start_new_session=True) as endless:
        Path({told!r}).write_text(f"{{endless.pid}} {{tmp_path}}")
"""


def start(file: Path, selection: str, *options: str) -> subprocess.Popen[str]:
    """Run the suite in a file, as from a shell."""
    ours = ("TEST_RUN_DIR", "DATABASE_URL", "DATA_DIR", "TEST_DATABASE", "NO_SKIPS")
    env = {name: value for name, value in os.environ.items() if name not in ours and not name.startswith("PYTEST_")}
    options += ("-p", "no:cacheprovider", "-rP", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.run", selection, *options, str(file)],
        cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(folder: Path, selection: str, *, failing: str = "") -> tuple[int, list[str]]:
    file = folder / "test_suite_of_its_own.py"
    file.write_text(SUITE.format(failing=failing))
    with start(file, selection, "-n", "0") as process:
        said, _ = process.communicate()
    return process.returncode, said.splitlines()


@pytest.mark.long
def test_a_failure_on_one_database_does_not_stop_the_other(tmp_path: Path) -> None:
    require(postgres.programs(), postgres.MISSING)
    code, lines = run(tmp_path, "all", failing="postgres")
    assert code == 1
    assert sum("3 skipped" in line and "passed" in line for line in lines) == 2, "both summaries of pytest"
    assert lines[-6:] == [
        "=== Result ===",
        "postgres: failed",
        "  not run: 3 x no such program here",
        "sqlite: passed",
        "  not run: 3 x no such program here",
        "FAILED",
    ]


@pytest.mark.long
def test_a_run_without_a_test_is_no_success(tmp_path: Path) -> None:
    file = tmp_path / "test_suite_of_its_own.py"
    file.write_text(SUITE.format(failing=""))
    with start(file, "fast", "-n", "0", "-k", "misspelled") as process:
        said, _ = process.communicate()
    assert process.returncode == 1
    assert said.splitlines()[-2:] == ["sqlite, fast: no tests", "FAILED"]


def test_a_sample_is_the_same_each_time_and_a_proof_has_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROOF", raising=False)
    cases = list(range(100))
    some = samples.sample(cases, 5, name="one")
    assert len(some) == 5
    assert some == sorted(some) == samples.sample(cases, 5, name="one")
    assert some != samples.sample(cases, 5, name="another")
    assert samples.sample(cases[:4], 5, name="one") == cases[:4]
    monkeypatch.setenv("PROOF", "1")
    assert samples.sample(cases, 5, name="one") == cases


def test_what_runs_on_both_databases_exists() -> None:
    names = {path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")}
    assert not ON_BOTH - {name.removesuffix(".py").replace("test_", "") for name in names}


@pytest.mark.long
def test_other_dates(tmp_path: Path) -> None:
    require(shutil.which("faketime"), NO_FAKETIME)
    code, lines = run(tmp_path, "dates")
    assert code == 0
    assert [line for line in lines if line.startswith("date ")] == [f"date {date}" for date in DATES]
    assert lines[-1] == "PASSED"


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_ends_every_process_and_removes_the_files(tmp_path: Path, number: signal.Signals) -> None:
    told, file = tmp_path / "told", tmp_path / "test_endless.py"
    file.write_text(ENDLESS.format(told=str(told)))
    with start(file, "fast", "-n", "1") as process:
        until(lambda: told.exists() and told.read_text(), what="the endless test")
        below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        try:
            said, _ = process.communicate(timeout=10)
        finally:
            process.kill()  # nothing, where it has ended
    pid, folder = told.read_text().split()
    assert process.returncode != 0
    assert int(pid) in {each.pid for each in below}
    assert [each for each in below if each.is_running()] == []
    assert "postkeeper-run-" in folder
    assert not Path(folder).exists()
    assert "=== Result ===" not in said
