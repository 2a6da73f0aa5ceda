"""Storing of readings: a snapshot is added where the answer changed, then the figures of its periods are derived again.

All writers lock the account rows first, in one order, then take the number of their ledger batch: no deadlock, and
numbers are committed in order. Snapshots are never changed.

The reading taken before a delete is the account's last: once the account is deleted, a late answer is stored in the
history and changes no figure. If it counts more, a person decides.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

import structlog
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, transaction

from billing.models import Anomaly, FigureVersion, SyncRun, UsagePeriod, UsageSnapshot
from billing.usage import anomalies, current_usage, figures, reset_zones, splits
from billing.usage.assess import resets_of
from billing.usage.gaps import add_missing, may_last, periods_between
from billing.usage.known_periods import RECENT, known_periods, locked_accounts
from billing.usage.ledger import next_batch
from billing.usage.periods import DAY, Period, latest_end, learned_anchor, midnight, period_of, usual_end
from billing.usage.pool_snapshots import pool_cap_of
from billing.usage.reset_zones import RollOver
from billing.usage.stored_usage import begun, digest_of, overage_of, usage_of
from customers.models import Account, UsageReading
from customers.models.account import AccountState
from portal.money_field import rounded
from portal.providers import Unreadable, Usage, UsageSource
from portal.row_updates import update_rows

log = structlog.get_logger(__name__)


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
    """Result of storing a reading: its snapshot, whether it is new, and whether a person has to decide about it."""

    snapshot: UsageSnapshot
    new: bool
    anomaly: bool


def store_readings(readings: Sequence[AccountReading], *, run: SyncRun | None) -> dict[int, StoredReading]:
    """Store one reading per account; return the result of each by account ID. Joins the caller's transaction, if any.
    Repeating a call adds nothing."""
    ordered = sorted(readings, key=lambda reading: reading.account_id)  # one order for all writers: no deadlock
    with transaction.atomic():
        return _keep(ordered, run)


def lock_accounts(account_ids: Collection[int]) -> set[int]:
    """Lock the accounts until the end of the transaction; return the deleted ones. Rows that refer to them can still be
    added."""
    accounts = Account.objects.select_for_update(no_key=True).filter(pk__in=account_ids).order_by("pk")
    return {pk for pk, state in accounts.values_list("pk", "state") if state == AccountState.DELETED}


def _keep(readings: Sequence[AccountReading], run: SyncRun | None) -> dict[int, StoredReading]:
    account_ids = [reading.account_id for reading in readings]
    accounts = locked_accounts(account_ids)
    deleted = {pk for pk, account in accounts.items() if account.state == AccountState.DELETED}
    if late := deleted & {reading.account_id for reading in readings if reading.final is None}:
        store_final_readings(account_ids=late, only_final=True)
        accounts = locked_accounts(account_ids)  # with the usage that these told them
    periods = known_periods(accounts)
    plans = [
        _plan(reading, accounts[reading.account_id], periods.get(reading.account_id, []), run, deleted=deleted)
        for reading in readings
    ]
    changes = [plan for plan in plans if plan.changes]
    batch = next_batch() if changes else 0
    for plan in plans:
        plan.snapshot.batch = batch if plan.new else plan.snapshot.batch
    UsageSnapshot.objects.bulk_create([plan.snapshot for plan in plans if plan.new])
    reset_zones.learn([each for plan in plans if (each := plan.roll_over)])
    placed = [plan for plan in plans if not plan.closed]
    splits.reuse_joined([plan.period for plan in placed if plan.period._state.adding])
    moved = {each for plan in placed for each in _place(plan)}
    _store_placed(placed)
    found = anomalies.note([plan.as_noted() for plan in plans if plan.new and plan.period.pk], deleted=deleted)
    changed = {plan.period.pk for plan in changes if plan.period.pk} | {
        each.pk for plan in plans for each in plan.affected
    }
    if batch:
        moment = _moment(plans)
        touched = {plan.period.pk: plan.period for plan in placed} | {
            each.pk: each for plan in placed for each in plan.affected
        }
        figures.recompute(
            changed,
            now=moment,
            batch=batch,
            cause=figures.FigureCause.READING,
            moved=moved,
            loaded=[touched[pk] for pk in sorted(changed & touched.keys())],
        )
        skipped = {plan.reading.account_id: plan.skipped for plan in plans if not plan.closed and plan.skipped}
        add_missing(skipped, now=moment, batch=batch)
    newest = [plan for plan in placed if plan.newest]  # their figures are those of now: derived again in place
    current_usage.tell_readings([plan.period for plan in newest if plan.period.read_at == plan.reading.as_of])
    disputed = found | _disputed([plan.snapshot.pk for plan in plans if plan.new])
    return {
        plan.reading.account_id: StoredReading(plan.snapshot, plan.new, plan.snapshot.pk in disputed) for plan in plans
    }


def _moment(plans: Sequence[_Plan]) -> datetime:
    """Return the time as of which figures are derived: that of the newest answer, but none before a figure's that is
    over already. An answer that comes late doesn't open it again."""
    over = [plan.period.pk for plan in plans if plan.period.pk and plan.period.is_over]
    versions = FigureVersion.objects.filter(period__in=over, to_batch=None) if over else FigureVersion.objects.none()
    return max([*(plan.reading.as_of for plan in plans), *versions.values_list("at", flat=True)])


@dataclass(slots=True)
class _Plan:
    """The effects of one reading: its snapshot, its period (not stored yet if new), and periods it shows to be over."""

    reading: AccountReading
    snapshot: UsageSnapshot
    dates: Period
    period: UsagePeriod
    new: bool
    newest: bool  # the account's newest period: a late reading of an older one must not overwrite current usage
    closed: bool  # the account is deleted and its final reading is known: the answer is only history
    ended: list[UsagePeriod]
    before: list[UsagePeriod]  # at most one
    skipped: list[Period]
    only_confirms: bool = False  # nothing of the period changes but when it was read

    @property
    def changes(self) -> bool:
        """True if a figure may change: not where an open period's usage is only confirmed."""
        return self.new or bool(self.affected) or self.period._state.adding or self.period.status != "open"

    @property
    def affected(self) -> list[UsagePeriod]:
        """Periods before this one whose figure may change: those it ends, and the last one where the reading was taken
        because of a change that may have happened in it."""
        noticed = self.reading.kept is not None and self.reading.kept.moment == UsageReading.Moment.NOTICED
        return [*self.ended, *(self.before if noticed else [])]

    @property
    def roll_over(self) -> RollOver | None:
        """The end of the period before and both readings around it, where the provider stated all dates."""
        before = next((each for each in self.ended if each.end_on + DAY == self.dates.start_on), None)
        if before is None or before.read_at is None or before.inferred or self.dates.inferred:
            return None
        if self.snapshot.source == UsageSource.POOLED:
            return None
        return RollOver(before.account.connection_id, before.end_on, before.read_at, self.reading.as_of)

    def as_noted(self) -> anomalies.Noted:
        return anomalies.Noted(self.snapshot, self.period, self.dates)


def _plan(
    reading: AccountReading, account: Account, known: list[UsagePeriod], run: SyncRun | None, *, deleted: set[int]
) -> _Plan:
    usage = reading.usage
    stated = [Period(each.start_on, each.end_on, each.inferred) for each in known if each.latest_id is not None]
    dates = period_of(
        usage.period_start_on,
        usage.period_end_on,
        known=stated[0] if stated else None,
        on=reading.as_of.date(),
        anchor=learned_anchor(stated),
    )
    if len(known) >= RECENT and dates.start_on < known[-1].start_on:
        all_of_it = UsagePeriod.objects.filter(account=reading.account_id).order_by("-start_on")
        known = list(all_of_it.select_related("latest", "account__connection"))
    before = _period_at(known, dates.start_on, reading.as_of) or _missing_at(known, dates)
    newest = not known or dates.start_on >= known[0].start_on or (before is not None and before.pk == known[0].pk)
    digest = digest_of(usage, dates, package=reading.package)
    latest = before.latest if before else None
    same = latest is not None and latest.raw_sha256 == digest and latest.source == usage.source
    closed = reading.final is None and reading.account_id in deleted and any(each.before_deletion for each in known)
    ended = [
        each
        for each in known
        if not closed and each is not before and each.start_on < dates.start_on and each.next_seen_at is None
    ]
    period = before or UsagePeriod(account=account, start_on=dates.start_on, reported_start_on=dates.start_on)
    earlier = [each for each in known if each.start_on < dates.start_on and each.current_id is not None][:1]
    last = next((each for each in known if each is not before and each.start_on < dates.start_on), None)
    is_gap = last is not None and latest is None and not may_last(last, dates)
    skipped = periods_between(Period(last.start_on, last.end_on), dates) if last and is_gap else []
    new = not same or latest is None or bool(reading.kept)
    snapshot = _snapshot(reading, dates, digest=digest, run=run, latest=latest) if new or latest is None else latest
    return _Plan(reading, snapshot, dates, period, new, newest, closed, ended, earlier, skipped)


def _period_at(known: list[UsagePeriod], reported_start_on: date, at: datetime) -> UsagePeriod | None:
    """Return the period of a reading: the one the provider names, or the part of it that a person split off, also
    where the provider names that part since."""
    for each in known:
        begun = each.counts_from is None or each.counts_from <= at
        open_ = each.counts_until is None or at < each.counts_until
        if reported_start_on in (each.reported_start_on, each.start_on) and begun and open_:
            return each
    return None


def _missing_at(known: list[UsagePeriod], dates: Period) -> UsagePeriod | None:
    """Return the period without a figure that was expected in place of this one."""
    for each in known:
        if each.latest_id is None and each.start_on <= dates.end_on and each.end_on >= dates.start_on:
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
        overage=overage_of(usage),
        requests=usage.requests,
        reputation=usage.reputation,
        package=(usage.package or reading.package)[:200],
        process_on=usage.period_process_on,
        allocated_cost=None if usage.allocated_cost is None else rounded(usage.allocated_cost),
        currency="" if usage.allocated_cost is None else usage.currency,
        raw=usage.raw,
        raw_sha256=digest,
        run=run,
        final_reading=reading.kept,
    )


# What a reading changes of a period, apart from the figure itself, which is derived again.
_PLACED = (
    "start_on", "end_on", "reported_start_on", "ends_at", "month", "inferred", "status", "current", "latest",
    "used", "high", "read_at", "read_after_end_at", "before_deletion", "days_read", "readings", "batch",
)  # fmt: skip
# The part of it that every answer changes, and what else of it an answer may change that is like the last one.
_CONFIRMED = ("read_at", "days_read", "readings")
_MOVED = ("start_on", "end_on", "ends_at", "month", "inferred", "read_after_end_at", "before_deletion", "batch")


def _place(plan: _Plan) -> set[tuple[date, int]]:
    """Set when the period was read, and that earlier ones are over. Return month and customer of those that moved to
    another month."""
    period, at = plan.period, plan.reading.as_of
    before = [getattr(period, name) for name in _MOVED]
    moved = set()
    if period.latest is None:
        period.start_on = period.reported_start_on = plan.dates.start_on
    if period.read_at is None or at >= period.read_at:
        period.read_at = at
        period.inferred = plan.dates.inferred
        if period.counts_until is None and (end_on := _end_of(plan)) != period.end_on:
            moved |= _end(period, end_on)
    if plan.new and (period.latest is None or at >= period.latest.as_of):
        period.latest = plan.snapshot
    if period.read_after_end_at is None and at >= period.ends_at and at >= _surely_over(plan):
        period.read_after_end_at = at
    period.before_deletion = period.before_deletion or plan.reading.final is not None
    period.days_read |= _bit(period, at)
    period.readings += 1
    if period.current_id is None and plan.new:
        period.current, period.used, period.high, period.status = plan.snapshot, plan.snapshot.used, None, "open"
        period.batch = 0  # a change of the figure, although it is stored as open already
    plan.only_confirms = not plan.new and before == [getattr(period, name) for name in _MOVED]
    for each in plan.ended:
        each.next_seen_at = at
        # The provider began a new period early, or shows now when one with an inferred end was over.
        if each.end_on >= plan.dates.start_on or (
            each.end_on + DAY < plan.dates.start_on and may_last(each, plan.dates)
        ):
            moved |= _end(each, plan.dates.start_on - DAY)
    return moved


def _store_placed(plans: Sequence[_Plan]) -> None:
    """Store the periods of `_place`, each with what changed of it and not with all columns: an export marks figures
    without the accounts' locks."""
    known = [plan for plan in plans if not plan.period._state.adding]
    added = [plan.period for plan in plans if plan.period._state.adding]
    UsagePeriod.objects.bulk_create([each for each in added if not each.pk])
    for each in added:
        if each._state.adding:  # it takes a row that was joined
            each.save(force_insert=False, force_update=True)
    update_rows([plan.period for plan in known if plan.only_confirms], _CONFIRMED)
    update_rows([plan.period for plan in known if not plan.only_confirms], _PLACED)
    ended = [each for plan in plans for each in plan.ended]
    update_rows(ended, ["next_seen_at", "end_on", "ends_at", "month", "read_after_end_at", "batch"])


def _surely_over(plan: _Plan) -> datetime:
    """Return from when on the period is over in every time zone it can end in."""
    period = plan.period
    if plan.snapshot.source == UsageSource.POOLED:
        return period.ends_at
    return resets_of(latest_end(period.start_on, period.end_on) if period.inferred else period.end_on).latest


def _end(period: UsagePeriod, end_on: date) -> set[tuple[date, int]]:
    """Set the period's last day; return its month so far and its customer if the month changes."""
    before = period.month
    if not period._state.adding and end_on > period.end_on:
        period.read_after_end_at = None  # that was before the end as it is known now
    period.end_on, period.ends_at, period.month = end_on, midnight(end_on + DAY), end_on.replace(day=1)
    period.batch = 0  # a change of the figure, whatever else stays
    moves = not period._state.adding and before != period.month
    return {(before, period.account.customer_id)} if moves else set()


def _end_of(plan: _Plan) -> date:
    """Return the period's last day as reported; the day before the next period, if that is known to begin earlier. An
    end that no monthly period has doesn't move it: a person decides."""
    period, dates = plan.period, plan.dates
    if dates.is_too_long:
        return usual_end(dates.start_on) if period._state.adding else period.end_on
    return period.end_on if period.next_seen_at is not None and period.end_on < dates.end_on else dates.end_on


def _bit(period: UsagePeriod, at: datetime) -> int:
    """Return the bit of the reading's day in `days_read`; none outside the period."""
    day = (at.date() - period.start_on).days
    return 1 << day if 0 <= day < 62 else 0


def _disputed(snapshot_ids: list[int]) -> set[int]:
    rows = Anomaly.objects.filter(snapshot__in=snapshot_ids, closed_at=None)
    return set(rows.values_list("snapshot", flat=True))


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
        usage = usage_of(final)
        if usage.source == UsageSource.POOLED:
            usage = replace(usage, allowed=pool_cap_of(final.account.settings))
        if usage.used is None:
            continue  # no figure was returned: the report shows missing data
        try:
            begun(usage, at=final.taken_at)
            store_readings(
                [AccountReading(final.account_id, usage, final.taken_at, final.account.package, final)], run=None
            )
        except IntegrityError:
            continue  # another process stored it at this moment
        except (DataError, ValidationError, Unreadable):
            log.exception("usage.final_reading_refused", account=str(final.account.public_id))
            continue
        kept += 1
    return kept
