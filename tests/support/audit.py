"""An audit log of events of several years, and access to its tables behind the portal's back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from portal import audit
from portal.audit import chain
from portal.audit.models import AuditEvent

TABLES = ("audit_auditevent", "audit_auditseal", "audit_auditredaction", "audit_auditcheckpoint")


def write_events(count: int, start: int = 0, **facts: Any) -> list[AuditEvent]:
    return [
        audit.record(**{"actor": None, "verb": "note.added", "obj": None, "after": {"n": n}, "reason": f"r{n}"} | facts)
        for n in range(start, start + count)
    ]


def write_old_events(time_machine: Any, count: int, *, days: int, start: int = 0, **facts: Any) -> list[AuditEvent]:
    """Write and seal events of so many days ago, one an hour."""
    first, found = timezone.now() - timedelta(days=days), []
    for n in range(count):
        time_machine.move_to(first + timedelta(hours=n), tick=False)
        found += write_events(1, start + n, **facts)
        chain.seal_pending()
    time_machine.move_to(first + timedelta(days=days), tick=True)
    return found


@contextmanager
def without_triggers() -> Iterator[Any]:
    """A cursor for which no trigger fires and no foreign key is checked, as someone with the database has it."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET session_replication_role = replica")
            yield cursor
            cursor.execute("SET session_replication_role = DEFAULT")
            return
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name LIKE 'audit_%'")
        triggers = cursor.fetchall()
        for name, _sql in triggers:
            cursor.execute(f'DROP TRIGGER "{name}"')
        cursor.execute("PRAGMA defer_foreign_keys = ON")
        yield cursor
        for _name, sql in triggers:
            cursor.execute(sql)


def behind_the_back(*statements: str) -> None:
    with without_triggers() as cursor:
        for statement in statements:
            cursor.execute(statement)


def no_dangling_rows() -> None:
    """Django checks the foreign keys at the end of a test: remove seals whose events a test removed."""
    behind_the_back("DELETE FROM audit_auditseal WHERE event_id NOT IN (SELECT id FROM audit_auditevent)")
