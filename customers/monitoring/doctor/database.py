"""The database as the server reports it: limits, durability, migrations, clock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils.translation import gettext as _

from customers.models import Heartbeat
from customers.monitoring.doctor.findings import Finding, error, warning
from customers.monitoring.heartbeat import CLOCKS_AGREE
from portal.clock import local_skew

UNREACHABLE = "database.unreachable"
OLDEST_VERSION = 140_000
# Of 2.1 billion transaction IDs; PostgreSQL itself begins to press at 200 million.
IDS_USED_AT_MOST = 1_000_000_000
# Each web or worker machine has a main process and a scheduler, people use psql, and a backup runs.
SPARE_CONNECTIONS = 5


class _Server(NamedTuple):
    version: int
    max_connections: int
    reserved: int
    fsync: str
    full_page_writes: str
    synchronous_commit: str
    autovacuum: str
    statement_timeout: str
    encoding: str
    ids_used: int


_READ = """
SELECT current_setting('server_version_num')::int,
  current_setting('max_connections')::int,
  current_setting('superuser_reserved_connections')::int,
  current_setting('fsync'),
  current_setting('full_page_writes'),
  current_setting('synchronous_commit'),
  current_setting('autovacuum'),
  current_setting('statement_timeout'),
  current_setting('server_encoding'),
  (SELECT max(age(datfrozenxid)) FROM pg_database)
"""


def check_server() -> Iterator[Finding]:
    if connection.vendor != "postgresql":
        return
    try:
        found = _read_server()
    except (Error, ImproperlyConfigured) as failure:
        yield error(
            UNREACHABLE,
            _("The database doesn't answer (%(error)s)") % {"error": type(failure).__name__},
            _("Pages are errors, and nothing is sent."),
            _("Start PostgreSQL, or correct DATABASE_URL."),
        )
        return
    yield from _durability(found)
    yield from _limits(found)


def _read_server() -> _Server:
    with connection.cursor() as cursor:
        cursor.execute(_READ)
        return _Server(*cursor.fetchone())


def _durability(found: _Server) -> Iterator[Finding]:
    lost = _("After a power cut a sent request may be forgotten, and then be sent and paid a second time.")
    for name, value in (
        ("fsync", found.fsync),
        ("full_page_writes", found.full_page_writes),
        ("synchronous_commit", found.synchronous_commit),
    ):
        if value == "off":
            yield error(
                f"database.{name}",
                _("PostgreSQL runs with %(name)s = off") % {"name": name},
                lost,
                f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();",
            )
    full = _("When no transaction ID is free, PostgreSQL refuses every change.")
    if found.autovacuum == "off":
        fix = "ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf();"
        yield error("database.autovacuum", _("PostgreSQL runs with autovacuum = off"), full, fix)
    if found.ids_used > IDS_USED_AT_MOST:
        title = _("%(n)d transaction IDs are in use, of 2.1 billion") % {"n": found.ids_used}
        yield error("database.transaction_ids", title, full, "vacuumdb --all --freeze")


def _limits(found: _Server) -> Iterator[Finding]:
    if found.version < OLDEST_VERSION:
        yield error(
            "database.version",
            _("PostgreSQL is older than version 14"),
            _("Django supports 14 and later."),
            _("Upgrade PostgreSQL."),
        )
    if found.encoding != "UTF8":
        yield error(
            "database.encoding",
            _("The database has the encoding %(encoding)s") % {"encoding": found.encoding},
            _("Names that it can't store end as errors."),
            "CREATE DATABASE portal ENCODING 'UTF8' TEMPLATE template0;",
        )
    if found.statement_timeout == "0":
        yield warning(
            "database.statement_timeout",
            _("Statements have no time limit"),
            _("One slow statement holds a web process or a worker until it ends by itself."),
            _("Unset PORTAL_STATEMENT_SECONDS. Set it to 0 for migrate alone."),
        )
    needed, available = _connections_needed(), found.max_connections - found.reserved
    if needed > available:
        yield error(
            "database.max_connections",
            _("All processes together may open %(needed)d connections, and PostgreSQL allows %(available)d")
            % {"needed": needed, "available": available},
            _("At the busiest time, pages and operations fail."),
            f"ALTER SYSTEM SET max_connections = {needed + found.reserved}; "
            + _("then restart PostgreSQL. Or lower WEB_CONCURRENCY, WEB_THREADS, or -c of the workers."),
        )


def _connections_needed() -> int:
    """Return how many connections this machine's web processes, all workers, and what else there is may open."""
    web = int(os.environ.get("WEB_CONCURRENCY", "2")) * int(os.environ.get("WEB_THREADS", "8"))
    workers = Heartbeat.objects.filter(kind=Heartbeat.Kind.WORKER, ended_at=None).values_list("processes", flat=True)
    return web + sum((each or 1) + 1 for each in workers) + SPARE_CONNECTIONS


def check_migrations() -> Iterator[Finding]:
    executor = MigrationExecutor(connection)
    if plan := executor.migration_plan(executor.loader.graph.leaf_nodes()):
        yield error(
            "database.migrations",
            _("%(n)d migrations are missing, the first is %(name)s") % {"n": len(plan), "name": plan[0][0]},
            _("The code expects other tables than there are."),
            "PORTAL_STATEMENT_SECONDS=0 python manage.py migrate",
        )


def check_clock() -> Iterator[Finding]:
    skew = local_skew()
    if abs(skew) > CLOCKS_AGREE.total_seconds():
        yield warning(
            "clock.database",
            _("The clock of this machine differs from the database's by %(n)d s") % {"n": round(skew)},
            _("A worker whose clock is more than 15 minutes fast drops every message. Times in logs are wrong."),
            "timedatectl set-ntp true",
        )
