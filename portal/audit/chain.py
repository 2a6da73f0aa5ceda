"""Hash chain over the audit events. Each seal's hash covers its event and the previous hash, keyed with AUDIT_KEY.

Events are sealed shortly after they were written, so that busy transactions do not wait for the end of the chain.
Without the key, a sealed event cannot be changed, removed, swapped or added undetected, even with write access to the
database. Removing the newest seals and events together is detected only with a head recorded elsewhere: every sealing
logs its head.

What may change is signed and named by an event of the chain: redactions (redaction.py) and the checkpoint at which the
chain begins (expiry.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Exists, Max, Min, OuterRef, QuerySet, Subquery
from django.utils import timezone

from portal.audit import checkpoints, keys, redactions
from portal.audit.content import COLUMNS, canonical, event_facts, seal_content
from portal.audit.keys import Signers
from portal.audit.models import AuditCheckpoint, AuditEvent, AuditRedaction, AuditSeal

log = structlog.get_logger(__name__)

GENESIS = checkpoints.GENESIS
# Transactions commit out of order: an event may become visible after ones with higher ids were sealed.
_LATE = 10_000
_AT_ONCE = 500  # a query of SQLite takes 999 values


class OutdatedKey(Exception):
    """The chain was continued under a key that this process doesn't know: it has to be started again."""


class Sealed(NamedTuple):
    """A seal with the columns of its event, and the event's newest redaction."""

    seal: AuditSeal
    facts: dict[str, Any]
    redaction: AuditRedaction | None


def row_hash(seal: AuditSeal, content: bytes) -> str:
    """Return the hash that this seal of an event, as `canonical` bytes, has to have; "" if its key is unknown."""
    return keys.sign(seal_content(seal, content), key_id=seal.key_id)


def seal_pending(*, limit: int = 1000) -> int:
    """Seal the oldest unsealed events, at most `limit`; return how many, 0 if another sealer was first.

    Two sealers cannot fork the chain: number, predecessor and event of a seal are unique. Raises `OutdatedKey`.
    """
    try:
        with transaction.atomic():
            return _seal_pending(limit)
    except IntegrityError:
        return 0


def _seal_pending(limit: int) -> int:
    last = AuditSeal.objects.order_by("-seq").first()
    if last and last.key_id and last.key_id not in keys.keyring():
        raise OutdatedKey("The audit log was sealed with a newer AUDIT_KEY. Restart this process with it.")
    seq, prev = (last.seq, last.row_hash) if last else (0, GENESIS)
    seals = []
    for event in recently_unsealed().order_by("id")[:limit]:
        seq += 1
        seal = AuditSeal(seq=seq, event=event, prev_hash=prev, sealed_at=timezone.now(), key_id=keys.signing_key_id())
        seal.row_hash = prev = row_hash(seal, canonical(event_facts(event)))
        seals.append(seal)
    AuditSeal.objects.bulk_create(seals)
    if seals:
        log.info("audit sealed", head=f"{seq}:{prev}", key_id=seals[-1].key_id)
    return len(seals)


def recently_unsealed() -> QuerySet[AuditEvent]:
    """Return the events that the next sealing takes."""
    newest = AuditSeal.objects.order_by("-event_id").values_list("event_id", flat=True).first() or 0
    # Both tables from there on, so that a few thousand rows are read however long the chain is.
    seal = AuditSeal.objects.filter(event_id__gt=newest - _LATE, event_id=OuterRef("pk"))
    return AuditEvent.objects.filter(~Exists(seal), id__gt=newest - _LATE)


@dataclass
class ChainFinding:
    """Result of a verification. `problems` are sentences; none means that the log is intact.

    `first` is the first seal that is there, `sealed` the last one. `notes` say what could not be compared.
    """

    first: int = 1
    sealed: int = 0
    unsealed: int = 0
    redacted: int = 0
    head: str = ""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify_chain(*, head: str = "", at_most: int = 100) -> ChainFinding:
    """Verify the whole chain. `head` ("seq:hash", from the log of an earlier sealing) also detects a removed end."""
    while True:
        begin = checkpoints.newest()
        found = _verify_from(begin, head=head, at_most=at_most)
        if not found.problems or checkpoints.newest().n == begin.n:
            return found
        # Retention removed events meanwhile.


def _verify_from(begin: AuditCheckpoint, *, head: str, at_most: int) -> ChainFinding:
    found = ChainFinding(first=begin.first_seq, sealed=begin.first_seq - 1)
    found.head = f"{found.sealed}:{begin.prev_hash}"
    for problem in _problems(found, begin, head):
        found.problems.append(problem)
        if len(found.problems) >= at_most:
            break
    return found


def _problems(found: ChainFinding, begin: AuditCheckpoint, head: str) -> Iterator[str]:
    signers: Signers = {}
    yield from checkpoints.checkpoint_problems(begin, signers)
    yield from redactions.redaction_problems(signers, first=begin.first_redaction)
    check = SealCheck(signers)
    yield from _walk(found, begin, head, check)
    yield from check.unsealed_problems()
    yield from _look_for_unsealed(found)


def _walk(found: ChainFinding, begin: AuditCheckpoint, head: str, check: SealCheck) -> Iterator[str]:
    number, _, noted_hash = head.strip().partition(":")
    noted_seq = int(number) if number.isdecimal() else None
    expected = begin.prev_hash
    if noted_seq == found.sealed and noted_hash != expected:
        yield f"Seal {found.sealed} does not match the given head."
    elif noted_seq is not None and noted_seq < found.sealed:
        found.notes.append(f"Seal {noted_seq} was removed by retention, so the given head can't be compared.")
    for each in sealed_events():
        seal = each.seal
        found.sealed += 1
        found.redacted += each.redaction is not None
        if seal.seq != found.sealed:
            yield f"Seal {found.sealed} or its event is missing. The next seal is {seal.seq}."
            found.sealed = seal.seq
        if seal.prev_hash != expected:
            yield f"Seal {seal.seq} does not match the previous seal."
        yield from check.problems(each)
        if seal.seq == noted_seq and seal.row_hash != noted_hash:
            yield f"Seal {seal.seq} does not match the given head."
        expected = seal.row_hash
        found.head = f"{seal.seq}:{seal.row_hash}"
    if head and (noted_seq is None or noted_seq > found.sealed):
        yield f"The chain ends at seal {found.sealed}, but the given head is {number}. Events at the end were removed."
    # One query, not two counts: events may be sealed meanwhile.
    if AuditSeal.objects.filter(~Exists(AuditEvent.objects.filter(pk=OuterRef("event_id")))).exists():
        yield "A sealed event was removed."


def sealed_events(*, at_once: int = _AT_ONCE) -> Iterator[Sealed]:
    """Yield seals with the columns of their events and the newest redaction, in the order of the chain. A seal whose
    event is missing is left out.

    Seals and events are read one after the other, each by its index, however many there are.
    """
    start = -1
    while seals := list(AuditSeal.objects.filter(seq__gt=start).order_by("seq")[:at_once]):
        # In the same query: an event and its redaction change together.
        newest = AuditRedaction.objects.filter(event_id=OuterRef("pk")).order_by("-n").values("n")[:1]
        events = AuditEvent.objects.order_by().filter(pk__in=[seal.event_id for seal in seals])
        rows = {row[0]: row for row in events.values_list(*COLUMNS, Subquery(newest))}
        redacted = redactions.by_number(row[-1] for row in rows.values())
        for seal in seals:
            if row := rows.get(seal.event_id):
                yield Sealed(seal, dict(zip(COLUMNS, row, strict=False)), redacted.get(row[-1]))
        start = seals[-1].seq


class SealCheck:
    """Compares seals with their events. Keys succeed each other: one from before the last key seals no more.

    `signers` are the IDs of the keys that signed what an event ordered, by event. None was a former key by then.
    """

    def __init__(self, signers: Signers | None = None) -> None:
        self._newest_first = list(keys.keyring())
        self._age = len(self._newest_first)
        self._signers = signers or {}

    def problems(self, sealed: Sealed) -> Iterator[str]:
        seal = sealed.seal
        if seal.event_id in self._signers:
            yield from self._signed_late(seal.event_id)
        if seal.key_id:
            if seal.key_id not in self._newest_first:
                yield f"Seal {seal.seq} was made with the key {seal.key_id}, which is not in AUDIT_KEY_FALLBACKS."
                return
            age = self._newest_first.index(seal.key_id)
            if age > self._age:
                yield f"Seal {seal.seq} was made with a former key, after a newer one was in use."
            self._age = min(age, self._age)
        content = canonical(sealed.facts)
        if sealed.redaction is not None:
            if not redactions.fits(sealed.redaction, seal, content):
                yield f"Event {seal.event_id} (seal {seal.seq}) changed after it was redacted."
        elif not self._fits(seal, content):
            yield f"Event {seal.event_id} (seal {seal.seq}) changed after it was sealed."

    def unsealed_problems(self) -> Iterator[str]:
        """Compare the keys that signed what events ordered that aren't sealed yet. Call it after the last seal."""
        for event_id in list(self._signers):
            yield from self._signed_late(event_id)

    def _signed_late(self, event_id: int) -> Iterator[str]:
        signers = self._signers.pop(event_id)
        if any(self._newest_first.index(key_id) > self._age for key_id in signers if key_id in self._newest_first):
            yield f"What event {event_id} ordered was signed with a former key, after a newer one was in use."

    def _fits(self, seal: AuditSeal, content: bytes) -> bool:
        if seal.key_id:
            return keys.is_signed(seal.row_hash, seal_content(seal, content), key_id=seal.key_id)
        message = seal_content(seal, content)
        for age in range(min(self._age, len(self._newest_first) - 1), -1, -1):
            if keys.is_signed(seal.row_hash, message, key_id=self._newest_first[age]):
                self._age = age
                return True
        return False


def _look_for_unsealed(found: ChainFinding) -> Iterator[str]:
    """Count unsealed events, and report one far older than the newest sealed event: it was inserted later."""
    waiting = AuditEvent.objects.filter(seal__isnull=True)
    found.unsealed = waiting.count()
    oldest = waiting.aggregate(id=Min("id"))["id"]
    newest = AuditSeal.objects.aggregate(id=Max("event_id"))["id"]
    if oldest is not None and newest is not None and oldest <= newest - _LATE:
        yield f"Event {oldest} was not sealed although later events were. It was inserted later."
