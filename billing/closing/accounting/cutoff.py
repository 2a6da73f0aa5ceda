"""Accounts with the billing period that is open at the end of a month, as known by then.

Everything comes from rows that were there at the cut-off and never change, so that a month gives the same facts
whenever it is read: readings of usage, spans, and moves between customers. The cut-off is the end of the month's last
day in the connection's billing zone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, time

from django.db.models import Case, DateTimeField, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce

from billing.models import Status, UsagePeriod, UsageSnapshot
from billing.pricing.statements.facts import (
    AccountFacts,
    PeriodRow,
    World,
    add_readings,
    add_spans,
    bare_facts,
    existed,
    leave_out_older_spans,
    owner_on,
)
from billing.pricing.statements.span_days import billing_zone
from billing.usage.periods import DAY, LONGEST_PERIOD, Period, last_day, period_of
from customers.models import Account


class CutOffs:
    """The moment at which a month ends, by connection."""

    def __init__(self, world: World) -> None:
        end = last_day(world.month) + DAY
        self._of = {
            pk: datetime.combine(end, time(), tzinfo=billing_zone(each.zone)) for pk, each in world.connections.items()
        }

    def of(self, account: AccountFacts) -> datetime:
        return self._of[account.connection.pk]

    def expression(self, connection: str) -> Case:
        """The cut-off of a row, by the column that names its connection."""
        by_moment: dict[datetime, list[int]] = {}
        for pk, moment in self._of.items():
            by_moment.setdefault(moment, []).append(pk)
        whens = [When(**{f"{connection}__in": pks}, then=Value(moment)) for moment, pks in by_moment.items()]
        return Case(*whens, output_field=DateTimeField())


def facts_at_cut_off(accounts: QuerySet[Account], world: World) -> list[AccountFacts]:
    """Return those accounts whose billing period contains the month's last day and ends later, each with this period.

    Its usage is that of the last reading before the cut-off. Without one the period has no usage and follows from the
    one before it. The customer is the one who owned the account at the cut-off.
    """
    cut_offs = CutOffs(world)
    found = {pk: each for pk, each in bare_facts(accounts, world).items() if not each.is_test}
    _add_periods_read(found, world, cut_offs)
    add_spans(found, world)
    for each in found.values():
        before = cut_offs.of(each)
        each.spans = {
            kind: kept for kind, rows in each.spans.items() if (kept := [r for r in rows if r.seen_at < before])
        }
    _add_periods_not_read({pk: each for pk, each in found.items() if not each.periods}, world, cut_offs)
    open_ones = [each for each in found.values() if each.periods]
    for each in open_ones:
        leave_out_older_spans(each)
    add_readings(open_ones)
    for each in open_ones:
        before = cut_offs.of(each)
        each.readings = {start: [r for r in rows if r.as_of < before] for start, rows in each.readings.items()}
    return [replace(each, customer=owner_on(each, last_day(world.month))) for each in open_ones]


def _add_periods_read(accounts: Mapping[int, AccountFacts], world: World, cut_offs: CutOffs) -> None:
    last = last_day(world.month)
    latest = UsageSnapshot.objects.filter(
        account=OuterRef("account"), period_start_on=OuterRef("reported_start_on"), as_of__lt=OuterRef("cut_off")
    ).order_by("-as_of", "-seq")
    rows = (
        UsagePeriod.objects.filter(
            account__in=accounts, reported_start_on__lte=last, reported_start_on__gt=last - LONGEST_PERIOD
        )
        .annotate(cut_off=cut_offs.expression("account__connection"))
        .annotate(reading=Subquery(latest.values("pk")[:1]))
    )
    periods = dict(rows.values_list("reading", "pk").exclude(reading=None))
    read = UsageSnapshot.objects.filter(pk__in=periods, period_start_on__lte=last, period_end_on__gt=last)
    columns = ("pk", "account", "period_start_on", "period_end_on", "used", "package")
    for pk, account, start, end, used, package in read.order_by("account", "as_of", "seq").values_list(*columns):
        # The last one counts: after a restart of the periods two of them contain the day.
        accounts[account].periods = [
            PeriodRow(periods[pk], account, start, end, start, Status.OPEN, used, None, None, package)
        ]


def _add_periods_not_read(accounts: Mapping[int, AccountFacts], world: World, cut_offs: CutOffs) -> None:
    """Add the period that follows from the last one read before the cut-off. An account that was never read before has
    the one that its first reading tells."""
    last = last_day(world.month)
    near = UsageSnapshot.objects.filter(account=OuterRef("pk"), period_end_on__gt=last - 2 * LONGEST_PERIOD)
    before = near.filter(as_of__lt=OuterRef("cut_off")).order_by("-as_of", "-seq")
    after = near.filter(as_of__gte=OuterRef("cut_off")).order_by("as_of", "seq")
    rows = (
        Account.objects.filter(pk__in=accounts)
        .annotate(cut_off=cut_offs.expression("connection"))
        .annotate(reading=Coalesce(Subquery(before.values("pk")[:1]), Subquery(after.values("pk")[:1])))
        .exclude(reading=None)
    )
    readings = UsageSnapshot.objects.filter(pk__in=list(rows.values_list("reading", flat=True)))
    for pk, first, until in readings.order_by("account").values_list("account", "period_start_on", "period_end_on"):
        start, end = _period_on(last, Period(first, until))
        if start <= last < end and existed(accounts[pk], Period(start, end), world):
            accounts[pk].periods = [PeriodRow(None, pk, start, end, start, Status.MISSING, None, None, None, "")]


def _period_on(day: date, known: Period) -> tuple[date, date]:
    found = known if known.start_on <= day <= known.end_on else period_of(None, None, known=known, on=day)
    return found.start_on, found.end_on
