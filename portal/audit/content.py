"""Content that signatures of the audit log cover, as bytes: the same on both databases, whatever classes are called."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from portal.audit.models import AuditEvent, AuditSeal

SIGNED = (
    "id",
    "actor_id",
    "actor_label",
    "actor_role",
    "verb",
    "object_type",
    "object_label",
    "customer_label",
    "before",
    "after",
    "reason",
    "ip",
    "request_id",
)
SIGNED_IDS = ("public_id", "object_id", "customer_id", "account_id")
COLUMNS = (*SIGNED, *SIGNED_IDS, "at")
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode


def event_facts(event: AuditEvent) -> dict[str, Any]:
    return {name: getattr(event, name) for name in COLUMNS}


def canonical(facts: dict[str, Any]) -> bytes:
    """Return the columns of an event as bytes."""
    signed = {name: facts[name] for name in SIGNED}
    for name in SIGNED_IDS:
        signed[name] = str(facts[name] or "")
    signed["at"] = iso_moment(facts["at"])
    return _encode(signed).encode()


def iso_moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds")


def seal_content(seal: AuditSeal, content: bytes) -> bytes:
    """Return what the hash of a seal covers. A seal without key ID is of a release that signed less."""
    if not seal.key_id:
        return f"{seal.seq}\n{seal.prev_hash}\n".encode() + content
    told = f"seal\n{seal.seq}\n{seal.prev_hash}\n{seal.key_id}\n{iso_moment(seal.sealed_at)}\n"
    return told.encode() + content


def redacted_content(seal: AuditSeal, content: bytes) -> bytes:
    """Return what the content hash of a redaction covers: the new content and all of the event's seal."""
    told = f"redacted\n{seal.seq}\n{seal.prev_hash}\n{seal.row_hash}\n{seal.key_id}\n{iso_moment(seal.sealed_at)}\n"
    return told.encode() + content


def lines(kind: str, facts: Iterable[Any]) -> bytes:
    """Return named facts as bytes: one line each, none of which can contain a line break."""
    return "\n".join(
        [kind, *(iso_moment(each) if isinstance(each, datetime) else str(each) for each in facts)]
    ).encode()
