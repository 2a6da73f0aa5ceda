"""Evidence on the time between a period's last reading and its end: ceilings, states, statistics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db.models import Min, prefetch_related_objects

from billing.models import MidnightReading, UsagePeriod, UsageSnapshot
from billing.usage import midnights
from billing.usage.assess import DAY, LAG, EndEvidence, Resets, days_touched, resets_of
from billing.usage.periods import latest_end
from billing.usage.reset_zones import UTC_ZONE, zones_of
from billing.usage.statistics import Statistics, statistics_of
from customers.connections.catalogue import SENDS, SUBUSERS
from customers.models import AccountSpan, Offering
from customers.models.account import AccountState
from customers.observed.spans import is_stopped_throughout, spans_of
from portal.providers import CAPABILITIES, UsageSource

MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Known:
    """A period and its readings in order of time."""

    period: UsagePeriod
    snapshots: list[UsageSnapshot]

    @property
    def is_pooled(self) -> bool:
        return bool(self.snapshots) and self.snapshots[-1].source == UsageSource.POOLED

    def may_be_over(self, now: datetime) -> bool:
        period = self.period
        return now >= period.ends_at or period.next_seen_at is not None or period.account.state == AccountState.DELETED


@dataclass(frozen=True, slots=True)
class PeriodEvidence:
    """When a period can have ended, what may have come after its last reading, and which packages it had."""

    resets: Resets
    ceiling: int | None
    _known: Known
    _facts: _Facts

    def after(self, read_at: datetime, *, now: datetime) -> EndEvidence:
        """Return what is known of the time after `read_at`, the last reading that counts."""
        each, facts = self._known, self._facts
        if each.is_pooled or not each.may_be_over(now):
            return EndEvidence(ceiling=self.ceiling)
        start, end = self.resets.window(read_at)
        period = each.period
        if period.inferred and period.next_seen_at is None:
            end = max(end, resets_of(latest_end(period.start_on, period.end_on)).latest)
        calibrated = facts.calibration(each).is_calibrated
        return EndEvidence(
            ceiling=self.ceiling,
            after_last=facts.requests_between(each, start, end, calibrated=calibrated),
            derived=facts.derived(each, self.resets) if calibrated else None,
            could_send=not facts.was_stopped(each, start, end),
        )

    def package_at(self, row: UsageSnapshot) -> str:
        """Return the package that the quota of this reading belongs to, "" if that can't be told."""
        return self._facts.package_at(self._known, row)


def evidence_of(known: Sequence[Known], *, now: datetime) -> dict[int, PeriodEvidence]:
    """Return by period what is known about its end. The number of queries doesn't depend on the periods."""
    zones = zones_of({each.period.account.connection_id for each in known})
    resets = {each.period.pk: _resets(each, zones) for each in known}
    facts = _Facts.of(known, resets, now=now)
    found = {}
    for each in known:
        of_period = resets[each.period.pk]
        found[each.period.pk] = PeriodEvidence(of_period, facts.ceiling(each, of_period), each, facts)
    return found


def _resets(each: Known, zones: dict[int, str]) -> Resets:
    """Return when the period can have ended: at midnight after its last day, or, where the provider restarted it or a
    person split it, at any moment between two readings."""
    period = each.period
    # The latest end that any answer stated: where the provider restarts a period, late answers about it may already
    # state the earlier one, and mail of its last day and after it, until the restart, belongs to it.
    stated = max((row.period_end_on for row in each.snapshots), default=period.end_on)
    begun = period.counts_until or (period.next_seen_at if stated > period.end_on else None)
    if begun is not None:
        return Resets(min(period.read_at or begun, begun), begun)
    zone = UTC_ZONE if each.is_pooled else zones.get(period.account.connection_id, "")
    return resets_of(max(stated, period.end_on), zone=zone)


@dataclass(frozen=True, slots=True)
class _Facts:
    """Everything that is read for a list of periods, by account or connection."""

    quota_after: dict[int, int]
    offerings: dict[int, list[AccountSpan]]
    states: dict[int, list[AccountSpan]]
    catalog: dict[tuple[int, str], dict[str, int]]
    statistics: dict[int, Statistics]
    own_midnights: dict[int, list[MidnightReading]]

    @classmethod
    def of(cls, known: Sequence[Known], resets: dict[int, Resets], *, now: datetime) -> _Facts:
        accounts = {each.period.account_id for each in known if not each.is_pooled}
        over = [each for each in known if not each.is_pooled and each.may_be_over(now)]
        prefetch_related_objects([each.period.account for each in over], "customer")  # for its time zone
        ended = {each.period.account_id for each in over}
        start = min((_begun(each) for each in known), default=now)
        end = max((each.latest for each in resets.values()), default=now)
        first = min((each.period.start_on for each in over), default=now.date()) - 2 * DAY
        catalog = Offering.objects.filter(connection__in={each.period.account.connection_id for each in known})
        return cls(
            quota_after=_quotas_after([each.period for each in known]),
            offerings=spans_of(accounts, AccountSpan.Kind.OFFERINGS, start, end) if accounts else {},
            states=spans_of(ended, AccountSpan.Kind.STATE, start - LAG, end) if ended else {},
            catalog={(row.connection_id, row.name): row.entitlements for row in catalog} if accounts else {},
            statistics=statistics_of(ended, first=first - midnights.OLDEST) if ended else {},
            own_midnights=midnights.midnights_of([each.period.account for each in over], first=first - midnights.OLDEST)
            if ended
            else {},
        )

    # --- Packages -----------------------------------------------------------------------------------------------

    def ceiling(self, each: Known, resets: Resets) -> int | None:
        """Return the most emails the account can have sent in the period: the provider's multiple of the greatest quota
        that it may have had by a reading of it, by the first one after it, or by a package of the time between."""
        multiple = CAPABILITIES[each.period.account.connection.kind].credit_ceiling
        quotas = [row.allowed for row in each.snapshots if row.allowed is not None]
        if multiple is None or not quotas or len(quotas) < len(each.snapshots):
            return None
        quotas.append(self.quota_after.get(each.period.pk, 0))
        for span in self._offerings(each, _begun(each), resets.latest):
            quota = self._sum_of(each, span, SENDS)
            if quota is not None:
                quotas.append(quota)
            elif span.package and not any(_holds(span, row.as_of) for row in each.snapshots):
                return None  # a package whose quota neither the catalog nor a reading tells
        return max(quotas) * multiple[0] // multiple[1]

    def package_at(self, each: Known, row: UsageSnapshot) -> str:
        """Return the package of the spans that may have been in force at the reading and whose quota it shows; without
        such spans, the one stored with the reading; "" where the quota contradicts it or several fit."""
        spans = [span for span in self._offerings(each, row.as_of, row.as_of + MOMENT) if span.package]
        if not spans:
            return row.package
        quotas = {span.package: self._sum_of(each, span, SENDS) for span in spans}
        sure = [name for name, quota in quotas.items() if quota is not None and quota == row.allowed]
        possible = [name for name, quota in quotas.items() if quota is None or row.allowed is None]
        found = sure or possible
        return found[0] if len(found) == 1 else ""

    def _offerings(self, each: Known, start: datetime, end: datetime) -> list[AccountSpan]:
        return [span for span in self.offerings.get(each.period.account_id, []) if _touches(span, start, end)]

    def _sum_of(self, each: Known, span: AccountSpan, name: str) -> int | None:
        """Return what the offerings of a span entitle to in total; None if the catalog doesn't tell."""
        amounts = []
        for row in span.value:
            entry = self.catalog.get((each.period.account.connection_id, row["name"]))
            if entry is None:
                return None
            if name in entry:
                amounts.append(entry[name] * row.get("quantity", 1))
        return sum(amounts) if amounts else None

    # --- The time after the last reading ------------------------------------------------------------------------

    def was_stopped(self, each: Known, start: datetime, end: datetime) -> bool:
        """Return whether the account could not send from `start` to `end` by evidence."""
        account = each.period.account
        spans = [span for span in self.states.get(account.pk, []) if _touches(span, start, end)]
        return start < end and bool(spans) and is_stopped_throughout(spans, start, end, account.state_read_at)

    def requests_between(self, each: Known, start: datetime, end: datetime, *, calibrated: bool) -> int | None:
        """Return the requests of the days touched from `start` to `end`; None if they don't tell the most that can have
        been sent: a day is unknown or not settled, or statistics may leave out mail."""
        statistics = self.statistics.get(each.period.account_id)
        requests = statistics.settled(days_touched(start, end)) if statistics else None
        if statistics is None or requests is None:
            return None
        if not statistics.covers([(row.as_of, row.used) for row in each.snapshots], begun_at=_begun(each)):
            return None
        return requests if calibrated or self._has_no_subusers(each, end) else None

    def _has_no_subusers(self, each: Known, end: datetime) -> bool:
        spans = self._offerings(each, _begun(each), end)
        return bool(spans) and all(self._sum_of(each, span, SUBUSERS) == 0 for span in spans)

    def derived(self, each: Known, resets: Resets) -> int | None:
        account_id = each.period.account_id
        return midnights.derived(
            self.own_midnights.get(account_id, []),
            self.statistics.get(account_id, Statistics()),
            reported_start_on=each.period.reported_start_on,
            end_on=each.period.end_on,
            resets=resets,
        )

    def calibration(self, each: Known) -> midnights.Calibration:
        account_id = each.period.account_id
        statistics = self.statistics.get(account_id, Statistics())
        until = each.period.end_on + midnights.DAYS_AFTER * DAY
        return midnights.calibrate(self.own_midnights.get(account_id, []), statistics, until=until)


def _begun(each: Known) -> datetime:
    """Return the earliest moment at which the period can have begun."""
    return each.period.counts_from or resets_of(each.period.start_on - DAY).earliest


def _touches(span: AccountSpan, start: datetime, end: datetime) -> bool:
    return (span.from_at is None or span.from_at < end) and (span.until_at is None or span.until_at > start)


def _holds(span: AccountSpan, at: datetime) -> bool:
    """Return whether the span was in force at `at` for sure, or right after it was seen."""
    return span.seen_at <= at and (span.until_at is None or at < span.until_at)


def _quotas_after(periods: Iterable[UsagePeriod]) -> dict[int, int]:
    """Return the greatest quota of the readings right after each period: a package that was changed unnoticed."""
    periods = list(periods)
    if not periods:
        return {}
    first: dict[int, dict[date, int]] = defaultdict(dict)
    later_ones = UsageSnapshot.objects.filter(
        account__in={each.account_id for each in periods}, period_start_on__gt=min(each.start_on for each in periods)
    )
    for row in later_ones.order_by().values("account", "period_start_on").annotate(first=Min("pk")):
        first[row["account"]][row["period_start_on"]] = row["first"]
    after = {}
    for period in periods:
        later = first.get(period.account_id, {})
        if starts := [start for start in later if start > period.start_on]:
            after[period.pk] = later[min(starts)]
    if not after:
        return {}
    allowed = dict(UsageSnapshot.objects.filter(pk__in=after.values()).values_list("pk", "allowed"))
    return {pk: quota for pk, row in after.items() if (quota := allowed.get(row)) is not None}
