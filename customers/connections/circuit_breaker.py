"""The circuit breaker of a connection. When its provider cannot be reached, the portal stops trying with people's
operations: they stay queued, nothing is claimed, and one small read now and then finds out when it is over.

A failure is no answer at all, half an answer, or a 5xx. Whatever else the provider says (a refusal, a 429) is an
answer. The state is a row, so that all workers and pages see the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
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

# Open when failures outnumber answers by this many, none of them longer after the one before than `LATELY`.
OPENS_AT = 5
LATELY = timedelta(minutes=1)
# From opening to the first trial, from that to the second, and so on; the last one repeats.
PAUSES = (timedelta(seconds=30), timedelta(seconds=60), timedelta(seconds=120))
# A trial whose worker did not come back is made again after this.
TRIAL_LEASE = timedelta(seconds=60)


@dataclass(frozen=True)
class BreakerStatus:
    """How the breaker of a connection stands. Open: since when, why, when the next trial is, how many failed."""

    is_open: bool = False
    opened_at: datetime | None = None
    retry_at: datetime | None = None
    reason: str = ""
    trials: int = 0


def breaker_status(connection: Connection) -> BreakerStatus:
    found = Breaker.objects.filter(connection=connection).exclude(opened_at=None).first()
    if found is None:
        return BreakerStatus()
    return BreakerStatus(True, found.opened_at, found.retry_at, found.reason, found.trials)


def unreachable(evidence: Evidence) -> bool:
    """Whether an exchange says that the provider cannot be reached. A call that was held back here says nothing."""
    if evidence.sent_at is None:
        return False
    return bool(evidence.failure) or evidence.status is None or evidence.status >= 500


def record_exchanges(connection: Connection, *, exchanges: Sequence[Evidence], now: datetime) -> None:
    """Count how one piece of work went, by its last exchange: one bad answer repeated is one bad answer."""
    if exchanges:
        failed = unreachable(exchanges[-1])
        count(connection, answered=int(not failed), failed=int(failed), now=now, last=exchanges[-1])


def count(connection: Connection, *, answered: int, failed: int, now: datetime, last: Evidence | None = None) -> None:
    """Add up what came back, and open the breaker where it is too bad. `last` is what the page names as the reason.

    `connection` is the row that the work was done with: what came back under settings that were replaced since says
    nothing of the ones that hold now, and is not counted."""
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
    """The provider answered, as `connection` says where and with which key it was asked. With `retry_at` only where
    that is still the next trial: nobody else tries meanwhile."""
    with transaction.atomic():
        opened = Breaker.objects.filter(connection=connection).exclude(opened_at=None)
        if retry_at:
            opened = opened.filter(retry_at=retry_at)
        if not connection.hold_if_current():
            return
        if opened.update(opened_at=None, retry_at=None, failures=0, trials=0):
            audit.record(actor=None, verb="connection.breaker_closed", obj=connection)


def start_again(connection: Connection) -> None:
    """Forget what was counted: the connection has another address, of which nothing is known. Call it in the
    transaction that writes the address."""
    close(connection)
    Breaker.objects.filter(connection=connection).update(failures=0)


def due_connections(*, now: datetime) -> list[int]:
    """The connections that are to be tried now."""
    open_ = Breaker.objects.filter(connection__paused="", retry_at__lte=now).order_by("retry_at")
    return list(open_.values_list("connection", flat=True))


def try_again(
    connection_id: int, *, clock: Callable[[], datetime] = database_now, connect: Connect = trial_client
) -> None:
    """One small read, by one worker: an answer closes the breaker, none makes the next pause longer. A worker whose
    trial took so long that another one was begun changes nothing."""
    now = clock()
    lease = now + TRIAL_LEASE
    mine = Breaker.objects.filter(connection=connection_id)
    connection = Connection.objects.filter(pk=connection_id, paused="").first()
    if connection is None or mine.filter(retry_at__lte=now).update(retry_at=lease) != 1:
        return
    with recorded() as exchanges, suppress(ProviderError, DecryptionError):  # what the exchange was says enough
        next(iter(connect(connection).list_accounts(patience=0)), None)
    if not exchanges:
        return  # held back here, by the provider's own wish: another time
    if not unreachable(exchanges[-1]):
        close(connection, retry_at=lease)
        return
    with transaction.atomic():
        if not connection.hold_if_current():
            return  # another address or key: its own trial is due by the lease
        held = mine.filter(retry_at=lease)  # as long as nobody else tries, nobody else counts trials
        trials = (held.values_list("trials", flat=True).first() or 0) + 1
        pause = PAUSES[min(trials, len(PAUSES) - 1)]
        held.update(retry_at=clock() + pause, trials=trials, reason=_reason(exchanges[-1]))


def _reason(evidence: Evidence) -> str:
    return (evidence.failure or f"HTTP {evidence.status}")[:200]
