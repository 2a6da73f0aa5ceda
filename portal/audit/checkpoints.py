"""Verification of the checkpoints at which the chain begins after retention."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from portal.audit import keys
from portal.audit.content import lines
from portal.audit.keys import Signers
from portal.audit.models import AuditCheckpoint, AuditEvent

EXPIRED = "audit.expired"
GENESIS = "0" * 64
_FACTS = ("n", "first_seq", "prev_hash", "removed", "from_at", "until_at", "first_redaction")


def newest() -> AuditCheckpoint:
    """Return the last checkpoint; before the first one, the beginning of the chain with the number 0."""
    return AuditCheckpoint.objects.order_by("-n").first() or AuditCheckpoint(
        n=0, first_seq=1, prev_hash=GENESIS, removed=0, first_redaction=1
    )


def checkpoint_digest(checkpoint: AuditCheckpoint) -> str:
    """Return what the event that orders a checkpoint says of it."""
    return hashlib.sha256(lines("checkpoint", (getattr(checkpoint, name) for name in _FACTS))).hexdigest()


def checkpoint_signature(checkpoint: AuditCheckpoint) -> str:
    return keys.sign(_signed(checkpoint), key_id=checkpoint.key_id)


def _signed(checkpoint: AuditCheckpoint) -> bytes:
    facts = (checkpoint_digest(checkpoint), checkpoint.at, checkpoint.ordered_by_id, checkpoint.key_id)
    return lines("checkpoint", facts)


def checkpoint_problems(last: AuditCheckpoint, signers: Signers) -> Iterator[str]:
    """Verify that checkpoints up to the last one follow each other, are signed, and were ordered by an event. Adds to
    `signers` under which keys."""
    orders: dict[int, Any] = dict(AuditEvent.objects.filter(verb=EXPIRED).values_list("pk", "after"))
    number, first_seq, first_redaction = 0, 1, 1
    for each in AuditCheckpoint.objects.order_by("n"):
        number += 1
        if each.n != number:
            yield f"Checkpoint {number} is missing. The next checkpoint is {each.n}."
            number = each.n
        if not keys.is_signed(each.signature, _signed(each), key_id=each.key_id):
            yield f"Checkpoint {each.n} is forged or changed after it was signed."
        elif each.first_seq != first_seq + each.removed or each.first_redaction < first_redaction:
            yield f"Checkpoint {each.n} does not match the previous checkpoint."
        signers.setdefault(each.ordered_by_id, set()).add(each.key_id)
        first_seq, first_redaction = each.first_seq, each.first_redaction
        order = orders.pop(each.ordered_by_id, None)
        # Later retention removed the events of earlier checkpoints.
        is_expired = each.n < last.n and each.at <= last.until_at
        if order is None and not is_expired:
            yield f"Checkpoint {each.n} is not in the audit log."
        elif order is None:
            signers.pop(each.ordered_by_id)
        elif order.get("digest") != checkpoint_digest(each):
            yield f"Checkpoint {each.n} is not the one in the audit log."
    for order in orders.values():
        yield f"Checkpoint {order.get('checkpoint')}, which is in the audit log, was removed."
