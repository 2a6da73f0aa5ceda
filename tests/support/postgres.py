"""A PostgreSQL server of our own: Debian's programs, a fresh cluster in a temporary folder, or a kept one.

The run that asks for PostgreSQL (TEST_DATABASE=postgres) starts it before Django's settings are read and
hands the address to every worker in DATABASE_URL. Tests that stop and start a server use `Postgres` directly.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

MISSING = "PostgreSQL's server programs are not installed (Debian: apt-get install postgresql)"


class Unavailable(Exception):
    """There is no PostgreSQL to start here; the message says why."""


def programs() -> Path | None:
    """The folder of initdb and postgres, newest version first; Debian keeps them off PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda f: float(f.parent.name), reverse=True)
    if found := shutil.which("initdb"):
        folders.append(Path(found).resolve().parent)
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


def _as_owner() -> list[str]:
    """Drop from root, which PostgreSQL refuses, to Debian's user for it; end it when the tests are killed."""
    if not shutil.which("setpriv"):
        if os.geteuid() == 0:
            raise Unavailable("running as root without setpriv, and PostgreSQL refuses to run as root")
        return []
    user = ["--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", "--pdeathsig=INT", *user]


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free, and stays it until its server starts, or starts again: it is below those
    that the system gives to outgoing connections."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Postgres:
    """One server on a free port. `start` and `stop` may be called again and again; `remove` is the end.

    `folder`: where the cluster is, or is made; its databases are still there the next time. `network`: other machines
    that it trusts.
    """

    def __init__(self, *, durable: bool = False, folder: Path | None = None, network: str = "") -> None:
        found = programs()
        if found is None:
            raise Unavailable(MISSING)
        self._programs, self._prefix, self._durable = found, _as_owner(), durable
        self.folder = folder or Path(tempfile.mkdtemp(prefix="pk-pg-"))
        self._sockets = "" if folder else str(self.folder)  # a socket's path has at most 107 bytes
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if (self.folder / "data" / "PG_VERSION").exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        self._run("initdb", "-D", "data", "-U", "portal", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        if network:
            with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {network} trust\n")

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgres://portal@127.0.0.1:{self.port}/{database}"

    @property
    def version(self) -> str:
        """The main version, as in "15"."""
        return (self.folder / "data" / "PG_VERSION").read_text().strip()

    def start(self) -> None:
        fast = [] if self._durable else ["fsync=off", "full_page_writes=off", "synchronous_commit=off"]
        settings = [*fast, "max_connections=200", f"unix_socket_directories={self._sockets}"]
        options = [part for setting in settings for part in ("-c", setting)]
        where = ["-D", str(self.folder / "data"), "-h", "127.0.0.1", "-p", str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._prefix, str(self._programs / "postgres"), *where, *options],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._wait()

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """SIGINT is a fast stop, SIGQUIT an immediate one (as in a crash)."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def remove(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def client(self, program: str, *arguments: str) -> None:
        """Run psql or pg_dump against the server as its owner of the tables; an error raises."""
        quiet = ("-q", "-X", "-v", "ON_ERROR_STOP=1") if program == "psql" else ()
        where = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "portal")
        database = () if "-d" in arguments else ("-d", "postgres")
        subprocess.run(
            [str(self._programs / program), *where, *quiet, *database, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*self._prefix, str(self._programs / program), *arguments],
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def _wait(self) -> None:
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        deadline = time.monotonic() + 60
        while subprocess.run(ready, check=False).returncode != 0:
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-500:]}")
            time.sleep(0.05)
