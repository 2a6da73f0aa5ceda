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
from customers.models import Account, Customer
from portal.providers import UsageSource
from portal.typed_text import matches

EXACT = (Status.FINAL, Status.DERIVED)
# An account that added nothing for so long, and had usage before, stopped sending.
SILENT = timedelta(days=7)
# More customers than this are not named one by one in a condition.
MANY = 1000
_POOLED = Q(current__source=UsageSource.POOLED)


def narrowed(periods: QuerySet[UsagePeriod], filters: UsageFilters) -> QuerySet[UsagePeriod]:
    """Return the figures that the filters leave."""
    if filters.lists_nothing:
        return periods.none()
    periods = periods.filter(_customers(filters, "account__customer"))
    if filters.status:
        periods = periods.filter(status=filters.status)
    if filters.q:
        periods = periods.filter(_found(filters.q))
    if filters.quota:
        periods = _reaching(periods, filters.quota)
    if filters.ceiling:
        reaching = reaching_ceiling(periods, hours=int(filters.ceiling), now=timezone.now())
        periods = periods.filter(pk__in=reaching)
    if filters.only == "stopped":
        periods = _looked_up_once(_stopped(periods, filters.month))
    conditions = {
        "over": Q(overage__gt=0) | Q(overage_high__gt=0),
        "not_final": ~Q(status__in=EXACT),
        "cap": _POOLED & Q(allowed__gt=0, used__gte=F("allowed")),
    }
    return periods.filter(conditions[filters.only]) if filters.only in conditions else periods


def _found(text: str) -> Q:
    """Match accounts by their customer or their ID. Few customers are named one by one, so that the database starts
    from their accounts; with many it reads the figures of the month anyway."""
    matching = Customer.objects.order_by().filter(matches("search__contains", text)).values_list("pk", flat=True)
    few = list(matching[: MANY + 1])
    if len(few) > MANY:
        return matches("account__customer__search__contains", text) | Q(account__provider_id__startswith=text)
    accounts = Account.objects.order_by().values("pk")
    by_id = accounts.filter(provider_id__startswith=text)
    return Q(account__in=accounts.filter(customer__in=few).union(by_id, all=True))


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


def _looked_up_once(periods: QuerySet[UsagePeriod]) -> QuerySet[UsagePeriod]:
    """Return the same figures by their keys, if they are few: their readings are looked up for this statement, and not
    again for the totals and for the rows."""
    few = list(periods.order_by().values_list("pk", flat=True)[: MANY + 1])
    return UsagePeriod.objects.filter(pk__in=few) if len(few) <= MANY else periods


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
    # The database looks at the usage first, as written: few figures are 0, and their readings are looked up twice.
    sent, silent = Q(used__gt=0) & Q(all_week), Q(used=0) & Q(all_days)
    return periods.filter(sent | silent, status=Status.OPEN)
