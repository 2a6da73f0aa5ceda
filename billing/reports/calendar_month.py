"""Requests by calendar month beside the billing periods that overlap it, and why the two differ. Never billed.

Statistics count requests by the account's own days; a billing period counts emails between the provider's resets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from django.core.paginator import Page, Paginator
from django.db.models import Exists, OuterRef, Q

from billing.models import StatisticsReading, UsagePeriod
from billing.reports.filters import SearchFilters
from billing.usage.periods import DAY, last_day
from customers.models import Account, Customer
from portal.typed_text import matches


@dataclass(frozen=True)
class Overlap:
    """A billing period and how many of its days lie in the month."""

    period: UsagePeriod
    days: int
    of: int

    @property
    def is_whole(self) -> bool:
        return self.days == self.of


@dataclass(frozen=True)
class CalendarMonth:
    """A customer's requests of the month: `requests` is None without statistics. `unknown`: days of accounts that no
    statistics tell of."""

    customer: Customer
    accounts: int
    requests: int | None
    unknown: int
    overlaps: Sequence[Overlap]

    @property
    def least(self) -> int | None:
        """Emails of the billing periods, as billed; None if one of them is missing."""
        used = [each.period.used for each in self.overlaps]
        return None if not used or None in used else sum(n for n in used if n is not None)

    @property
    def most(self) -> int | None:
        most = [each.period.high if each.period.is_over else each.period.used for each in self.overlaps]
        return None if None in most else sum(n for n in most if n is not None)

    @property
    def difference(self) -> int | None:
        """Least emails of the billing periods minus requests of the month."""
        return None if self.requests is None or self.least is None else self.least - self.requests

    @property
    def most_difference(self) -> int | None:
        """The same of the most emails; None also where nothing limits them."""
        return None if self.requests is None or self.most is None else self.most - self.requests

    @property
    def parts(self) -> list[Overlap]:
        """Return billing periods that lie partly outside the month, each once."""
        dates = {(each.period.start_on, each.period.end_on): each for each in self.overlaps if not each.is_whole}
        return list(dates.values())


def calendar_page(filters: SearchFilters) -> Page[CalendarMonth]:
    """Return a page of customers, by name. The number of queries doesn't depend on the rows."""
    first, last = filters.month, last_day(filters.month)
    accounts = Account.objects.filter(customer=OuterRef("pk"), duplicate_of=None)
    if filters.connection:
        accounts = accounts.filter(connection=filters.connection)
    overlapping = UsagePeriod.objects.filter(account=OuterRef("pk"), start_on__lte=last, end_on__gte=first)
    counted = StatisticsReading.objects.filter(account=OuterRef("pk"), first_on__lte=last, last_on__gte=first)
    customers = Customer.objects.filter(Exists(accounts.filter(Q(Exists(overlapping)) | Q(Exists(counted)))))
    if filters.customer:
        customers = customers.filter(pk=filters.customer.pk)
    if filters.q:
        customers = customers.filter(matches("search__contains", filters.q))
    page = filters.page_of(Paginator(customers.order_by("company_name", "pk"), filters.size))
    page.object_list = _rows(list(page.object_list), filters, first, last)
    return page


def has_statistics(filters: SearchFilters) -> bool:
    """Return whether any statistics of the month were read."""
    last = last_day(filters.month)
    return StatisticsReading.objects.filter(first_on__lte=last, last_on__gte=filters.month).exists()


def _rows(customers: list[Customer], filters: SearchFilters, first: date, last: date) -> list[CalendarMonth]:
    found = Account.objects.filter(customer__in=customers, duplicate_of=None)
    if filters.connection:
        found = found.filter(connection=filters.connection)
    owner = dict(found.values_list("pk", "customer"))
    periods: dict[int, list[Overlap]] = defaultdict(list)
    rows = UsagePeriod.objects.filter(account__in=owner, start_on__lte=last, end_on__gte=first)
    for period in rows.order_by("start_on", "account"):
        shared = (min(period.end_on, last) - max(period.start_on, first)).days + 1
        periods[owner[period.account_id]].append(Overlap(period, shared, (period.end_on - period.start_on).days + 1))
    days = _requests_by_day(list(owner), first, last)
    length = (last - first).days + 1
    result = []
    for customer in customers:
        own = {account for account, whose in owner.items() if whose == customer.pk}
        used = {each.period.account_id for each in periods[customer.pk]} | (own & days.keys())
        known = [requests for account in used for requests in days.get(account, {}).values()]
        result.append(
            CalendarMonth(
                customer,
                accounts=len(used),
                requests=sum(known) if known else None,
                unknown=length * len(used) - len(known),
                overlaps=periods[customer.pk],
            )
        )
    return result


def _requests_by_day(accounts: list[int], first: date, last: date) -> dict[int, dict[date, int]]:
    """Return the requests of each account and day of the month; a later reading of the same day replaces an earlier
    one. Days that no reading tells of are left out."""
    readings = StatisticsReading.objects.filter(account__in=accounts, first_on__lte=last, last_on__gte=first)
    found: dict[int, dict[date, int]] = defaultdict(dict)
    wanted = {(first + DAY * n).isoformat(): first + DAY * n for n in range((last - first).days + 1)}
    for reading in readings.order_by("as_of", "pk"):
        for text, requests in reading.days.items():
            if text in wanted:
                found[reading.account_id][wanted[text]] = requests
    return found
