"""Head of the audit log: its last seal. Recorded outside the database, it tells whether events at the end were removed.

The hash of a head covers all events before it, so that one is enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import structlog

from portal.audit import checkpoints
from portal.audit.chain import recently_unsealed
from portal.audit.models import AuditSeal

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Head:
    """`first_seq` is the first seal that is there. `waiting_since` is the time of the oldest event without a seal."""

    seq: int
    row_hash: str
    sealed_at: datetime | None
    key_id: str
    first_seq: int
    unsealed: int
    waiting_since: datetime | None

    def __str__(self) -> str:
        return f"{self.seq}:{self.row_hash}"

    @property
    def count(self) -> int:
        return self.seq - self.first_seq + 1

    @property
    def short(self) -> str:
        return f"{self.seq}:{self.row_hash[:12]}"


def current_head() -> Head:
    """Return the head as stored, which `verify_chain` verifies."""
    begin, last = checkpoints.newest(), AuditSeal.objects.order_by("-seq").first()
    waiting = list(recently_unsealed().order_by("id").values_list("at", flat=True)[:1000])
    return Head(
        seq=last.seq if last else begin.first_seq - 1,
        row_hash=last.row_hash if last else begin.prev_hash,
        sealed_at=last.sealed_at if last else None,
        key_id=last.key_id if last else "",
        first_seq=begin.first_seq,
        unsealed=len(waiting),
        waiting_since=min(waiting, default=None),
    )


def compare_head(head: str) -> str:
    """Return what tells that the log is not a continuation of an earlier head, "seq:hash"; "" if it is.

    This compares one seal. That the seals before it are whole is what `verify_chain` verifies.
    """
    number, _, row_hash = head.strip().partition(":")
    if not number.isdecimal() or not row_hash:
        return f'"{head}" is not a head. Enter it as it was printed, such as 1042:5f1c….'
    begin, last = checkpoints.newest(), AuditSeal.objects.order_by("-seq").values_list("seq", flat=True).first() or 0
    seq = int(number)
    if seq < begin.first_seq - 1:
        return f"Seal {seq} was removed by retention. Compare a head from seal {begin.first_seq - 1} on."
    if seq > last:
        return f"The log ends at seal {last}, but the given head is {seq}. Events at the end were removed."
    found = begin.prev_hash if seq == begin.first_seq - 1 else _hash_of(seq)
    return "" if found == row_hash else f"Seal {seq} does not match the given head. The log was altered."


def _hash_of(seq: int) -> str:
    return AuditSeal.objects.filter(seq=seq).values_list("row_hash", flat=True).first() or ""


def log_head() -> None:
    """Log the head, so that a log outside the database has it."""
    head = current_head()
    log.info(
        "audit head",
        head=str(head),
        sealed_at=head.sealed_at.isoformat() if head.sealed_at else "",
        events=head.count,
        unsealed=head.unsealed,
        key_id=head.key_id,
    )
