"""Dump the database in use, and restore a dump into an empty one: PostgreSQL by its programs, SQLite as a file."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol, cast

from django.db import connection, transaction

from portal.installation.manifest import Manifest, Progress, Unusable, take

Statements = Iterable[str]


class Database(Protocol):
    def dump(self, name: str, write: Callable[[IO[bytes]], None], progress: Progress) -> Manifest:
        """Give `write` the dump of one moment as a stream, and return the manifest of the same moment."""

    def restore(self, read: Callable[[IO[bytes]], None], then: Statements) -> None:
        """Restore what `read` writes, and run the statements `then`, both or neither. Raises `Unusable`."""


def database() -> Database:
    return PostgreSQL() if connection.vendor == "postgresql" else SQLite()


class PostgreSQL:
    """By pg_dump, pg_restore and psql, which must not be older than the server."""

    def dump(self, name: str, write: Callable[[IO[bytes]], None], progress: Progress) -> Manifest:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            # This transaction waits for the dump, which reads what it sees.
            cursor.execute("SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute("SELECT pg_export_snapshot()")
            snapshot = cursor.fetchone()[0]
            manifest = take(name, progress)
            options = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}"]
            with self._running("pg_dump", *options, stdout=subprocess.PIPE) as process:
                write(_pipe(process.stdout))
        return manifest

    def restore(self, read: Callable[[IO[bytes]], None], then: Statements) -> None:
        own = ("--no-owner", "--no-privileges", "--file=-")
        quiet = ("--no-psqlrc", "--quiet", "--output=/dev/null", "--set=ON_ERROR_STOP=1")
        with self._running("psql", *quiet, "--file=-", stdin=subprocess.PIPE) as psql:
            to_psql = _pipe(psql.stdin)
            # Committed by the last line, once everything is known to be good: if this process is killed, nothing is.
            to_psql.write(b"BEGIN;\n")
            to_psql.flush()
            with (
                self._running("pg_restore", *own, target=False, stdin=subprocess.PIPE, stdout=to_psql) as pg_restore,
                _pipe(pg_restore.stdin) as dump,
            ):
                read(dump)
            script = ["SELECT pg_catalog.set_config('search_path', 'public', false)", *then, "COMMIT"]
            with to_psql:
                to_psql.write("".join(f"{each};\n" for each in script).encode())

    @contextmanager
    def _running(
        self, program: str, *options: str, target: bool = True, **streams: Any
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run a program of PostgreSQL, towards the database in use. Raises `Unusable` with what it says if it fails; it
        is killed if the block fails."""
        [_, *where], env = connection.client.settings_to_cmd_args_env(connection.settings_dict, [])
        path = shutil.which(program)
        if path is None:
            raise Unusable(f"{program} is not installed. Install PostgreSQL's client programs (postgresql-client).")
        limits = {"PGOPTIONS": "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0"}
        command = [path, *options, *(where if target else [])]
        with tempfile.TemporaryFile() as said:
            env = os.environ | (env or {}) | limits
            process = subprocess.Popen(command, env=env, stderr=said, **streams)  # noqa: S603  PostgreSQL's own programs
            try:
                yield process
            except BaseException as error:
                is_own = process.poll() not in (None, 0)  # it ended first, and the block failed by that
                process.kill()
                process.wait()
                if is_own and isinstance(error, OSError | Unusable):
                    raise _failure(program, said) from error
                raise
            if process.wait() != 0:
                raise _failure(program, said)


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    """Return a stream that was asked for with PIPE."""
    return cast("IO[bytes]", stream)


def _failure(program: str, said: IO[bytes]) -> Unusable:
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    return Unusable(f"{program} failed: {lines[0] if lines else 'it said nothing'}")


class SQLite:
    """By SQLite's own backup of a file in use."""

    def dump(self, name: str, write: Callable[[IO[bytes]], None], progress: Progress) -> Manifest:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy.sqlite3"
            with transaction.atomic():  # no one else writes meanwhile
                manifest = take(name, progress)
                path = str(connection.settings_dict["NAME"])
                with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
                    source.backup(target)
            with copy.open("rb") as file:
                write(file)
        return manifest

    def restore(self, read: Callable[[IO[bytes]], None], then: Statements) -> None:
        path = Path(str(connection.settings_dict["NAME"]))
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.restored")
        try:
            with part.open("wb") as file:
                part.chmod(0o600)
                read(file)
            restored = sqlite3.connect(part)
            try:
                with restored:
                    for statement in then:
                        restored.execute(statement)
                restored.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.DatabaseError as error:
                raise Unusable(f"The backup contains no usable database: {error}.") from None
            finally:
                restored.close()
            connection.close()
            for suffix in ("-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
            part.replace(path)
        finally:
            for suffix in ("", "-wal", "-shm"):
                part.with_name(f"{part.name}{suffix}").unlink(missing_ok=True)


def is_empty() -> bool:
    """Return whether the database has no table."""
    with connection.cursor() as cursor:
        return not connection.introspection.table_names(cursor)
