"""Runs right after midnight of the accounts' own time zones, in which credits and statistics can be compared.

Only as many accounts are read as fit into the first minute: later readings contain mail of the new day.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import structlog
from django.db.models import Exists, OuterRef, Q, QuerySet

from billing.models import MidnightReading, SyncRun
from billing.usage import runs, statistics_runs
from billing.usage.assess import DAY
from billing.usage.at_risk import by_money_at_risk, readable_in
from billing.usage.batches import BATCH, RunSession, in_a_transaction
from billing.usage.midnights import DAYS_AFTER, WITHIN, midnight_in, zone_named
from billing.usage.snapshots import AccountReading, lock_accounts, store_readings
from billing.usage.stored_usage import begun
from customers.models import Account, Connection, Customer
from portal.providers import ProviderError, Usage, UsageSource
from portal.refusals import Refusal

log = structlog.get_logger(__name__)

THREADS = 8
# Every offset from UTC is a multiple of it.
QUARTER = 15
# Last days of a period, and first ones of the next, on which accounts are read.
LAST_DAYS, FIRST_DAYS = 8 * DAY, 2 * DAY


def start_midnight_runs(connection: Connection, *, now: datetime) -> None:
    """Start a run for every time zone in which a day just began."""
    if now.minute % QUARTER or not statistics_runs.may_read(connection) or statistics_runs.are_denied(connection):
        return
    for zone in _zones(connection):
        day = now.astimezone(ZoneInfo(zone)).date()
        begun = midnight_in(zone, day)
        accounts = accounts_at(connection, zone, day)
        if not begun <= now < begun + WITHIN or not (count := readable_in(connection, begun + WITHIN - now)):
            continue
        try:
            runs.start_run(
                connection=connection,
                kind=SyncRun.Kind.MIDNIGHT,
                slot=f"{day.isoformat()}/{zone}",
                now=now,
                until=begun + WITHIN,
                accounts=accounts[:count],
            )
        except Refusal:
            continue


def _zones(connection: Connection) -> set[str]:
    timezones = Customer.objects.filter(accounts__connection=connection).order_by().values_list("timezone", flat=True)
    return {zone_named(each) for each in timezones.distinct()}


def accounts_at(connection: Connection, zone: str, day: date) -> QuerySet[Account]:
    """Return the accounts whose readings at this midnight can be compared: around the end of their billing periods,
    those first that were read at the midnights before, then by money at risk."""
    of_zone = Q(customer__timezone=zone)
    if zone == "UTC":
        of_zone = ~Q(customer__timezone__in=_zones(connection) - {"UTC"})
    around = Q(usage_end_on__range=(day - DAYS_AFTER * DAY, day + LAST_DAYS)) | Q(
        usage_start_on__range=(day - FIRST_DAYS, day)
    )
    before = MidnightReading.objects.filter(account=OuterRef("pk"), zone=zone, day__gte=day - DAYS_AFTER * DAY)
    accounts = by_money_at_risk(runs.accounts_of(connection).filter(of_zone, around), connection)
    return accounts.annotate(began=Exists(before)).order_by("-began", *accounts.query.order_by)


@dataclass(frozen=True, slots=True)
class _Answer:
    account: Account
    asked_at: datetime
    answered_at: datetime
    usage: Usage | None = None


def read_midnight(chunk: RunSession) -> timedelta | None:
    """Read the run's accounts in the time left."""
    run = chunk.run
    day_text, zone = run.slot.split("/", 1)
    day = date.fromisoformat(day_text)
    count = min(run.total, readable_in(run.connection, run.until - chunk.clock()))
    accounts = list(accounts_at(run.connection, zone, day)[:count])
    with ThreadPoolExecutor(THREADS, thread_name_prefix="midnight") as pool:
        asks = [pool.submit(copy_context().run, partial(_ask, chunk, each)) for each in accounts]
        answers = [each.result() for each in asks]
    for start in range(0, len(answers), BATCH):
        _store(chunk, answers[start : start + BATCH], day=day, zone=zone)
    runs.finish(run, now=chunk.clock())
    return None


def _ask(chunk: RunSession, account: Account) -> _Answer | None:
    """Request one account's usage. Runs in a thread, without the database. Return None if there is no time left."""
    asked_at = chunk.clock()
    if asked_at >= chunk.run.until:
        return None
    try:
        usage = begun(chunk.provider.usage(account.ref, UsageSource(chunk.run.source)), at=asked_at)
    except ProviderError as error:
        log.info("usage.midnight_not_read", account=str(account.public_id), error=type(error).__name__)
        return _Answer(account, asked_at, asked_at)
    return _Answer(account, asked_at, chunk.clock(), usage)


def _store(chunk: RunSession, answers: Sequence[_Answer | None], *, day: date, zone: str) -> None:
    """Store the readings as all others are, and those of the first minute also for comparison. Raises `LostLease`."""
    run, now = chunk.run, chunk.clock()
    asked = [each for each in answers if each is not None]
    readings = [
        AccountReading(each.account.pk, each.usage, each.asked_at, each.account.package)
        for each in asked
        if each.usage is not None and each.usage.used is not None
    ]
    run.done += len(readings)
    run.failed += len(asked) - len(readings)
    rows = [
        MidnightReading(
            account=each.account,
            day=day,
            zone=zone,
            at=each.asked_at,
            reported_start_on=each.usage.period_start_on,
            used=each.usage.used,
        )
        for each in asked
        if each.usage and each.usage.used is not None and each.usage.period_start_on and each.answered_at <= run.until
    ]

    def write() -> None:
        run.renew(now=now)
        lock_accounts([each.account_id for each in readings])
        store_readings(readings, run=run)
        MidnightReading.objects.bulk_create(rows, ignore_conflicts=True)
        SyncRun.objects.filter(pk=run.pk).update(done=run.done, failed=run.failed)

    in_a_transaction(write)
