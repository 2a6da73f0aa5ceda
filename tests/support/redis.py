"""A redis-server of our own on a free port, ended by its own pid."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time

from tests.support.postgres import free_port

MISSING = "redis-server is not installed (Debian: apt-get install redis-server)"


class Redis:
    """`start` and `stop` may be called again and again on the same port; `remove` is the end."""

    def __init__(self, *, persistent: bool = False) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._persistent = persistent
        self._folder = tempfile.mkdtemp(prefix="pk-redis-")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        keep = ["--appendonly", "yes" if self._persistent else "no", "--save", ""]
        self.process = subprocess.Popen(
            [
                "redis-server",
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--dir",
                self._folder,
                "--protected-mode",
                "no",
                *keep,
            ],  # tests/chaos/machines.py reaches it from other addresses
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not _answers(self.port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("redis-server did not start")
            time.sleep(0.02)

    def stop(self, *, kill: bool = False) -> None:
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait(10)
            self.process = None

    def remove(self) -> None:
        self.stop(kill=True)
        shutil.rmtree(self._folder, ignore_errors=True)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5) as one:
            one.sendall(b"PING\r\n")
            return one.recv(16).startswith(b"+PONG")
    except OSError:
        return False
