"""Django's settings of the database in DATABASE_URL: PostgreSQL in production, SQLite on one machine."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_LOOPBACK = ("", "localhost", "127.0.0.1", "::1")


def refuse_unverified_tls(url: str) -> None:
    """Raise `ImproperlyConfigured` unless connections to another machine verify its certificate, or say that they are
    not encrypted. PostgreSQL's default encrypts if the server offers it, and trusts whoever answers."""
    parts = urlsplit(url)
    if not parts.scheme.startswith(("postgres", "psql", "pgsql")):
        return
    options = parse_qs(parts.query)
    host = unquote(options.get("host", [parts.hostname or ""])[-1])
    if host in _LOOPBACK or host.startswith("/"):
        return
    mode = options.get("sslmode", [""])[-1]
    if mode not in ("verify-full", "disable"):
        found = f"has sslmode={mode}" if mode else "has no sslmode"
        raise ImproperlyConfigured(
            f"DATABASE_URL {found}, so the certificate of the server isn't verified. Add ?sslmode=verify-full&"
            "sslrootcert=FILE with the certificate of its authority. If the database is in a network of your own, "
            "?sslmode=disable is accepted too."
        )


def with_options(database: dict[str, Any], *, statement_seconds: int) -> dict[str, Any]:
    """Return the settings that a URL gives, with the options that the portal relies on.

    `statement_seconds`: time limit of one PostgreSQL statement; 0 means none.
    """
    options = database.get("OPTIONS", {})
    if database["ENGINE"].endswith("sqlite3"):
        # WAL lets readers continue while one writes; IMMEDIATE takes the write lock at BEGIN, so a read-then-write
        # cannot fail half way; FULL because the intent of a paid create must survive a power cut.
        pragmas = "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;PRAGMA foreign_keys=ON;"
        own = {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": pragmas}
        return database | {"OPTIONS": options | own}
    limits = {"statement_timeout": statement_seconds, "lock_timeout": 3, "idle_in_transaction_session_timeout": 30}
    # Compiling takes longer than most statements run.
    server = "-c jit=off" + "".join(f" -c {name}={seconds * 1000}" for name, seconds in limits.items())
    # A machine that is gone keeps its locks until the server notices.
    server += " -c tcp_keepalives_idle=30s -c tcp_keepalives_interval=5s -c tcp_user_timeout=30s"
    # A worker's main process writes the heartbeat; an unreachable server must not block it for minutes.
    silent = {"keepalives_idle": 30, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
    return database | {
        "ENGINE": "portal.postgresql",
        "OPTIONS": {"connect_timeout": 5} | silent | options | {"options": server},
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }
