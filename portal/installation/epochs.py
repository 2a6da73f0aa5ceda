"""Epochs: whether the rows are those that the last process of this installation wrote.

A database that was restored lacks what was done since its backup. `manage.py restore` begins an epoch itself. Restores
by other means are found by two signs, and begin one then:

- PostgreSQL's own identity of the database, which differs in a copy. Checked by workers with each new connection,
  before they use it.
- A mark in Redis of the last rows, written by the scheduler's tick: rows older than it were restored in place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from threading import local
from typing import Any

import redis
import structlog
from django.conf import settings
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver

from portal.audit.models import AuditEvent
from portal.installation.models import Epoch

log = structlog.get_logger(__name__)
# The key of the mark, one for each installation that shares a Redis.
MARK = "postkeeper:rows:{}"
FIRST = 1
# What begins an epoch: it stops everything that changes something at a provider, and gets why.
_ON_RESTORE: list[Callable[[str], None]] = []


class _Known(local):
    epoch: int | None = None


_known = _Known()


def on_restore(begin: Callable[[str], None]) -> None:
    """Register what begins an epoch when a restore is found."""
    if begin not in _ON_RESTORE:
        _ON_RESTORE.append(begin)


def current_epoch() -> int:
    """Return the number of the epoch, as this thread's database connection first read it."""
    if _known.epoch is None:
        _known.epoch = Epoch.objects.values_list("number", flat=True).first() or FIRST
    return _known.epoch


def forget_epoch() -> None:
    """Read the epoch again when it is next asked for."""
    _known.epoch = None


def latest() -> Epoch | None:
    return Epoch.objects.first()


def rows_until() -> datetime | None:
    """Return the time of the last recorded event: what a restored database contains, it contains up to then."""
    return AuditEvent.objects.order_by("-pk").values_list("at", flat=True).first()


# --- The database is another one --------------------------------------------------------------------------------------


@receiver(connection_created)
def check_database(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """In workers, begin an epoch if the rows were copied from another database."""
    forget_epoch()
    if not settings.IS_WORKER or connection.vendor != "postgresql":
        return
    try:
        _check(connection)
    except BaseException:
        connection.close()  # or the next query would use it unchecked
        raise


def _check(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('installation_epoch') IS NOT NULL")
        if not cursor.fetchone()[0]:  # before the first migrate
            return
        cursor.execute("SELECT has_function_privilege('pg_control_system()', 'execute')")
        system = "(SELECT system_identifier::text FROM pg_control_system())" if cursor.fetchone()[0] else "''"
        identity = f"{system} || ':' || oid"
        cursor.execute(f"SELECT {identity}, clock_timestamp() FROM pg_database WHERE datname = current_database()")  # noqa: S608  one of two texts above
        database, now = cursor.fetchone()
    if (known := latest()) is None:
        known = Epoch.objects.get_or_create(number=FIRST, defaults={"began_at": now})[0]
    if known.database != database:
        _note(database)


def _is_same(known: str, database: str) -> bool:
    """Compare two identities. The first part is empty where the role may not ask for it."""
    (known_system, _, known_oid), (system, _, oid) = known.partition(":"), database.partition(":")
    return known_oid == oid and (not known_system or not system or known_system == system)


def _note(database: str) -> None:
    """Store which database this is. If it is another one than before, begin an epoch; no other worker goes on before
    that is done."""
    with transaction.atomic():
        Epoch.objects.select_for_update().earliest("number")  # the same row for every worker
        last = Epoch.objects.latest("number")
        if last.database == database:
            return
        if last.database and not _is_same(last.database, database):
            _begin(f"The database is a copy of {last.database}, now at {database}.")
        Epoch.objects.filter(number=Epoch.objects.latest("number").number).update(database=database)


# --- The rows are older than they were --------------------------------------------------------------------------------


def check_last_rows() -> None:
    """Begin an epoch if the last rows that Redis knows are missing, and store the present ones there. Does nothing
    without Redis."""
    if not settings.REDIS_URL:
        return
    mark = MARK.format(hashlib.sha256(settings.SECRET_KEY.encode()).hexdigest()[:16])
    try:
        client = redis.Redis.from_url(
            settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=1, **settings.REDIS_TLS
        )
        stored = client.get(mark)  # before the rows, which may only become more meanwhile
        here = _last_rows()
        if stored and here < (there := json.loads(stored)):
            _begin(f"The audit log ends at event {here[1]}, and once had event {there[1]}.")
            here = _last_rows()
        client.set(mark, json.dumps(here))
    except (redis.RedisError, OSError) as error:
        log.warning("installation.mark_not_stored", error=type(error).__name__)


def _last_rows() -> list[str | int]:
    """Return when the epoch began and the number of the last audit event. They only grow, but for a restore."""
    epoch = latest()
    last = AuditEvent.objects.order_by("-pk").values_list("pk", flat=True).first()
    return [epoch.began_at.isoformat() if epoch and epoch.backup_at else "", last or 0]


def _begin(why: str) -> None:
    log.error("installation.restore_found", why=why)
    for begin in _ON_RESTORE:
        begin(why)
    forget_epoch()
