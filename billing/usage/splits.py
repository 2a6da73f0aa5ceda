"""Dates of a billing period that a person decides on: restarted by the provider, or longer than a month."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import date, datetime

from django.utils.translation import gettext as _

from billing.models import Anomaly, FigureVersion, Status, UsagePeriod, UsageSnapshot
from billing.usage.periods import DAY, LONGEST_PERIOD, midnight, usual_end
from billing.usage.series import Verdict
from portal.refusals import Refusal

# Columns of a billing period that a split changes.
_DATES = ("end_on", "ends_at", "month", "counts_until", "next_seen_at", "read_after_end_at", "read_at")


def parts_of(anomaly: Anomaly) -> tuple[UsagePeriod, UsagePeriod]:
    """Return the two billing periods that a restart at this decrease makes of one, not stored. The readings from the
    decrease on belong to the later one. Raises `Refusal`."""
    period, row = anomaly.period, anomaly.snapshot
    if period is None or row is None:
        raise Refusal(_("Select a decision that fits all of these anomalies."), field="verdict")
    start_on = row.as_of.date()
    if not period.start_on < start_on <= period.end_on:
        raise Refusal(_("The billing period began on the same day. Select another decision."), field="verdict")
    later = copy.copy(period)
    later.start_on, later.counts_from = start_on, row.as_of
    later.current, later.used, later.high, later.status = row, row.used, None, Status.OPEN
    later.days_read = period.days_read >> (start_on - period.start_on).days
    later.version, later.batch, later.exported, later.owner = 0, 0, False, None
    earlier = copy.copy(period)
    earlier.end_on = start_on - DAY
    earlier.ends_at, earlier.month = midnight(start_on), earlier.end_on.replace(day=1)
    earlier.counts_until = earlier.next_seen_at = row.as_of
    earlier.read_at, earlier.read_after_end_at, earlier.batch = _last_before(period, row.as_of), None, 0
    return earlier, later


def split_period(anomaly: Anomaly) -> tuple[set[tuple[date, int]], UsagePeriod]:
    """Make the readings from the decrease on a billing period of their own. Return the month and customer that the
    period was taken from, and the new period."""
    earlier, later = parts_of(anomaly)
    moved = {(later.month, later.account.customer_id)}
    joined = UsagePeriod._base_manager.filter(account=later.account_id, start_on=later.start_on, joined=True).first()
    later.pk = joined.pk if joined else None
    later.version = joined.version if joined else 0
    later.save(force_insert=joined is None, force_update=joined is not None)
    earlier.save(update_fields=[*_DATES, "batch"])
    of_later = Anomaly.objects.filter(period=earlier.pk, snapshot__as_of__gt=earlier.counts_until)
    Anomaly.objects.filter(pk__in=list(of_later.values_list("pk", flat=True))).update(period=later)
    return moved, later


def join_period(anomaly: Anomaly, *, batch: int) -> set[tuple[date, int]]:
    """Take the split at this decrease back: the later part's readings belong to the earlier one again. The later part
    stays only for its versions. Return month and customer that it was taken from. Raises `Refusal`."""
    row, earlier = anomaly.snapshot, anomaly.period
    later = UsagePeriod.objects.filter(account=anomaly.account_id, counts_from=row.as_of if row else None).first()
    earlier = UsagePeriod.objects.filter(account=anomaly.account_id, counts_until=row.as_of if row else None).first()
    if row is None or earlier is None or later is None:
        raise Refusal(_("The billing period was divided again since then. Undo the later decision first."))
    if UsageSnapshot.objects.filter(account=later.account_id, period_start_on=later.start_on).exists():
        raise Refusal(_("The provider reports the later billing period since then. The decision can't be undone."))
    moved = {(each.month, each.account.customer_id) for each in (earlier, later)}
    earlier.days_read |= later.days_read << (later.start_on - earlier.start_on).days
    for name in (*_DATES, "latest"):
        setattr(earlier, name, getattr(later, name))
    earlier.readings = max(earlier.readings, later.readings)
    earlier.exported, earlier.batch = earlier.exported or later.exported, 0
    earlier.save(update_fields=[*_DATES, "latest", "days_read", "readings", "exported", "batch"])
    FigureVersion.objects.filter(period=later, to_batch=None).update(to_batch=batch)
    UsagePeriod.objects.filter(pk=later.pk).update(joined=True)
    Anomaly.objects.filter(period=later.pk).update(period=earlier)
    return moved


def reuse_joined(periods: Sequence[UsagePeriod]) -> None:
    """Let new periods take the row that a person split off on their first day and joined again, if there is one: there
    is one row per day. One query."""
    if not periods:
        return
    joined = UsagePeriod._base_manager.filter(account__in=[each.account_id for each in periods], joined=True)
    found = {
        (account, start_on): (pk, version)
        for account, start_on, pk, version in joined.values_list("account", "start_on", "pk", "version")
    }
    for each in periods:
        each.pk, each.version = found.get((each.account_id, each.start_on), (each.pk, each.version))


def follow_dates(anomalies: Sequence[Anomaly], verdict: str) -> set[tuple[date, int]]:
    """End periods that are longer than a month where a person says so. Return month and customer of those that
    moved."""
    ends = ends_of(anomalies, verdict)
    moved = set()
    for period in UsagePeriod.objects.filter(pk__in=ends).select_related("account"):
        moved.add((period.month, period.account.customer_id))
        end_on = ends[period.pk]
        later = {"read_after_end_at": None} if end_on > period.end_on else {}
        UsagePeriod.objects.filter(pk=period.pk).update(
            end_on=end_on, ends_at=midnight(end_on + DAY), month=end_on.replace(day=1), batch=0, **later
        )
    return moved


def ends_of(anomalies: Sequence[Anomaly], verdict: str) -> dict[int, date]:
    """Return the last days of periods (pk) that are longer than a month: as reported if that counts, else as reported
    last with a usual length, else as usual."""
    too_long = [each.pk for each in anomalies if each.kind == Anomaly.Kind.LONG_PERIOD]
    rows = Anomaly.objects.filter(pk__in=too_long, period__isnull=False, period__counts_until=None)
    found = {}
    for row in rows.select_related("snapshot", "period"):
        period, snapshot = row.period, row.snapshot
        if period is None or snapshot is None:
            continue
        end_on = snapshot.period_end_on if verdict == Verdict.COUNTED else _end_as_usual(period)
        following = UsagePeriod.objects.filter(account=period.account_id, start_on__gt=period.start_on)
        first = following.order_by("start_on").values_list("start_on", flat=True).first()
        found[period.pk] = min(end_on, first - DAY) if first else end_on
    return found


def _end_as_usual(period: UsagePeriod) -> date:
    rows = UsageSnapshot.objects.filter(
        account=period.account_id,
        period_start_on=period.reported_start_on,
        period_end_on__lt=period.reported_start_on + LONGEST_PERIOD,
    )
    stated = rows.order_by("-as_of", "-seq").values_list("period_end_on", flat=True).first()
    return stated or usual_end(period.start_on)


def _last_before(period: UsagePeriod, at: datetime) -> datetime:
    rows = period.account.usage_snapshots.filter(period_start_on=period.reported_start_on, as_of__lt=at).order_by(
        "-as_of"
    )
    return rows.values_list("as_of", flat=True).first() or at
