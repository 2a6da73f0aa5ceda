"""Consequences of a decision, calculated as the decision itself does it, and the readings around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from django.db.models import Q
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from billing import labels
from billing.models import NOT_OVER, Anomaly, Decision, Status, UsagePeriod, UsageSnapshot
from billing.money import trimmed, trimmed_or_none
from billing.templatetags.usage import cycle_dates
from billing.usage import figures, splits
from billing.usage.figures import Assumed
from billing.usage.periods import last_day
from billing.usage.pool_reports import PoolReport, reports_of
from billing.usage.series import Verdict
from customers.models import Operation
from portal.formats import moment_text, money_text, number_text
from portal.refusals import Refusal

# Figures whose consequences are added up while a person waits.
MOST_ADDED_UP = 300
ACCOUNTS_SHOWN = 20
AROUND = 2


@dataclass(frozen=True)
class Choice:
    """One decision with its consequences, as sentences. `refused`: why it can't be chosen."""

    verdict: Verdict
    sentences: list[str] = field(default_factory=list)
    refused: str = ""

    @property
    def label(self) -> str:
        return str(self.verdict.label)


@dataclass(frozen=True)
class ReadingLine:
    """A reading of the table before the choices; `operations`: our own since the reading before it."""

    at: datetime
    used: int
    allowed: int | None
    overage: int | None
    cost: Decimal | None
    currency: str
    source: str
    contradicts: bool
    next_period: bool = False
    operations: Sequence[Operation] = ()


def period_text(period: UsagePeriod) -> str:
    """Return "October 2026" for a calendar month, else the dates."""
    if period.start_on.day == 1 and period.end_on == last_day(period.start_on):
        return date_format(period.start_on, "F Y")
    return cycle_dates(period.start_on, period.end_on)


def figure_words(period: UsagePeriod) -> str:
    """Return the figure in words: exact, an interval, or what is known so far."""
    if period.used is None:
        return _("unknown")
    used = number_text(period.used)
    if period.status in NOT_OVER:
        return _("%(n)s emails so far") % {"n": used}
    if period.high is None:
        return _("at least %(n)s emails") % {"n": used}
    if period.high == period.used:
        return _("%(n)s emails") % {"n": used}
    return _("%(least)s to %(most)s emails") % {"least": used, "most": number_text(period.high)}


def becomes(period: UsagePeriod, *, with_cost: bool) -> str:
    """Return what the figure becomes, as a sentence."""
    words = {"period": period_text(period), "figure": figure_words(period)}
    if period.used is None:
        sentence = _("%(period)s: the number of emails stays unknown.") % words
    else:
        sentence = _("%(period)s becomes %(figure)s.") % words
    if period.overage or period.overage_high:
        overage = number_text(period.overage or 0)
        if period.overage_high is not None and period.overage_high != period.overage:
            overage = _("%(least)s to %(most)s") % {"least": overage, "most": number_text(period.overage_high)}
        sentence += " " + _("Overage: %(n)s.") % {"n": overage}
    elif period.overage == 0:
        sentence += " " + _("No overage.")
    if with_cost and period.allocated_cost is not None:
        cost = money_text(trimmed(period.allocated_cost), period.currency)
        sentence += " " + _("Allocated cost: %(cost)s.") % {"cost": cost}
    if period.status == Status.DISPUTED:
        sentence += " " + _("It stays disputed: other values contradict each other as well.")
    return sentence


def anomaly_choices_of(
    anomalies: Sequence[Anomaly], verdicts: Sequence[Verdict], *, with_cost: bool, now: datetime
) -> list[Choice]:
    """Return what each decision about these anomalies would do."""
    return [_choice(anomalies, verdict, with_cost=with_cost, now=now) for verdict in verdicts]


def _choice(anomalies: Sequence[Anomaly], verdict: Verdict, *, with_cost: bool, now: datetime) -> Choice:
    if verdict == Verdict.NEW_PERIOD:
        try:
            parts = splits.parts_of(anomalies[0])
        except Refusal as refusal:
            return Choice(verdict, refused=str(refusal))
        parts[1].pk = -1  # not stored: the later part has no row yet
        found = figures.preview(parts, Assumed(), now=now)
        return Choice(verdict, [becomes(period, with_cost=with_cost) for period in found])
    readings = {each.snapshot_id: verdict.value for each in anomalies if each.snapshot_id}
    reports = {each.pooled_id: verdict.value for each in anomalies if each.pooled_id}
    sentences = _of_report(anomalies[0], verdict, with_cost=with_cost) if reports else []
    periods = {each.period_id for each in anomalies if each.period_id}
    if 0 < len(periods) <= MOST_ADDED_UP:
        loaded = _as_dated(anomalies, verdict, figures.load_periods(periods))
        found = figures.preview(loaded, Assumed(readings, reports), now=now)
        sentences += _added_up(found, with_cost=with_cost)
    return Choice(verdict, sentences)


def _as_dated(anomalies: Sequence[Anomaly], verdict: Verdict, periods: list[UsagePeriod]) -> list[UsagePeriod]:
    """Give periods that are longer than a month the end that the decision gives them."""
    ends = splits.ends_of(anomalies, verdict)
    for period in periods:
        period.end_on = ends.get(period.pk, period.end_on)
    return periods


def _added_up(periods: Sequence[UsagePeriod], *, with_cost: bool) -> list[str]:
    if len(periods) == 1:
        return [becomes(periods[0], with_cost=with_cost)]
    least = sum(period.used or 0 for period in periods)
    most = None if any(period.high is None for period in periods) else sum(period.high or 0 for period in periods)
    words = {"n": number_text(len(periods)), "least": number_text(least), "most": number_text(most or 0)}
    if most is None or most == least:
        return [_("The %(n)s accounts together: %(least)s emails.") % words]
    return [_("The %(n)s accounts together: %(least)s to %(most)s emails.") % words]


def _of_report(anomaly: Anomaly, verdict: Verdict, *, with_cost: bool) -> list[str]:
    """Return which report of the pool would count, in words."""
    pooled = anomaly.pooled
    if pooled is None:
        return []
    key = (anomaly.connection_id, pooled.period_start_on)
    reports = reports_of([key[0]], [key[1]]).assume({pooled.pk: verdict.value}).found.get(key, [])
    # Of two reports that contradict each other, each has its own row: say which one this is about.
    at = {"at": moment_text(pooled.as_of)}
    named = (
        _("The report of %(at)s counts.") if verdict == Verdict.COUNTED else _("The report of %(at)s doesn't count.")
    )
    counted = [each for each in reports if each.verdict != Verdict.WRONG]
    if not counted:
        return [named % at, _("No report of this billing period counts then.")]
    last = counted[-1]
    words = {"n": number_text(last.total_count), "cost": money_text(trimmed(last.total_cost), last.currency)}
    if with_cost:
        return [named % at, _("The invoice total is %(n)s emails and %(cost)s then.") % words]
    return [named % at, _("The invoice total is %(n)s emails then.") % words]


def figure_choices_of(
    period: UsagePeriod, verdicts: Sequence[Verdict], *, with_cost: bool, now: datetime
) -> list[Choice]:
    """Return what each decision about a figure would do; for a typed number, in which limits it has to be."""
    found = []
    for verdict in verdicts:
        if verdict == Verdict.QUANTITY:
            found.append(Choice(verdict, [_limits(period, now=now)]))
            continue
        assumed = Assumed(figure=Decision(verdict=verdict, period=period))
        [after] = figures.preview(figures.load_periods([period.pk]), assumed, now=now)
        found.append(Choice(verdict, [becomes(after, with_cost=with_cost)]))
    return found


def _limits(period: UsagePeriod, *, now: datetime) -> str:
    [figure] = figures.preview(figures.load_periods([period.pk]), Assumed(undecided=True), now=now)
    if figure.used is None:
        return _("Nothing was read in this billing period.")
    words = {"least": number_text(figure.used), "most": number_text(figure.high or 0)}
    if figure.high is None:
        return _("At least %(least)s, the number the provider reported.") % words
    return _("From %(least)s to %(most)s.") % words


def readings_around(period: UsagePeriod, chosen: UsageSnapshot | None) -> list[ReadingLine]:
    """Return the readings before and after the chosen one, or the last ones of the period and the first after it."""
    rows = list(
        UsageSnapshot.objects.filter(
            account=period.account_id, period_start_on__in=(period.reported_start_on, period.start_on)
        )
        .defer("raw")
        .order_by("as_of", "seq", "pk")
    )
    place = next((n for n, row in enumerate(rows) if chosen and row.pk == chosen.pk), len(rows) - 1)
    shown = rows[max(0, place - AROUND) : place + AROUND + 1]
    following = None
    if chosen is None:
        later = UsageSnapshot.objects.filter(account=period.account_id, period_start_on__gt=period.reported_start_on)
        following = later.defer("raw").order_by("as_of", "seq").first()
    lines = [*shown, *([following] if following else [])]
    operations = _operations(period, lines)
    return [
        ReadingLine(
            at=row.as_of,
            used=row.used,
            allowed=row.allowed,
            overage=row.overage,
            cost=trimmed_or_none(row.allocated_cost),
            currency=row.currency,
            source=labels.source(row.source),
            contradicts=chosen is not None and row.pk == chosen.pk,
            next_period=row is following,
            operations=[
                each for each in operations if each.finished_at and _before(lines, n) < each.finished_at <= row.as_of
            ],
        )
        for n, row in enumerate(lines)
    ]


def _before(lines: Sequence[UsageSnapshot], n: int) -> datetime:
    return lines[n - 1].as_of if n else datetime.min.replace(tzinfo=lines[n].as_of.tzinfo)


def _operations(period: UsagePeriod, lines: Sequence[UsageSnapshot]) -> list[Operation]:
    """Return our own operations on the account in the time that the readings span."""
    if len(lines) < 2:
        return []
    done = Q(finished_at__gt=lines[0].as_of, finished_at__lte=lines[-1].as_of)
    return list(Operation.objects.filter(done, account=period.account_id, state="succeeded").order_by("finished_at"))


def reports_around(anomaly: Anomaly) -> list[tuple[PoolReport, bool]]:
    """Return the reports before and after the one of an anomaly, each with whether it is that one."""
    pooled = anomaly.pooled
    if pooled is None:
        return []
    key = (anomaly.connection_id, pooled.period_start_on)
    reports = reports_of([key[0]], [key[1]]).found.get(key, [])
    place = next((n for n, each in enumerate(reports) if each.pk == pooled.pk), 0)
    return [(each, each.pk == pooled.pk) for each in reports[max(0, place - AROUND) : place + AROUND + 1]]
