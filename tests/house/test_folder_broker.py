"""The broker of an installation without Redis: a message is there whole or not at all."""

from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection  # type: ignore[attr-defined]

from portal.brokers.folder import SCHEME
from portal.queue_settings import LONGEST

pytestmark = pytest.mark.processes
MESSAGES = 40
BODY = list(range(50_000))  # takes long enough to be written for a reader to come in between


def opened(folder: str) -> Any:
    names = ("data_folder_in", "data_folder_out", "control_folder", "processed_folder")
    options = {name: f"{folder}/{'queue' if 'data' in name else name}" for name in names}
    for each in options.values():
        Path(each).mkdir(exist_ok=True)
    return Connection(f"{SCHEME}://localhost//", transport_options=options)  # type: ignore[no-untyped-call]


def write(folder: str) -> None:
    with opened(folder) as connection:
        for n in range(MESSAGES):
            connection.default_channel._put("ops", {"n": n, "body": BODY})


def test_nobody_reads_half_a_message(tmp_path: Path) -> None:
    writer = get_context("spawn").Process(target=write, args=(str(tmp_path),))
    writer.start()
    found: list[int] = []
    with opened(str(tmp_path)) as connection:
        while writer.is_alive() or len(found) < MESSAGES:
            try:
                message = connection.default_channel._get("ops")
            except Empty:
                continue
            assert message["body"] == BODY
            found.append(message["n"])
    writer.join()
    assert sorted(found) == list(range(MESSAGES))
    assert not list((tmp_path / "queue").iterdir())


def test_thousands_of_messages_leave_no_files_or_descriptors(tmp_path: Path) -> None:
    def files() -> list[Path]:
        return [each for each in tmp_path.rglob("*") if each.is_file()]

    with opened(str(tmp_path)) as connection:
        channel = connection.default_channel
        channel._put("ops", {})
        channel._get("ops")
        before, descriptors = len(files()), len(list(Path("/proc/self/fd").iterdir()))
        for n in range(3000):
            channel._put("ops", {"n": n})
            assert channel._get("ops") == {"n": n}
        assert len(files()) == before
        assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_where_nobody_reads_a_queue_its_oldest_messages_go(tmp_path: Path) -> None:
    with opened(str(tmp_path)) as connection:
        channel = connection.default_channel
        channel._put("sync", {"n": "of another queue"})
        for n in range(LONGEST + 50):
            channel._put("ops", {"n": n})
        assert channel._size("ops") == LONGEST
        assert channel._get("sync") == {"n": "of another queue"}
        assert {channel._get("ops")["n"] for _ in range(LONGEST)} == set(range(50, LONGEST + 50))
