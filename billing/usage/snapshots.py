"""Storing of readings: a snapshot is added where the answer changed, then the figures of its periods are derived again.

All writers lock the account rows first, in one order, then take the number of their ledger batch: no deadlock, and
numbers are committed in order. Snapshots are never changed.

The reading taken before a delete is the account's last: once the account is deleted, a late answer is stored in the
history and changes no figure. If it counts more, a person decides.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import structlog
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DataError, IntegrityError, transaction

from billing.models import Anomaly, SyncRun, UsagePeriod, UsageSnapshot
from billing.money import rounded
from billing.usage import anomalies, figures
from billing.usage.ledger import next_batch
from billing.usage.periods import DAY, Period, midnight, period_of
from billing.usage.pool_snapshots import pool_cap_of
from customers.models import Account, FinalReading
from customers.models.account import AccountState
from customers.observed import accounts as observed_accounts
from portal.providers import Usage, UsageSource

log = structlog.get_logger(__name__)
# Periods of an account that a new reading is compared with, newest first.
RECENT = 3


@dataclass(frozen=True, slots=True)
class AccountReading:
    """One answer of a provider. `usage.used` is not None: an answer without a figure is not a reading.

    `package` is the account's at that time, for sources that do not return one.
    """

    account_id: int
    usage: Usage
    as_of: datetime
    package: str = ""
    final: FinalReading | None = None


@dataclass(frozen=True, slots=True)
class StoredReading:
    """Result of storing a reading: its snapshot, whether it is new, and whether a person has to decide about it."""

    snapshot: UsageSnapshot
    new: bool
    anomaly: bool


def store_readings(readings: Sequence[AccountReading], *, run: SyncRun | None) -> dict[int, StoredReading]:
    """Store one reading per account; return the result of each by account ID.

    Joins the caller's transaction, if any. Repeating a call adds nothing.
    """
    ordered = sorted(readings, key=lambda reading: reading.account_id)  # one order for all writers: no deadlock
    with transaction.atomic():
        return _keep(ordered, run)


def lock_accounts(account_ids: Collection[int]) -> set[int]:
    """Lock the accounts until the end of the transaction; return the deleted ones. Rows that refer to them can still be
    added."""
    accounts = Account.objects.select_for_update(no_key=True).filter(pk__in=account_ids).order_by("pk")
    return {pk for pk, state in accounts.values_list("pk", "state") if state == AccountState.DELETED}


def _keep(readings: Sequence[AccountReading], run: SyncRun | None) -> dict[int, StoredReading]:
    deleted = lock_accounts([reading.account_id for reading in readings])
    if late := deleted & {reading.account_id for reading in readings if reading.final is None}:
        store_final_readings(account_ids=late)
    periods = _known_periods([reading.account_id for reading in readings])
    plans = [_plan(reading, periods.get(reading.account_id, []), run) for reading in readings]
    changes = [plan for plan in plans if plan.changes]
    batch = next_batch() if changes else 0
    for plan in plans:
        plan.snapshot.batch = batch if plan.new else plan.snapshot.batch
    UsageSnapshot.objects.bulk_create([plan.snapshot for plan in plans if plan.new])
    moved = {each for plan in plans for each in _place(plan)}
    found = anomalies.note([plan.as_noted() for plan in plans if plan.new], deleted=deleted)
    changed = {plan.period.pk for plan in changes} | {each.pk for plan in plans for each in plan.ended}
    moment = max((reading.as_of for reading in readings), default=None)
    if batch and moment:
        figures.recompute(changed, now=moment, batch=batch, cause=figures.Cause.READING, moved=moved)
    _observe(plans)
    disputed = found | _fallen([plan.snapshot.pk for plan in plans if plan.new])
    return {
        plan.reading.account_id: StoredReading(plan.snapshot, plan.new, plan.snapshot.pk in disputed) for plan in plans
    }


@dataclass(slots=True)
class _Plan:
    """What one reading does: its snapshot, its period (not stored yet if new), and periods it shows to be over."""

    reading: AccountReading
    snapshot: UsageSnapshot
    dates: Period
    period: UsagePeriod
    new: bool
    newest: bool  # the account's newest period: a late reading of an older one must not overwrite current usage
    ended: list[UsagePeriod]

    @property
    def changes(self) -> bool:
        """True if a figure may change: not where an open period's usage is only confirmed."""
        return self.new or bool(self.ended) or self.period.pk is None or self.period.status != "open"

    def as_noted(self) -> anomalies.Noted:
        return anomalies.Noted(self.snapshot, self.period, self.dates)


def _known_periods(account_ids: list[int]) -> dict[int, list[UsagePeriod]]:
    """Return the latest periods of each account, newest first."""
    rows = (
        UsagePeriod.objects.filter(account_id__in=account_ids)
        .select_related("latest", "account__connection")
        .order_by("account_id", "-start_on")
    )
    found: dict[int, list[UsagePeriod]] = {}
    for row in rows:
        found.setdefault(row.account_id, []).append(row)
    return found


def _plan(reading: AccountReading, known: list[UsagePeriod], run: SyncRun | None) -> _Plan:
    usage = reading.usage
    stated = [each for each in known if each.latest_id is not None]
    last = Period(stated[0].start_on, stated[0].end_on) if stated else None
    dates = period_of(usage.period_start_on, usage.period_end_on, known=last, on=reading.as_of.date())
    before = _period_at(known, dates.start_on, reading.as_of) or _missing_at(known, dates)
    newest = not known or dates.start_on >= known[0].start_on or (before is not None and before.pk == known[0].pk)
    digest = _digest(reading, dates)
    latest = before.latest if before else None
    same = latest is not None and latest.raw_sha256 == digest and latest.source == usage.source
    ended = [
        each for each in known if each is not before and each.start_on < dates.start_on and each.next_seen_at is None
    ]
    period = before or UsagePeriod(
        account_id=reading.account_id, start_on=dates.start_on, reported_start_on=dates.start_on
    )
    if same and latest is not None and not reading.final:
        return _Plan(reading, latest, dates, period, new=False, newest=newest, ended=ended)
    snapshot = _snapshot(reading, dates, digest=digest, run=run, latest=latest)
    return _Plan(reading, snapshot, dates, period, new=True, newest=newest, ended=ended)


def _period_at(known: list[UsagePeriod], reported_start_on: date, at: datetime) -> UsagePeriod | None:
    """Return the period of a reading: the one the provider names, or the part of it that a person split off."""
    for each in known:
        begun = each.counts_from is None or each.counts_from <= at
        open_ = each.counts_until is None or at < each.counts_until
        if each.reported_start_on == reported_start_on and begun and open_:
            return each
    return None


def _missing_at(known: list[UsagePeriod], dates: Period) -> UsagePeriod | None:
    """Return the period without a figure that was expected in place of this one."""
    for each in known:
        if each.status == "missing" and each.start_on <= dates.end_on and each.end_on >= dates.start_on:
            return each
    return None


def _snapshot(
    reading: AccountReading, period: Period, *, digest: str, run: SyncRun | None, latest: UsageSnapshot | None
) -> UsageSnapshot:
    usage = reading.usage
    if usage.used is None:
        raise ValueError("a response without a figure is not a usage snapshot")
    twin = latest is not None and latest.as_of == reading.as_of
    return UsageSnapshot(
        account_id=reading.account_id,
        source=usage.source,
        period_start_on=period.start_on,
        period_end_on=period.end_on,
        period_inferred=period.inferred,
        as_of=reading.as_of,
        seq=latest.seq + 1 if latest and twin else 0,
        used=usage.used,
        allowed=usage.allowed,
        remaining=usage.remaining,
        overage=_overage(usage),
        requests=usage.requests,
        reputation=usage.reputation,
        package=(usage.package or reading.package)[:200],
        process_on=usage.period_process_on,
        allocated_cost=None if usage.allocated_cost is None else rounded(usage.allocated_cost),
        currency="" if usage.allocated_cost is None else usage.currency,
        raw=usage.raw,
        raw_sha256=digest,
        run=run,
        final_reading=reading.final,
    )


def _overage(usage: Usage) -> int | None:
    """Return the reported overage, else the difference of the two reported figures. A cap has no overage."""
    if usage.overage is not None or usage.used is None or usage.allowed is None or usage.source == UsageSource.POOLED:
        return usage.overage
    return max(0, usage.used - usage.allowed)


# What a reading changes of a period, apart from the figure itself, which is derived again.
_PLACED = (
    "start_on",
    "end_on",
    "reported_start_on",
    "ends_at",
    "month",
    "inferred",
    "status",
    "current",
    "latest",
    "used",
    "read_at",
    "read_after_end_at",
    "before_deletion",
    "days_read",
    "readings",
    "batch",
)


def _place(plan: _Plan) -> set[tuple[date, int]]:
    """Store when the period was read, and that earlier ones are over. Return month and customer of those that moved to
    another month."""
    period, at = plan.period, plan.reading.as_of
    moved = set()
    if period.status == "missing":
        period.start_on = period.reported_start_on = plan.dates.start_on
    if period.read_at is None or at >= period.read_at:
        period.read_at = at
        period.inferred = plan.dates.inferred
        if period.counts_until is None and (end_on := _end_of(plan)) != period.end_on:
            moved |= _end(period, end_on)
    if plan.new and (period.latest is None or at >= period.latest.as_of):
        period.latest = plan.snapshot
    if at >= period.ends_at and period.read_after_end_at is None:
        period.read_after_end_at = at
    period.before_deletion = period.before_deletion or plan.reading.final is not None
    period.days_read |= _bit(period, at)
    period.readings += 1
    if period.current_id is None:
        period.current, period.used, period.status = plan.snapshot, plan.snapshot.used, "open"
    # An export marks figures without the accounts' locks.
    period.save(update_fields=_PLACED if period.pk else None)
    for each in plan.ended:
        each.next_seen_at = at
        if each.end_on >= plan.dates.start_on:  # the provider began a new period early
            moved |= _end(each, plan.dates.start_on - DAY)
        each.save(update_fields=["next_seen_at", "end_on", "ends_at", "month", "batch"])
    return moved


def _end(period: UsagePeriod, end_on: date) -> set[tuple[date, int]]:
    """Set the period's last day; return its month so far and its customer if the month changes."""
    before = period.month
    period.end_on, period.ends_at, period.month = end_on, midnight(end_on + DAY), end_on.replace(day=1)
    period.batch = 0  # a change of the figure, whatever else stays
    return {(before, period.account.customer_id)} if before and before != period.month else set()


def _end_of(plan: _Plan) -> date:
    """Return the period's last day as reported; the day before the next period, if that is known to begin earlier."""
    known = plan.period.end_on
    return known if plan.period.next_seen_at is not None and known < plan.dates.end_on else plan.dates.end_on


def _bit(period: UsagePeriod, at: datetime) -> int:
    """Return the bit of the reading's day in `days_read`; none outside the period."""
    day = (at.date() - period.start_on).days
    return 1 << day if 0 <= day < 62 else 0


def _fallen(snapshot_ids: list[int]) -> set[int]:
    rows = Anomaly.objects.filter(snapshot__in=snapshot_ids, kind=Anomaly.Kind.FELL, closed_at=None)
    return set(rows.values_list("snapshot", flat=True))


def _observe(plans: Sequence[_Plan]) -> None:
    """Tell the accounts their current usage. A disputed figure is not told: the account's page says it is missing."""
    current = UsagePeriod.objects.in_bulk([plan.period.pk for plan in plans])
    for plan in plans:
        period = current[plan.period.pk]
        if not plan.newest or period.read_at != plan.reading.as_of:
            continue
        at = plan.reading.as_of
        if period.status == "disputed":
            observed_accounts.mark_usage_missing(account_ids=[period.account_id], asked_at=at, now=at)
            continue
        observed_accounts.record_usage(
            account_id=period.account_id,
            used=period.used or 0,
            allowed=period.allowed,
            overage=period.overage,
            start_on=period.start_on,
            end_on=period.end_on,
            now=at,
        )


def _digest(reading: AccountReading, period: Period) -> str:
    """Return the digest of everything the answer reported. Answers with the same digest are the same reading."""
    usage = reading.usage
    said = [usage.source, usage.raw, period.start_on, period.end_on, usage.used, usage.package or reading.package]
    if usage.allocated_cost is not None:
        said += [usage.allocated_cost, usage.currency, usage.allowed]
    text = json.dumps(said, cls=DjangoJSONEncoder, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def store_final_readings(*, account_ids: Collection[int] | None = None, limit: int = 500) -> int:
    """Store the readings taken before deletes as snapshots, of all accounts or of `account_ids`; return how many.

    Repeating a call adds nothing.
    """
    waiting = FinalReading.objects.filter(usage_snapshot=None)
    if account_ids is not None:
        waiting = waiting.filter(account__in=account_ids)
    kept = 0
    for final in waiting.select_related("account").order_by("pk")[:limit]:
        usage = usage_of_snapshot(final)
        if usage.source == UsageSource.POOLED:
            usage = replace(usage, allowed=pool_cap_of(final.account.settings))
        if usage.used is None:
            continue  # no figure was returned: the report shows missing data
        try:
            store_readings(
                [AccountReading(final.account_id, usage, final.taken_at, final.account.package, final)], run=None
            )
        except IntegrityError:
            continue  # another process stored it at this moment
        except DataError:
            log.exception("usage.final_reading_refused", account=str(final.account.public_id))
            continue
        kept += 1
    return kept


def usage_of_snapshot(final: FinalReading) -> Usage:
    """Return the stored form of a reading as the provider's answer."""
    facts = dict(final.usage)
    days = ("period_start_on", "period_end_on", "period_process_on")
    kept: dict[str, Any] = {name: facts.get(name) for name in ("used", "allowed", "remaining", "overage", "requests")}
    kept |= {name: _day(facts.get(name)) for name in days}
    kept |= {name: _exact(facts.get(name)) for name in ("reputation", "allocated_cost")}
    return Usage(
        source=UsageSource(final.source),
        package=facts.get("package") or "",
        currency=facts.get("currency") or "",
        period_inferred=bool(facts.get("period_inferred")),
        raw=facts.get("raw") or {},
        **kept,
    )


def _exact(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def _day(value: Any) -> date | None:
    return date.fromisoformat(value) if value else None
