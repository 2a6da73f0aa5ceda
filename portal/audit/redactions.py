"""Verification of redactions: which content an event may have after personal data in it was erased."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from portal.audit import keys
from portal.audit.content import lines, redacted_content
from portal.audit.keys import Signers
from portal.audit.models import AuditEvent, AuditRedaction, AuditSeal

REDACTED = "audit.redacted"
_FACTS = ("n", "event_id", "seq", "row_hash", "content_hash")
_AT_ONCE = 2000


def content_hash(seal: AuditSeal, content: bytes, *, key_id: str) -> str:
    """Return the hash that a redaction of a sealed event has for its new content."""
    return keys.sign(redacted_content(seal, content), key_id=key_id)


def fits(redaction: AuditRedaction, seal: AuditSeal, content: bytes) -> bool:
    """Return whether an event has the content that its redaction gave it."""
    is_of_seal = (redaction.seq, redaction.row_hash) == (seal.seq, seal.row_hash)
    told = redacted_content(seal, content)
    return is_of_seal and keys.is_signed(redaction.content_hash, told, key_id=redaction.key_id)


def redaction_signature(redaction: AuditRedaction) -> str:
    return keys.sign(_signed(redaction), key_id=redaction.key_id)


def _signed(redaction: AuditRedaction) -> bytes:
    return lines("redaction", [getattr(redaction, name) for name in (*_FACTS, "at", "ordered_by_id", "key_id")])


@dataclass
class Batch:
    """The redactions that one event ordered, in their order."""

    first: int = 0
    last: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    def add(self, redaction: AuditRedaction) -> None:
        self.first, self.last = self.first or redaction.n, redaction.n
        self._digest.update(lines("redaction", (getattr(redaction, name) for name in _FACTS)))

    def facts(self) -> dict[str, str]:
        """Return what the ordering event says of its redactions."""
        return {"redactions": f"{self.first}-{self.last}", "digest": self._digest.hexdigest()}


def by_number(numbers: Iterable[int | None]) -> dict[int, AuditRedaction]:
    wanted = [number for number in numbers if number]
    return AuditRedaction.objects.in_bulk(wanted) if wanted else {}


def redaction_problems(signers: Signers, *, first: int) -> Iterator[str]:
    """Verify that redactions from number `first` on are complete, signed, and ordered by events. Adds to `signers`
    under which keys."""
    orders: dict[int, Any] = dict(AuditEvent.objects.filter(verb=REDACTED).values_list("pk", "after"))
    number = first - 1
    rows = AuditRedaction.objects.order_by("n").iterator(chunk_size=_AT_ONCE)
    for order_id, redactions in groupby(rows, key=lambda each: each.ordered_by_id):
        batch = Batch()
        for each in redactions:
            number += 1
            if each.n != number:
                yield f"Redaction {number} is missing. The next redaction is {each.n}."
                number = each.n
            if not keys.is_signed(each.signature, _signed(each), key_id=each.key_id):
                yield f"Redaction {each.n} is forged or changed after it was signed."
            batch.add(each)
            signers.setdefault(order_id, set()).add(each.key_id)
        # An order that is younger than the query above was written together with its redactions.
        order = orders.pop(order_id, None) or _order(order_id)
        if order is None or not batch.facts().items() <= order.items():
            yield f"Redactions {batch.first} to {batch.last} are not those in the audit log."
    for order in orders.values():
        yield f"Redactions {order.get('redactions')}, which are in the audit log, were removed."


def _order(event_id: int) -> Any:
    return AuditEvent.objects.filter(pk=event_id, verb=REDACTED).values_list("after", flat=True).first()
