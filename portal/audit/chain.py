"""Hash chain over the audit events. Each seal's hash covers its event and the previous hash, keyed with AUDIT_KEY.

Events are sealed shortly after they were written, so that busy transactions do not wait for the end of the chain.
Without the key, a sealed event cannot be changed, removed, swapped or added undetected, even with write access to the
database. Removing the newest seals and events together is detected only with a head recorded elsewhere: every sealing
logs its head.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, transaction
from django.db.models import Exists, Max, Min, OuterRef

from portal.audit.models import AuditEvent, AuditSeal
from portal.secret_files import UNUSED

log = structlog.get_logger(__name__)

GENESIS = "0" * 64
# Transactions commit out of order: an event may become visible after ones with higher ids were sealed.
_LATE = 10_000
_SIGNED = (
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
_SIGNED_IDS = ("public_id", "object_id", "customer_id", "account_id")


def canonical(event: AuditEvent) -> bytes:
    """Return the event as bytes, identical on both databases and for as long as these names are unchanged."""
    facts: dict[str, Any] = {name: getattr(event, name) for name in _SIGNED}
    facts |= {name: str(getattr(event, name) or "") for name in _SIGNED_IDS}
    facts["at"] = event.at.astimezone(UTC).isoformat(timespec="microseconds")
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def row_hash(seq: int, prev_hash: str, event: AuditEvent) -> str:
    if settings.AUDIT_KEY == UNUSED:
        raise ImproperlyConfigured("This process has no AUDIT_KEY, so it can neither seal nor verify the audit log.")
    message = f"{seq}\n{prev_hash}\n".encode() + canonical(event)
    return hmac.new(settings.AUDIT_KEY.encode(), message, hashlib.sha256).hexdigest()


def seal_pending(*, limit: int = 1000) -> int:
    """Seal the oldest unsealed events, at most `limit`; return how many, 0 if another sealer was first.

    Two sealers cannot fork the chain: number, predecessor and event of a seal are unique.
    """
    try:
        with transaction.atomic():
            return _seal_pending(limit)
    except IntegrityError:
        return 0


def _seal_pending(limit: int) -> int:
    last = AuditSeal.objects.order_by("-seq").first()
    seq, prev = (last.seq, last.row_hash) if last else (0, GENESIS)
    newest = AuditSeal.objects.order_by("-event_id").values_list("event_id", flat=True).first() or 0
    waiting = AuditEvent.objects.filter(seal__isnull=True, id__gt=newest - _LATE).order_by("id")[:limit]
    seals = []
    for event in waiting:
        seq += 1
        made = row_hash(seq, prev, event)
        seals.append(AuditSeal(seq=seq, event=event, prev_hash=prev, row_hash=made))
        prev = made
    AuditSeal.objects.bulk_create(seals)
    if seals:
        log.info("audit sealed", head=f"{seq}:{prev}")
    return len(seals)


@dataclass
class ChainFinding:
    """Result of a verification. `problems` are sentences; none means that the log is intact."""

    sealed: int = 0
    unsealed: int = 0
    head: str = ""
    problems: list[str] = field(default_factory=list)


def verify_chain(*, head: str = "", at_most: int = 100) -> ChainFinding:
    """Verify the whole chain. `head` ("seq:hash", from the log of an earlier sealing) also detects a removed end."""
    found = ChainFinding(head=f"0:{GENESIS}")
    noted_seq, _, noted_hash = head.partition(":")
    for problem in _walk(found, noted_seq, noted_hash):
        found.problems.append(problem)
        if len(found.problems) >= at_most:
            return found
    if head and (not noted_seq.isdigit() or int(noted_seq) > found.sealed):
        found.problems.append(
            f"The chain ends at seal {found.sealed}, but the given head is {noted_seq}. Events at the end were removed."
        )
    _look_for_unsealed(found)
    return found


def _walk(found: ChainFinding, noted_seq: str, noted_hash: str) -> Iterator[str]:
    expected = GENESIS
    for seal in AuditSeal.objects.order_by("seq").select_related("event").iterator(chunk_size=2000):
        found.sealed += 1
        if seal.seq != found.sealed:
            yield f"Seal {found.sealed} or its event is missing. The next seal is {seal.seq}."
            found.sealed = seal.seq
        if seal.prev_hash != expected:
            yield f"Seal {seal.seq} does not match the previous seal."
        if seal.row_hash != row_hash(seal.seq, seal.prev_hash, seal.event):
            yield f"Event {seal.event_id} (seal {seal.seq}) changed after it was sealed."
        if str(seal.seq) == noted_seq and seal.row_hash != noted_hash:
            yield f"Seal {seal.seq} does not match the given head."
        expected = seal.row_hash
        found.head = f"{seal.seq}:{seal.row_hash}"
    # One query, not two counts: events may be sealed meanwhile.
    if AuditSeal.objects.filter(~Exists(AuditEvent.objects.filter(pk=OuterRef("event_id")))).exists():
        yield "A sealed event was removed."


def _look_for_unsealed(found: ChainFinding) -> None:
    """Count unsealed events, and report one far older than the newest sealed event: it was inserted later."""
    waiting = AuditEvent.objects.filter(seal__isnull=True)
    found.unsealed = waiting.count()
    oldest = waiting.aggregate(id=Min("id"))["id"]
    newest = AuditSeal.objects.aggregate(id=Max("event_id"))["id"]
    if oldest is not None and newest is not None and oldest <= newest - _LATE:
        found.problems.append(f"Event {oldest} was not sealed although later events were. It was inserted later.")
