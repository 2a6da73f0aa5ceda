"""Conditions of the report's filters."""

from __future__ import annotations

from datetime import date, timedelta

from django.db.models import BigIntegerField, Exists, F, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Cast
from django.utils import timezone

from billing.models import Status, UsagePeriod, UsageSnapshot
from billing.reports.ceiling import reaching_ceiling
from billing.reports.filters import UsageFilters
from billing.usage.periods import month_after
from portal.providers import UsageSource
from portal.typed_text import matches

EXACT = (Status.FINAL, Status.DERIVED)
# An account that added nothing for so long, and had usage before, stopped sending.
SILENT = timedelta(days=7)
_POOLED = Q(current__source=UsageSource.POOLED)


def narrowed(periods: QuerySet[UsagePeriod], filters: UsageFilters) -> QuerySet[UsagePeriod]:
    """Return the figures that the filters leave."""
    if filters.lists_nothing:
        return periods.none()
    periods = periods.filter(_customers(filters, "account__customer"))
    if filters.status:
        periods = periods.filter(status=filters.status)
    if filters.q:
        by_name = matches("account__customer__search__contains", filters.q)
        periods = periods.filter(by_name | Q(account__provider_id__startswith=filters.q))
    if filters.quota:
        periods = _reaching(periods, filters.quota)
    if filters.ceiling:
        reaching = reaching_ceiling(periods, hours=int(filters.ceiling), now=timezone.now())
        periods = periods.filter(pk__in=reaching)
    if filters.only == "stopped":
        periods = _stopped(periods, filters.month)
    conditions = {
        "over": Q(overage__gt=0) | Q(overage_high__gt=0),
        "not_final": ~Q(status__in=EXACT),
        "cap": _POOLED & Q(allowed__gt=0, used__gte=F("allowed")),
    }
    return periods.filter(conditions[filters.only]) if filters.only in conditions else periods


def customer_condition(filters: UsageFilters) -> Q:
    """Return the filters about customers as a condition on rows that have one."""
    by_name = matches("customer__search__contains", filters.q) if filters.q else Q()
    return by_name & _customers(filters, "customer")


def _customers(filters: UsageFilters, customer: str) -> Q:
    found = Q(**{customer: filters.customer}) if filters.customer else Q()
    return found & Q(**{f"{customer}__external_reference": ""}) if filters.only == "unreferenced" else found


def _reaching(periods: QuerySet[UsagePeriod], quota: str) -> QuerySet[UsagePeriod]:
    """Return figures that reach a share of their quota: "100" for certain, "may100" only by the most they can be. A cap
    is no quota."""
    certain = not quota.startswith("may")
    percent = int(quota.removeprefix("may"))
    of_quota = periods.filter(~_POOLED, allowed__gt=0)
    wanted = Cast(F("allowed"), BigIntegerField()) * Value(percent)
    of_quota = of_quota.annotate(wanted=wanted, least=F("used") * Value(100), most=F("high") * Value(100))
    if certain:
        return of_quota.filter(least__gte=F("wanted"))
    return of_quota.filter(least__lt=F("wanted"), most__gte=F("wanted"))


def _stopped(periods: QuerySet[UsagePeriod], month: date) -> QuerySet[UsagePeriod]:
    """Return open figures of accounts whose usage didn't increase over the last seven days read, though they sent
    before, in this period or in the one of the month before."""
    unchanged = UsageSnapshot.objects.filter(
        account=OuterRef("account"), period_start_on=OuterRef("reported_start_on"), used__gte=OuterRef("used")
    )
    since = Value(SILENT)
    all_week = Exists(unchanged.filter(as_of__lte=OuterRef("read_at") - since))
    before = UsagePeriod.objects.filter(account=OuterRef("account"), month=month_after(month, -1), used__gt=0)
    # Nothing in this period, and in one that began less than seven days ago nothing in the last days of the one before.
    all_days = Exists(before.filter(Exists(unchanged.filter(as_of__lte=OuterRef(OuterRef("read_at")) - since))))
    return periods.filter(Q(all_week, used__gt=0) | Q(all_days, used=0), status=Status.OPEN)
