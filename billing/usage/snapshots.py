"""Storing of usage snapshots: a plan compares each reading with the last one, then snapshots are added and periods
moved.

All writers lock the account rows first, in one order, so that there is no deadlock. SQLite has no row locks: a period
moves only if it is unchanged since the plan, else the whole batch is planned again. Snapshots are never changed.

The reading taken before a delete is the account's last: once the account is deleted, a late answer is stored in the
history and changes no figure. If it counts more, it is held for finance.
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
from django.db.models import F, OuterRef, Q, Subquery

from billing.models import SyncRun, UsagePeriod, UsageSnapshot
from billing.usage.periods import Period, period_of, unread_seconds
from billing.usage.pool_snapshots import pool_cap_of
from customers.models import Account, UsageReading
from customers.models.account import AccountState
from customers.models.operation_states import OPEN
from customers.observed import accounts as observed_accounts
from portal.providers import Usage, UsageSource

log = structlog.get_logger(__name__)
PLANS = 4


@dataclass(frozen=True, slots=True)
class AccountReading:
    """One answer of a provider. `usage.used` is not None: an answer without a figure is not a reading.

    `package` is the account's at that time, for sources that do not return one. `kept`: the reading that customers took
    around a change, if this is one.
    """

    account_id: int
    usage: Usage
    as_of: datetime
    package: str = ""
    kept: UsageReading | None = None

    @property
    def final(self) -> UsageReading | None:
        """The reading taken before a delete, if this is one: only that marks a period final."""
        return self.kept if self.kept and self.kept.moment == UsageReading.Moment.FINAL else None


@dataclass(frozen=True, slots=True)
class StoredReading:
    """Result of storing a reading: its snapshot, whether it is new, and whether it is lower than before."""

    snapshot: UsageSnapshot
    new: bool
    lower: bool


class MovedOn(Exception):
    """Another writer moved a period after the plan was made."""


def store_readings(readings: Sequence[AccountReading], *, run: SyncRun | None) -> dict[int, StoredReading]:
    """Store one reading per account; return the result of each by account ID.

    Joins the caller's transaction, if any. Repeating a call adds nothing.
    """
    ordered = sorted(readings, key=lambda reading: reading.account_id)  # one order for all writers: no deadlock
    for attempt in range(PLANS):
        try:
            with transaction.atomic():
                return _keep(ordered, run)
        except (MovedOn, IntegrityError):
            if attempt == PLANS - 1:
                raise
    raise AssertionError("unreachable")


def lock_accounts(account_ids: Collection[int]) -> set[int]:
    """Lock the accounts until the end of the transaction; return the deleted ones. Rows that refer to them can still be
    added."""
    accounts = Account.objects.select_for_update(no_key=True).filter(pk__in=account_ids).order_by("pk")
    return {pk for pk, state in accounts.values_list("pk", "state") if state == AccountState.DELETED}


def _keep(readings: Sequence[AccountReading], run: SyncRun | None) -> dict[int, StoredReading]:
    deleted = lock_accounts([reading.account_id for reading in readings])
    if late := deleted & {reading.account_id for reading in readings if reading.final is None}:
        store_final_readings(account_ids=late, only_final=True)
    periods = _known_periods([reading.account_id for reading in readings])
    plans = [_plan(reading, periods.get(reading.account_id, []), run, deleted=deleted) for reading in readings]
    UsageSnapshot.objects.bulk_create([plan.snapshot for plan in plans if plan.new])
    kept = {}
    for reading, plan in zip(readings, plans, strict=True):
        _move(plan, reading)
        kept[reading.account_id] = StoredReading(plan.snapshot, plan.new, plan.snapshot.lower)
    return kept


@dataclass(frozen=True, slots=True)
class _Plan:
    snapshot: UsageSnapshot
    period: Period
    before: UsagePeriod | None
    new: bool
    newest: bool  # the account's newest period: a late reading of an older one must not overwrite current usage
    closed: bool  # the account is deleted and its final reading is known: no figure changes anymore


def _known_periods(account_ids: list[int]) -> dict[int, list[UsagePeriod]]:
    """Return the two latest periods of each account, newest first; a reading belongs to one of them or starts
    another."""
    second = UsagePeriod.objects.filter(account=OuterRef("account")).order_by("-start_on").values("start_on")[1:2]
    rows = (
        UsagePeriod.objects.filter(account_id__in=account_ids)
        .annotate(second=Subquery(second))
        .filter(Q(second=None) | Q(start_on__gte=F("second")))
        .select_related("latest", "current")
        .order_by("account_id", "-start_on")
    )
    found: dict[int, list[UsagePeriod]] = {}
    for row in rows:
        found.setdefault(row.account_id, []).append(row)
    return found


def _plan(reading: AccountReading, known: list[UsagePeriod], run: SyncRun | None, *, deleted: set[int]) -> _Plan:
    usage = reading.usage
    last = Period(known[0].start_on, known[0].end_on) if known else None
    period = period_of(usage.period_start_on, usage.period_end_on, known=last, on=reading.as_of.date())
    before = next((each for each in known if each.start_on == period.start_on), None)
    newest = not known or period.start_on >= known[0].start_on
    if before is None and not newest:  # older than the two latest: rare, so an extra query is acceptable
        before = UsagePeriod.objects.filter(account_id=reading.account_id, start_on=period.start_on).first()
    closed = reading.final is None and reading.account_id in deleted and any(each.final for each in known)
    digest = _digest(reading, period)
    if before and before.latest.raw_sha256 == digest and before.latest.source == usage.source and not reading.kept:
        return _Plan(before.latest, period, before, new=False, newest=newest, closed=closed)
    lower = before is not None and usage.used is not None and usage.used < before.used
    snapshot = _snapshot(reading, period, digest=digest, lower=lower, run=run, before=before)
    return _Plan(snapshot, period, before, new=True, newest=newest, closed=closed)


def _snapshot(
    reading: AccountReading,
    period: Period,
    *,
    digest: str,
    lower: bool,
    run: SyncRun | None,
    before: UsagePeriod | None,
) -> UsageSnapshot:
    usage = reading.usage
    if usage.used is None:
        raise ValueError("a response without a figure is not a usage snapshot")
    twin = before is not None and before.latest.as_of == reading.as_of
    return UsageSnapshot(
        account_id=reading.account_id,
        source=usage.source,
        period_start_on=period.start_on,
        period_end_on=period.end_on,
        period_inferred=period.inferred,
        as_of=reading.as_of,
        seq=before.latest.seq + 1 if before and twin else 0,
        used=usage.used,
        allowed=usage.allowed,
        remaining=usage.remaining,
        overage=_overage(usage),
        requests=usage.requests,
        reputation=usage.reputation,
        package=(usage.package or reading.package)[:200],
        process_on=usage.period_process_on,
        allocated_cost=usage.allocated_cost,
        currency="" if usage.allocated_cost is None else usage.currency,
        raw=usage.raw,
        raw_sha256=digest,
        lower=lower,
        run=run,
        final_reading=reading.kept,
    )


def _overage(usage: Usage) -> int | None:
    """Return the reported overage, else the difference of the two reported figures. A cap has no overage."""
    if usage.overage is not None or usage.used is None or usage.allowed is None or usage.source == UsageSource.POOLED:
        return usage.overage
    return max(0, usage.used - usage.allowed)


def _move(plan: _Plan, reading: AccountReading) -> None:
    before = plan.before
    if plan.closed:
        _hold_back(plan)
        return
    if before and reading.as_of < before.latest.as_of:
        # Arrived late: stored in the history, but newer figures stay. A reading taken before a delete still marks the
        # period final.
        if reading.final:
            UsagePeriod.objects.filter(pk=before.pk).update(final=True)
        return
    facts = _period_facts(plan, reading)
    if before is None:
        UsagePeriod.objects.create(account_id=reading.account_id, start_on=plan.period.start_on, **facts)
    else:
        seen = UsagePeriod.objects.filter(pk=before.pk, latest_id=before.latest_id)
        if seen.update(readings=F("readings") + 1, **facts) != 1:
            raise MovedOn
    if plan.newest:
        _observe(plan, reading, facts)


def _hold_back(plan: _Plan) -> None:
    """Hold an answer that came after the final reading for finance if it counts more. The figure is unchanged."""
    before, snapshot = plan.before, plan.snapshot
    if before is None or not plan.new or snapshot.used <= before.used or snapshot.as_of < before.current.as_of:
        return
    if UsagePeriod.objects.filter(pk=before.pk, held_id=before.held_id).update(held=snapshot) != 1:
        raise MovedOn


def _period_facts(plan: _Plan, reading: AccountReading) -> dict[str, Any]:
    snapshot, before = plan.snapshot, plan.before
    ends_at = plan.period.ends_at
    facts: dict[str, Any] = {
        "latest": snapshot,
        "read_at": reading.as_of,
        "ends_at": ends_at,
        "end_on": plan.period.end_on,
        "month": plan.period.month,
        "unread_seconds": unread_seconds(ends_at, reading.as_of),
    }
    if snapshot.lower and before:
        # The figure, and the time of its last snapshot, stay until finance accepts the lower one.
        kept = ("read_at", "unread_seconds", "ends_at", "end_on", "month")
        return facts | {name: getattr(before, name) for name in kept} | {"held": snapshot}
    figures = ("used", "allowed", "overage", "allocated_cost", "currency")
    facts |= {name: getattr(snapshot, name) for name in figures}
    final = reading.final is not None or (before is not None and before.final and _delete_is_open(before))
    return facts | {"current": snapshot, "held": None, "final": final}


def _delete_is_open(period: UsagePeriod) -> bool:
    """Return whether a delete that a final reading was taken for may still happen: then this reading is final too."""
    finals = UsageReading.objects.filter(account=period.account_id, moment=UsageReading.Moment.FINAL)
    return finals.filter(operation__state__in=OPEN).exists()


def _observe(plan: _Plan, reading: AccountReading, facts: dict[str, Any]) -> None:
    if plan.snapshot.lower:
        observed_accounts.mark_usage_missing(
            account_ids=[reading.account_id], asked_at=reading.as_of, now=reading.as_of
        )
        return
    observed_accounts.record_usage(
        account_id=reading.account_id,
        used=facts["used"],
        allowed=facts["allowed"],
        overage=facts["overage"],
        start_on=plan.period.start_on,
        end_on=plan.period.end_on,
        now=reading.as_of,
    )


def _digest(reading: AccountReading, period: Period) -> str:
    """Return the digest of everything the answer reported. Answers with the same digest are the same reading."""
    usage = reading.usage
    said = [usage.source, usage.raw, period.start_on, period.end_on, usage.used, usage.package or reading.package]
    if usage.allocated_cost is not None:
        said += [usage.allocated_cost, usage.currency, usage.allowed]
    text = json.dumps(said, cls=DjangoJSONEncoder, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def store_final_readings(
    *, account_ids: Collection[int] | None = None, only_final: bool = False, limit: int = 500
) -> int:
    """Store the readings that customers took around changes as snapshots, of all accounts or of `account_ids`, or of
    those only the ones before deletes; return how many.

    Repeating a call adds nothing.
    """
    waiting = UsageReading.objects.filter(usage_snapshot=None, failure="")
    if only_final:
        waiting = waiting.filter(moment=UsageReading.Moment.FINAL)
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


def usage_of_snapshot(final: UsageReading) -> Usage:
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
