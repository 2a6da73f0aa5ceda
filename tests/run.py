"""`make test`, `make test-fast`, `make test-long`, `make test-dates` and `make proof`.

Every run of a selection takes place, whatever became of the others. The last lines say what was not run, and the
verdict. Exit code 0 only when all passed. Ctrl-C ends a run, and all that it started, at once.

`python -m tests.run [all|fast|long|dates|proof]`; further arguments go to pytest: `python -m tests.run all -k suspend`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from defusedxml import ElementTree

from tests.support import faketime, postgres

WORKERS = 3  # on two cores: a test often waits for the database, a server or a browser
WORKERS_THAT_NEVER_WAIT = 2
NOTHING_SELECTED = 5  # pytest's exit code
# Not on PostgreSQL: the simulation has a database of its own, and what a browser shows is the same on either.
ON_SQLITE = "browser or simulation"
# No browser, no server or worker that needs real time, nothing that takes more than a few seconds.
QUICK = "not browser and not redis and not postgres and not processes and not slow and not long"
# Leap day, and the last day of a month with 31 days and of a year; both are later than any date that a test sets.
DATES = ("2032-02-29", "2033-12-31")
# Left out there: the source itself, colors, and long lists of faults, seeds and hostile values, in which the calendar
# plays no part.
NO_CALENDAR = (
    "--ignore=tests/house",
    "--ignore=tests/ui",
    "--ignore=tests/providers/test_mutations.py",
    *(
        f"--ignore=tests/customers/{name}.py"
        for name in (
            "test_hostile_input",
            "operations/test_idempotency",
            "operations/kinds/test_sending_setup",
            "operations/kinds/test_create_seeded",
            "models/test_duplicates_migration",
        )
    ),
)
NO_FAKETIME = "faketime is not installed (Debian: apt-get install faketime)"


@dataclass(frozen=True)
class Run:
    name: str
    options: tuple[str, ...]
    database: str = "sqlite"
    date: str = ""
    missing: str = ""  # why it cannot take place here
    workers: int = WORKERS
    rounds: int = 1  # of each race between processes
    proof: bool = False  # all parameter sets

    def command(self) -> list[str]:
        faked = ["faketime", "-f", f"@{self.date} 12:00:00"] if self.date else []
        side_by_side = ("-n", str(self.workers), "--dist", "loadgroup")
        return [*faked, sys.executable, "-m", "pytest", "-q", *side_by_side, *self.options]

    def env(self) -> dict[str, str]:
        env = {"PROOF_ROUNDS": str(self.rounds), **os.environ, "TEST_DATABASE": self.database}
        if self.proof:
            env["PROOF"] = "1"
        # For pytest's own process; tests/support/faketime.py makes time the same in all below it.
        return env | {"TZ": "UTC", **faketime.SETTINGS} if self.date else env


def _on_both(name: str, which: str, *, rounds: int = 1, proof: bool = False) -> list[Run]:
    """All tests of the expression `which` on PostgreSQL, and on SQLite those that belong there too; all of them there
    where PostgreSQL is missing."""
    missing = postgres.MISSING if postgres.programs() is None else ""
    on_sqlite = which if missing else f"({which}) and (both or {ON_SQLITE})"
    on_postgres = ("-m", f"({which}) and not ({ON_SQLITE})")
    return [
        Run(f"{name}postgres", on_postgres, "postgres", missing=missing, rounds=rounds, proof=proof),
        Run(f"{name}sqlite", ("-m", on_sqlite), rounds=rounds, proof=proof),
    ]


def _all() -> list[Run]:
    return _on_both("", "not long")


def _fast() -> list[Run]:
    return [Run("sqlite, fast", ("-m", f"{QUICK} and not simulator"), workers=WORKERS_THAT_NEVER_WAIT)]


def _dates() -> list[Run]:
    missing = "" if shutil.which("faketime") else NO_FAKETIME
    return [Run(f"sqlite on {date}", ("-m", QUICK, *NO_CALENDAR), date=date, missing=missing) for date in DATES]


def _long() -> list[Run]:
    return _on_both("what takes minutes, ", "long or proof", rounds=5)


def _proof() -> list[Run]:
    return _on_both("every case, ", "long or not long", rounds=20, proof=True)  # an expression for all


SELECTIONS = {"all": _all, "fast": _fast, "long": _long, "dates": _dates, "proof": _proof}


def main(arguments: list[str]) -> int:
    chosen = arguments.pop(0) if arguments and arguments[0] in SELECTIONS else "all"
    failed, ran, report = False, False, []
    # As Ctrl-C, also where the terminal is closed or a shell that runs this in the background has SIGINT ignored.
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="postkeeper-run-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # PostgreSQL's user reaches its own folder in it
        for run in SELECTIONS[chosen]():
            if run.missing:
                failed |= os.environ.get("NO_SKIPS") == "1"
                report.append(f"{run.name}: NOT RUN: {run.missing}")
                continue
            results = Path(folder, "results.xml")
            code = _pytest(run, results, arguments)
            # The further arguments may leave one run of several without a test, not all of them.
            nothing = bool(arguments) and code == NOTHING_SELECTED
            failed |= code != 0 and not nothing
            ran |= not nothing
            report.append(f"{run.name}: {'no tests' if nothing else 'failed' if code else 'passed'}")
            report += [f"  not run: {count} x {reason}" for reason, count in _skipped(results).most_common()]
            results.unlink(missing_ok=True)
    failed |= not ran
    print("\n=== Result ===", *report, "FAILED" if failed else "PASSED", sep="\n", flush=True)
    return int(failed)


def _pytest(run: Run, results: Path, arguments: list[str]) -> int:
    """Run pytest. Whatever it makes in the temporary folder is removed with the folder of `results`."""
    print(f"\n=== The suite: {run.name} ===", flush=True)
    command = [*run.command(), f"--junitxml={results}", *arguments]
    # In a session of its own Ctrl-C reaches this process alone, which then ends the others.
    with subprocess.Popen(
        command, env=run.env() | {"TMPDIR": str(results.parent)}, stdin=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            _end(process.pid)
            raise


def _end(pid: int) -> None:
    """End a process and all below it, whatever session they are in."""
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        below = [top, *top.children(recursive=True)]
        for each in below:
            with suppress(psutil.NoSuchProcess):
                # SIGQUIT is PostgreSQL's immediate stop, in which it takes its own processes and memory with it.
                each.send_signal(signal.SIGQUIT if each.name() == "postgres" else signal.SIGKILL)
        psutil.wait_procs(below, timeout=5)


def _skipped(results: Path) -> Counter[str]:
    """How many tests were skipped for which reason."""
    if not results.exists():
        return Counter()
    found = ElementTree.parse(results).iter("skipped")
    return Counter(each.get("message", "") for each in found if each.get("type") != "pytest.xfail")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted.")
