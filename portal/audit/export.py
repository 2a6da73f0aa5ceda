"""The audit log as a table, read while it is sent.

On PostgreSQL the database makes the cells itself, apart from the changed values, to the same bytes as elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from portal.audit.differences import changes
from portal.audit.models import AuditEvent
from portal.audit.verbs import title_of
from portal.consistent_reads import streamed_read
from portal.csv_cells import AddressCell, Cells, Line, TextCell, TimeCell, UuidCell
from portal.exports import csv_cell, csv_lines

HEADER = (
    "at (UTC)",
    "actor",
    "role",
    "verb",
    "event",
    "object type",
    "object",
    "object ID",
    "customer",
    "customer ID",
    "account ID",
    "before",
    "after",
    "reason",
    "IP address",
    "request ID",
    "event ID",
)
AT_ONCE = 500


def audit_export_lines(found: QuerySet[AuditEvent]) -> Iterator[str]:
    """Yield the lines of the events, in their order."""
    with streamed_read():
        yield from _lines(found) if connection.vendor == "postgresql" else csv_lines(audit_export_rows(found))


def audit_export_rows(found: QuerySet[AuditEvent]) -> Iterator[list[Any]]:
    for event in found.iterator(chunk_size=AT_ONCE):
        yield [
            event.at,
            event.actor_label,
            event.actor_role,
            event.verb,
            title_of(event.verb),
            event.object_type,
            event.object_label,
            event.object_id,
            event.customer_label,
            event.customer_id,
            event.account_id,
            *_changed(event.before, event.after, event.verb),
            event.reason,
            event.ip,
            event.request_id,
            event.public_id,
        ]


def _changed(before: Any, after: Any, verb: str) -> tuple[str, str]:
    found = changes(before, after, verb)
    return (
        "; ".join(f"{each.label}: {each.before}" for each in found if each.before),
        "; ".join(f"{each.label}: {each.after}" for each in found if each.after),
    )


def _lines(found: QuerySet[AuditEvent]) -> Iterator[str]:
    who = Cells(TimeCell("at"), TextCell("actor_label"), TextCell("actor_role"), TextCell("verb"))
    what = Cells(
        TextCell("object_type"),
        TextCell("object_label"),
        UuidCell("object_id"),
        TextCell("customer_label"),
        UuidCell("customer_id"),
        UuidCell("account_id"),
    )
    rest = Line(TextCell("reason"), AddressCell("ip"), TextCell("request_id"), UuidCell("public_id"))
    rows = found.values_list(who, "verb", what, "before", "after", rest)
    title = lru_cache(maxsize=256)(lambda verb: csv_cell(title_of(verb)))
    for first, verb, second, before, after, third in rows.iterator(chunk_size=AT_ONCE):
        old, new = map(csv_cell, _changed(before, after, verb))
        yield f"{first},{title(verb)},{second},{old},{new},{third}"
