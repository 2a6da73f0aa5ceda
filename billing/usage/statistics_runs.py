"""Runs that read statistics: one range of days per account, at the period's end and on two days of the month.

A run stores no item per account: `position` is the last account read, so that it continues there after a restart. An
account that fails is counted and read again by the next run.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from time import monotonic

import structlog
from django.db.models import Exists, Min, OuterRef, QuerySet

from billing.models import NOT_OVER, StatisticsReading, SyncRun, UsagePeriod
from billing.usage import figures, runs
from billing.usage.assess import DAY
from billing.usage.batches import RunSession, in_a_transaction
from billing.usage.ledger import next_batch
from billing.usage.midnights import OLDEST
from billing.usage.periods import LONGEST_PERIOD, month_after
from billing.usage.snapshots import lock_accounts
from customers.connections import circuit_breaker
from customers.models import Account, Connection
from portal.leases import AT_ONCE
from portal.providers import Forbidden, Provider, ProviderError, Unauthorized
from portal.refusals import Refusal
from portal.texts import say

log = structlog.get_logger(__name__)

# Days of the month (UTC) on which all accounts are read: on the 2nd the month is over in every time zone, on the 4th
# its statistics have settled.
DAYS = (2, 4)
# The month, and the day two days before, is over in the westernmost time zone from this time of day on (UTC).
FROM = time(12)
# Statistics of the days around a period's end have settled on this day after its last one.
DAYS_AFTER_END = 4 * DAY
TOGETHER = 50
THREADS = 8
# How long a run waits where nothing was answered.
PAUSE = timedelta(minutes=5)


def start_statistics_run(connection: Connection, *, now: datetime) -> None:
    """Start the run that is due today, if any."""
    today = now.astimezone(UTC).date()
    if now < datetime.combine(today, FROM, tzinfo=UTC) or not may_read(connection):
        return
    slot = f"{today.isoformat()}/{'all' if today.day in DAYS else 'ended'}"
    try:
        runs.start_run(
            connection=connection,
            kind=SyncRun.Kind.STATISTICS,
            slot=slot,
            now=now,
            until=now + runs.RUN_HOURS,
            accounts=_accounts(connection, slot),
        )
    except Refusal:
        return


def may_read(connection: Connection) -> bool:
    """Return whether the provider has statistics for single accounts."""
    return connection.capabilities.statistics and not runs.is_pooled(connection)


def are_denied(connection: Connection) -> bool:
    """Return whether the last run ended because the key may not read statistics. The next run tries it again."""
    last = SyncRun.objects.filter(connection=connection, kind=SyncRun.Kind.STATISTICS, state__in=SyncRun.ENDED).first()
    return last is not None and last.state == SyncRun.State.ABORTED


@dataclass(frozen=True, slots=True)
class _Answer:
    account: Account
    asked_at: datetime
    first_on: date
    last_on: date
    days: dict[date, int] | None = None
    error: ProviderError | None = None

    @property
    def is_answered(self) -> bool:
        if self.error is None:
            return True
        return self.error.evidence.sent_at is not None and not circuit_breaker.unreachable(self.error.evidence)

    @property
    def retry_at(self) -> datetime | None:
        return getattr(self.error, "retry_at", None)


def read_statistics(chunk: RunSession, *, deadline: float) -> timedelta | None:
    """Read the next accounts until `deadline`. Return how long the run has to wait, None at its end."""
    run = chunk.run
    while monotonic() < deadline:
        accounts = list(_accounts(run.connection, run.slot).filter(pk__gt=run.position)[:TOGETHER])
        if not accounts:
            runs.finish(run, now=chunk.clock())
            return None
        answers = _ask_all(chunk, accounts)
        if denial := _denial(run, answers):
            runs.abort(run, message=denial, now=chunk.clock())
            return None
        settled = _until_put_off(answers)
        if not any(each.is_answered for each in settled):
            waits = [each.retry_at for each in answers if each.retry_at]
            return max(waits[0] - chunk.clock(), timedelta(seconds=1)) if waits else PAUSE
        _store(chunk, settled)
    return AT_ONCE


def _accounts(connection: Connection, slot: str) -> QuerySet[Account]:
    accounts = runs.accounts_of(connection)
    day, which = slot.split("/")
    if which == "ended":
        end_on = date.fromisoformat(day) - DAYS_AFTER_END
        ended = UsagePeriod.objects.filter(account=OuterRef("pk"), end_on=end_on).exclude(current=None)
        accounts = accounts.filter(Exists(ended))
    return accounts


def _ask_all(chunk: RunSession, accounts: Sequence[Account]) -> list[_Answer]:
    today = chunk.clock().astimezone(UTC).date()
    firsts = _first_days(accounts, today)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="statistics") as pool:
        asks = [
            pool.submit(copy_context().run, partial(_ask, chunk, each, firsts[each.pk], today - DAY))
            for each in accounts
        ]
        return [each.result() for each in asks]


def _first_days(accounts: Sequence[Account], today: date) -> dict[int, date]:
    """Return the first day to read of each account: before the last month and before the last period that ended."""
    month = month_after(today.replace(day=1), -1)
    ended = UsagePeriod.objects.filter(account__in=accounts, end_on__lt=today, end_on__gte=today - LONGEST_PERIOD)
    starts = dict(ended.order_by().values("account").annotate(first=Min("start_on")).values_list("account", "first"))
    return {each.pk: min(month, starts.get(each.pk, month)) - DAY for each in accounts}


def _ask(chunk: RunSession, account: Account, first: date, last: date) -> _Answer:
    """Request one account's statistics. Runs in a thread, without the database."""
    provider: Provider = chunk.provider
    asked_at = chunk.clock()
    try:
        return _Answer(account, asked_at, first, last, days=provider.statistics(account.ref, first, last))
    except ProviderError as error:
        log.info("usage.statistics_not_read", account=str(account.public_id), error=type(error).__name__)
        return _Answer(account, asked_at, first, last, error=error)


def _denial(run: SyncRun, answers: Sequence[_Answer]) -> str:
    """Return why the run has to end: the key is rejected, or it may not read statistics of any account."""
    if any(isinstance(each.error, Unauthorized) for each in answers):
        return say("run.statistics_key")
    if not run.done and answers and all(isinstance(each.error, Forbidden) for each in answers):
        return say("run.statistics_denied")
    return ""


def _until_put_off(answers: Sequence[_Answer]) -> list[_Answer]:
    """Return the answers before the first that the provider, or our rate limiter, put off."""
    return list(answers[: next((n for n, each in enumerate(answers) if each.retry_at), len(answers))])


def _store(chunk: RunSession, answers: Sequence[_Answer]) -> None:
    """Store the readings and derive the figures that they may change, in one transaction. Raises `LostLease`."""
    run, now = chunk.run, chunk.clock()
    found = [each for each in answers if each.days is not None]
    run.position = answers[-1].account.pk
    run.done += len(found)
    run.failed += len(answers) - len(found)
    run.total = max(run.total, run.done + run.failed)

    def write() -> None:
        run.renew(now=now)
        lock_accounts([each.account.pk for each in found])
        batch = next_batch()
        StatisticsReading.objects.bulk_create([_row(each, batch) for each in found], ignore_conflicts=True)
        over = UsagePeriod.objects.filter(
            account__in=[each.account.pk for each in found], ends_at__gte=now - OLDEST
        ).exclude(status__in=NOT_OVER)
        periods = list(over.exclude(current=None).values_list("pk", flat=True))
        figures.recompute(periods, now=now, batch=batch, cause=figures.FigureCause.STATISTICS)
        SyncRun.objects.filter(pk=run.pk).update(
            position=run.position, done=run.done, failed=run.failed, total=run.total
        )

    in_a_transaction(write)


def _row(answer: _Answer, batch: int) -> StatisticsReading:
    return StatisticsReading(
        account=answer.account,
        as_of=answer.asked_at,
        first_on=answer.first_on,
        last_on=answer.last_on,
        days={day.isoformat(): requests for day, requests in sorted((answer.days or {}).items())},
        batch=batch,
    )
