"""Removal of the oldest audit events, with a signed checkpoint at which verification begins."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import islice

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Min
from django.utils import timezone

from portal.audit import chain, checkpoints, keys
from portal.audit.models import AuditCheckpoint, AuditEvent, AuditRedaction, AuditSeal
from portal.commands import Command

log = structlog.get_logger(__name__)

# The database refuses to remove younger events (migration 0006).
LEAST_DAYS = 365
_AT_ONCE = 500
# Called with the IDs of events that are about to be removed, in the same transaction.
_BEFORE: list[Callable[[list[int]], None]] = []


class ChainBroken(Exception):
    """The oldest events are not as they were sealed. The message says what to do."""


def before_removal(keep: Callable[[list[int]], None]) -> None:
    """Register what stores elsewhere what it needs of events, given their IDs, before they are removed."""
    if keep not in _BEFORE:
        _BEFORE.append(keep)


def expired_until() -> datetime | None:
    """Return the time of the youngest event that was removed: what happened before it may have no event any more."""
    removed: datetime | None = checkpoints.newest().until_at
    return removed


def expire(command: Command, *, before: datetime, limit: int) -> int:
    """Remove the oldest events that happened before this moment, at most `limit`, and return how many.

    One transaction. Events go oldest first and without a gap, so that verification can begin behind them, and the
    newest sealed event always stays. Removes nothing and returns 0 if another process is removing events. Needs
    AUDIT_KEY. Raises `ValueError` if `before` is less than `LEAST_DAYS` days ago, and `ChainBroken`.
    """
    if before > timezone.now() - timedelta(days=LEAST_DAYS):
        raise ValueError(f"Audit events are kept for {LEAST_DAYS} days at least.")
    try:
        with transaction.atomic():
            return _expire(command, before, limit)
    except IntegrityError:  # another one made the same checkpoint
        return 0


def _expire(command: Command, before: datetime, limit: int) -> int:
    last = checkpoints.newest()
    old = _verified(last, before, limit)
    if not old:
        return 0
    ids, times = [each.seal.event_id for each in old], [each.facts["at"] for each in old]
    kept = AuditRedaction.objects.exclude(ordered_by_id__in=_orders(ids)).aggregate(n=Min("n"))["n"]
    made = AuditCheckpoint(
        n=last.n + 1,
        first_seq=last.first_seq + len(old),
        prev_hash=old[-1].seal.row_hash,
        removed=len(old),
        from_at=min(times),
        until_at=max(times),
        first_redaction=kept or (AuditRedaction.objects.order_by("-n").values_list("n", flat=True).first() or 0) + 1,
        key_id=keys.signing_key_id(),
    )
    order = command.record(
        verb=checkpoints.EXPIRED,
        obj=None,
        after={
            "checkpoint": made.n,
            "removed": made.removed,
            "from": f"{made.from_at:%Y-%m-%d}",
            "until": f"{made.until_at:%Y-%m-%d}",
            "digest": checkpoints.checkpoint_digest(made),
        },
    )
    made.at, made.ordered_by_id = order.at, order.pk
    made.signature = checkpoints.checkpoint_signature(made)
    made.save(force_insert=True)
    for keep in _BEFORE:
        keep(ids)
    AuditRedaction.objects.filter(n__lt=made.first_redaction).delete()
    AuditSeal.objects.filter(seq__lt=made.first_seq).delete()
    for start in range(0, len(ids), _AT_ONCE):
        AuditEvent.objects.filter(pk__in=ids[start : start + _AT_ONCE]).delete()
    log.info("audit expired", checkpoint=made.n, first_seq=made.first_seq, removed=made.removed)
    return made.removed


def _verified(last: AuditCheckpoint, before: datetime, limit: int) -> list[chain.Sealed]:
    """Return the oldest events that are to go, after verifying them: what was removed can't be verified later."""
    newest = AuditSeal.objects.order_by("-seq").values_list("seq", flat=True).first()
    old: list[chain.Sealed] = []
    check, seq, prev = chain.SealCheck(), last.first_seq, last.prev_hash
    for each in islice(chain.sealed_events(at_once=min(limit, _AT_ONCE)), limit):
        seal = each.seal
        if seal.seq == newest or max(each.facts["at"], seal.sealed_at) >= before:
            break
        if (seal.seq, seal.prev_hash) != (seq, prev) or any(check.problems(each)):
            raise ChainBroken(
                f"The audit log was altered at seal {seq}, so nothing was removed. Run: manage.py verify_audit"
            )
        old.append(each)
        seq, prev = seq + 1, seal.row_hash
    return old


def _orders(ids: list[int]) -> list[int]:
    """Return those of the events that ordered redactions."""
    found: list[int] = []
    for start in range(0, len(ids), _AT_ONCE):
        part = AuditRedaction.objects.filter(ordered_by_id__in=ids[start : start + _AT_ONCE])
        found += part.order_by().values_list("ordered_by_id", flat=True).distinct()
    return found
