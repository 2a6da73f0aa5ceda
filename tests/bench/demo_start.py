"""The second start of `make run` until its first page, and the memory of a web worker."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.bench.results import Row

ROOT = Path(__file__).resolve().parents[2]
STARTS = 3
PAGES = 30
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def _demo(data: Path) -> Iterator[tuple[str, float, psutil.Process]]:
    """Start the demo without its history; give its address, the seconds to the first page and its process."""
    begun = time.monotonic()
    with data.with_suffix(".out").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "portal.demo.run"],
            cwd=ROOT,
            env={"DATA_DIR": str(data), "PATH": "/usr/bin:/bin", "DEMO_SEED": "0"},
            stdout=log,
            stderr=log,
        )
        try:
            url = _ready(process, Path(log.name))
            _read(f"{url}/sign-in/")
            yield url, time.monotonic() - begun, psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + 120
    while not (found := re.search(r"ready after [\d.]+ s:  (http://\S+)/sign-in/", log.read_text())):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"The demo did not start: {log.read_text()[-1000:]}")
        time.sleep(0.01)
    return found[1]


def _read(url: str) -> None:
    with _OPENER.open(url, timeout=30) as answer:
        answer.read()


def measure_start() -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="pk-bench-") as folder:
        data = Path(folder) / "var"
        with _demo(data):
            pass  # the first start makes the database
        seconds, memory = [], 0.0
        for _start in range(STARTS):
            with _demo(data) as (url, took, process):
                seconds.append(took)
                for _page in range(PAGES):
                    _read(f"{url}/sign-in/")
                memory = max(memory, _largest_web_worker(process))
    spread = min(seconds), max(seconds)
    yield Row("start and memory", "second start to first page", min(seconds), "s", None, None, 2.0, "lower", spread)
    yield Row("start and memory", "memory of a web worker", memory, "MB", None, None, 110, "lower")


def _largest_web_worker(demo: psutil.Process) -> float:
    """Return the resident memory of gunicorn's largest worker, in MB."""
    found = [each for each in demo.children(recursive=True) if "gunicorn" in " ".join(each.cmdline())]
    masters = {each.pid for each in found}
    workers = [each for each in found if each.ppid() in masters] or found
    return max(each.memory_info().rss for each in workers) / 1e6
