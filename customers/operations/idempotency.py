"""Resending under the same idempotency key: until when, when next, and when not at all.

The rules and their sources are in docs/decisions/idempotency.md.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Q

from customers.models import Operation
from customers.models.operation_states import OperationState
from customers.operations import attempts, transitions
from customers.operations.outcomes import NeedsReview, NotApplied
from portal.texts import say

# Providers store a key for 24 hours (documented); after that the same request would be executed once more.
KEYED_FOR = timedelta(hours=23)
SENDS_AT_MOST = 8
# So many more may delete what a create left: a key without its secret must not stay while a review waits.
DELETES_MORE = 3
# The steps of reviews that retry.
RETRIED = Q(before=OperationState.NEEDS_ATTENTION, after=OperationState.QUEUED)


def not_done(operation: Operation, summary: str, *, now: datetime) -> NotApplied:
    """Return a verdict to send again, with more patience than where every send is a new change."""
    until = transitions.backoff(attempts.attempts_unknown(operation).count(), now=now)
    return NotApplied(summary, until=until, sends_at_most=SENDS_AT_MOST)


def sends_at_most(operation: Operation) -> int:
    """Return after how many sends that did not succeed it needs a review. Each review that retries allows one more."""
    return SENDS_AT_MOST + operation.steps.filter(RETRIED).count()


def spent(operation: Operation, *, now: datetime) -> NeedsReview | None:
    """Return a review where the key can't be used anymore: too old, or refused because it was used for another
    request."""
    refused = any(result.get("key_reused") for result in operation.attempts.values_list("result", flat=True))
    return _a_person() if refused else too_late(operation, now=now)


def too_late(operation: Operation, *, now: datetime) -> NeedsReview | None:
    """Return a review where the first send that may have reached the provider was too long ago."""
    first = attempts.attempts_unknown(operation).first()
    return _a_person() if first and now >= first.intended_at + KEYED_FOR else None


def _a_person() -> NeedsReview:
    return NeedsReview("too_late", say("key.too_late"))
