"""The broker of an installation without Redis: a message is there whole or not at all."""

from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection  # type: ignore[attr-defined]

from portal.folder_broker import SCHEME

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
