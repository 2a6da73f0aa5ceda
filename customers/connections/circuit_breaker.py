"""The circuit breaker of a connection. While its provider cannot be reached, operations stay queued, nothing is
claimed, and one small read now and then finds out when it is over.

A failure is no answer at all, half an answer, or a 5xx. Every other response (a refusal, a 429) is an answer. The state
is a row, so that all workers and pages share it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Case, F, Value, When
from django.db.models.functions import Greatest

from customers.connections.client import Connect, recorded, trial_client
from customers.models import Breaker, Connection
from portal import audit
from portal.clock import database_now
from portal.encryption import DecryptionError
from portal.providers import Evidence, ProviderError

# Opens when failures outnumber answers by this many, none of them longer after the one before than `LATELY`.
OPENS_AT = 5
LATELY = timedelta(minutes=1)
# From opening to the first trial, from that to the second, and so on; the last one repeats.
PAUSES = (timedelta(seconds=30), timedelta(seconds=60), timedelta(seconds=120))
# A trial whose worker did not return is made again after this.
TRIAL_LEASE = timedelta(seconds=60)


def breaker_status(connection: Connection) -> Breaker:
    """Return the breaker of a connection as it is now; one without a failure has no row yet."""
    return Breaker.objects.filter(connection=connection).first() or Breaker()


def unreachable(evidence: Evidence) -> bool:
    """Return whether an exchange shows that the provider cannot be reached. A call that was not sent shows nothing."""
    if evidence.sent_at is None:
        return False
    return bool(evidence.failure) or evidence.status is None or evidence.status >= 500


def record_exchanges(
    connection: Connection, *, exchanges: Sequence[Evidence], clock: Callable[[], datetime] = database_now
) -> None:
    """Count the result of one piece of work, by its last exchange: one bad answer repeated is one bad answer."""
    if exchanges:
        failed = unreachable(exchanges[-1])
        if not failed and connection.no_failures:
            return
        count(connection, answered=int(not failed), failed=int(failed), now=clock(), last=exchanges[-1])


def count(connection: Connection, *, answered: int, failed: int, now: datetime, last: Evidence | None = None) -> None:
    """Add up the results, and open the breaker where failures prevail. `last` is shown as the reason.

    `connection` is the row that the work was done with: results under settings that were replaced since say nothing
    about the present ones, and are not counted.
    """
    mine = Breaker.objects.filter(connection=connection, opened_at=None)
    if not failed and not mine.filter(failures__gt=0).exists():
        return
    with transaction.atomic():
        if not connection.hold_if_current():
            return
        if not failed:
            mine.update(failures=Greatest(F("failures") - answered, Value(0)))
            return
        Breaker.objects.get_or_create(connection=connection)
        before = Case(When(failed_at__gt=now - LATELY, then=F("failures")), default=Value(0))
        reason = _reason(last) if last else ""
        mine.update(failures=Greatest(before + failed - answered, Value(0)), failed_at=now, reason=reason)
        if mine.filter(failures__gte=OPENS_AT).update(opened_at=now, retry_at=now + PAUSES[0], trials=0):
            audit.record(actor=None, verb="connection.breaker_opened", obj=connection, reason=reason)


def close(connection: Connection, *, retry_at: datetime | None = None) -> None:
    """Close the breaker after an answer to a request with the address and key of `connection`. With `retry_at` only
    where that is still the next trial: no other worker tries meanwhile."""
    with transaction.atomic():
        opened = Breaker.objects.filter(connection=connection).exclude(opened_at=None)
        if retry_at:
            opened = opened.filter(retry_at=retry_at)
        if not connection.hold_if_current():
            return
        if opened.update(opened_at=None, retry_at=None, failures=0, trials=0):
            audit.record(actor=None, verb="connection.breaker_closed", obj=connection)


def start_again(connection: Connection) -> None:
    """Reset the count: the connection has another address, of which nothing is known. Call it in the transaction that
    writes the address."""
    close(connection)
    Breaker.objects.filter(connection=connection).update(failures=0)


def due_connections(*, now: datetime) -> list[int]:
    """Return the connections whose trial is due."""
    open_ = Breaker.objects.filter(connection__paused__in=Connection.READABLE, retry_at__lte=now).order_by("retry_at")
    return list(open_.values_list("connection", flat=True))


def try_again(
    connection_id: int, *, clock: Callable[[], datetime] = database_now, connect: Connect = trial_client
) -> None:
    """Make one small read, by one worker: an answer closes the breaker, none makes the next pause longer. A worker
    whose trial took so long that another one was begun changes nothing."""
    now = clock()
    lease = now + TRIAL_LEASE
    mine = Breaker.objects.filter(connection=connection_id)
    connection = Connection.objects.filter(pk=connection_id, paused__in=Connection.READABLE).first()
    if connection is None or mine.filter(retry_at__lte=now).update(retry_at=lease) != 1:
        return
    with recorded() as exchanges, suppress(ProviderError, DecryptionError):  # the exchange is enough
        next(iter(connect(connection).list_accounts(patience=0)), None)
    if not exchanges:
        return  # held back by the rate limit: another time
    if not unreachable(exchanges[-1]):
        close(connection, retry_at=lease)
        return
    with transaction.atomic():
        if not connection.hold_if_current():
            return  # another address or key: its own trial is due by the lease
        held = mine.filter(retry_at=lease)  # while no other worker tries, none counts trials
        trials = (held.values_list("trials", flat=True).first() or 0) + 1
        pause = PAUSES[min(trials, len(PAUSES) - 1)]
        held.update(retry_at=clock() + pause, trials=trials, reason=_reason(exchanges[-1]))


def _reason(evidence: Evidence) -> str:
    return (evidence.failure or f"HTTP {evidence.status}")[:200]
