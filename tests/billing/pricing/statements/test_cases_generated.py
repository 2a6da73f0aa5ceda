"""Cases from the database against a slow reader of the same rows, day by day, for random histories."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.db.models import Count, F, Sum
from django.db.models.functions import Coalesce

from billing.models import ConnectionBilling, Contract, PriceVersion, Statement, UsagePeriod
from billing.pricing.statements.drafts import Rater, draft_of, rate_month
from billing.usage.periods import last_day
from customers.models import Account, AccountSpan, Customer
from portal import audit
from tests.billing.pricing.statements.agreed import (
    BASE,
    NOVEMBER,
    NOW,
    OVERAGE,
    account,
    contract,
    figure,
    price_list,
    publish,
    span,
)
from tests.support.factories import PACKAGE, SMALLER, ConnectionFactory, CustomerFactory

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
ZONES = ("UTC", "America/Los_Angeles", "Asia/Tokyo", "Pacific/Kiritimati", "Europe/Berlin")
MONTHS = (date(2026, 9, 1), date(2026, 10, 1), date(2026, 11, 1))
STATES = ("active", "stopped_by_us", "stopped_by_provider", "banned", "unknown")


def freeze(at: datetime) -> Any:
    return time_machine.travel(at, tick=False)


def history(random: Random, one: Account) -> None:
    """Changes at moments around midnight, several on a day, some seen later than they may have come."""
    at = datetime(2026, 6, random.randint(1, 28), random.randint(0, 23), tzinfo=UTC)
    for kind in ("state", "offerings"):
        when, before = at, at
        source = random.choice(["operation", "stored", "reading", "linked"])
        for n in range(random.randint(1, 9)):
            value: Any = random.choice(STATES)
            if kind == "state" and n and random.random() < 0.1:
                value = "deleted"
            if kind == "offerings":
                value = [{"name": random.choice([PACKAGE, SMALLER]), "type": "package", "quantity": 1}]
            seen_from = {"from_at": max(before, when - timedelta(hours=random.choice([0, 0, 5, 40])))}
            span(one, kind, value, when.date(), seen=when, source=source, **seen_from)
            if value == "deleted":
                break
            before, source = when, random.choice(["operation", "reading", "decided"])
            when += timedelta(days=random.choice([0, 1, 9, 25]), hours=random.choice([1, 7, 23]), minutes=1)


def periods(random: Random, one: Account) -> None:
    start = date(2026, 8, random.randint(1, 28))
    while start < date(2026, 12, 1):
        end = start + timedelta(days=random.choice([30, 29, 29, 9]))
        if random.random() < 0.8:
            figure(one, random.choice([None, 0, 90_000, 150_000]), start=start, end=end)
        start = end + DAY


def world(random: Random) -> list[Customer]:
    prices = price_list(since=date(2020, 1, 1))
    publish(prices, BASE, OVERAGE, since=date(2026, 10, 3))
    publish(prices, {**BASE, "amount": "99"}, OVERAGE, since=date(2026, 10, 3))
    connections = [ConnectionFactory() for _zone in ZONES]
    for each, zone in zip(connections, ZONES, strict=True):
        ConnectionBilling.objects.create(connection=each, zone=zone)
    customers = [CustomerFactory(may_be_bare=False) for _n in range(5)]
    for each in customers:
        for _n in range(random.randint(0, 3)):
            first = date(2026, random.randint(7, 11), random.randint(1, 28))
            contract(each, prices, since=first, until=random.choice([None, first + timedelta(days=40)]))
    for _n in range(14):
        one = account(
            random.choice(customers), connection=random.choice(connections), spans=False,
            is_test=random.random() < 0.1,
        )  # fmt: skip
        history(random, one)
        periods(random, one)
    return customers


def slow_value(account_pk: int, kind: str, day: date, zone: str) -> Any:
    """The last value written of those that were seen on the day or before it, in the connection's zone."""
    found = None
    rows = list(AccountSpan.objects.filter(account=account_pk, kind=kind).order_by("pk"))
    for row in rows:
        if row.seen_at.astimezone(ZoneInfo(zone)).date() <= day and row.value not in ("unknown", "indeterminate"):
            found = row.value
    return found


def slow_contract(customer: int, day: date) -> str | None:
    best = None
    for row in Contract.objects.filter(customer=customer, published_at__isnull=False):
        if row.valid_from <= day and (best is None or (row.valid_from, row.n) > (best.valid_from, best.n)):
            best = row
    if best is None or (best.valid_until and best.valid_until < day):
        return None
    return str(best.public_id)


def slow_version(day: date) -> str:
    rows = PriceVersion.objects.filter(published_at__isnull=False, valid_from__lte=day)
    return str(max(rows, key=lambda row: (row.valid_from, row.n)).public_id)


def rated_periods(customers: list[Customer], month: date) -> dict[tuple[int, int, date], Any]:
    """Return account, period and case by customer, account and first day: each once."""
    rater = Rater(month, now=NOW)
    found: dict[tuple[int, int, date], Any] = {}
    for inputs in rater.inputs_of([each.pk for each in customers]):
        for prepared in inputs.cases(rater.catalog, month):
            for one, period in ((each, period) for each in prepared.case.accounts for period in each.periods):
                key = (inputs.customer, int(one.id), period.start)
                assert key not in found
                found[key] = (one, period, prepared.case)
    return found


def compare_prices(row: UsagePeriod, case: Any) -> None:
    agreed, start = slow_contract(row.account.customer_id, row.start_on), row.start_on
    terms = [each for each in case.contracts if each.valid_from <= start]
    of_day = [each.id for each in terms if each.valid_until is None or start <= each.valid_until]
    assert of_day == ([agreed] if agreed else [])
    if agreed:
        (listed,) = case.price_lists
        assert [each.id for each in listed.versions if each.valid_from <= start][-1] == slow_version(start)


def compare_day(row: UsagePeriod, one: Any, day: date) -> None:
    zone = row.account.connection.billing.zone
    offered = [each for each in one.offerings if each.from_on <= day]
    states = [each.state for each in one.states if each.from_on <= day]
    slow = slow_value(row.account_id, "offerings", day, zone)
    assert slow is None or [item.name for item in offered[-1].items] == [item["name"] for item in slow]
    slow = slow_value(row.account_id, "state", day, zone)
    assert slow is None or states[-1] == slow


@pytest.mark.parametrize("seed", range(2))
def test_every_day_of_every_period(seed: int) -> None:
    customers = world(Random(seed))
    for month in MONTHS:
        rated = rated_periods(customers, month)
        rows = UsagePeriod.objects.filter(end_on__gte=month, end_on__lte=last_day(month), account__is_test=False)
        assert rows
        for row in rows.select_related("account__connection__billing"):
            one, period, case = rated.pop((row.account.customer_id, row.account_id, row.start_on))
            assert (period.end, period.used, period.status) == (row.end_on, row.used, row.status)
            compare_prices(row, case)
            for n in range((row.end_on - row.start_on).days + 1):
                compare_day(row, one, row.start_on + n * DAY)
        for (_customer, pk, start), (_one, period, _case) in rated.items():  # never read: nothing overlaps it
            assert (period.status, period.used) == ("missing", None)
            assert not UsagePeriod.objects.filter(account=pk, start_on__lte=period.end, end_on__gte=start).exists()


def test_lines_add_up_and_a_page_rates_nothing_again() -> None:
    customers = world(Random(2))
    rate_month(NOVEMBER, now=NOW)
    drafts = Statement.objects.filter(month=NOVEMBER, side="sell")
    sums = drafts.annotate(of_lines=Coalesce(Sum("lines__amount_minor"), 0), n=Count("lines"))
    assert not sums.exclude(of_lines=F("total_minor"), n=F("lines_count")).exists()
    for each in customers:
        draft_of(each, NOVEMBER, now=NOW + DAY)
    assert not drafts.exclude(rated_at=NOW).exists()


def test_an_account_is_billed_to_its_owner_of_the_last_day() -> None:
    """Two moves, the second one in the billing zone's night after the period's last day."""
    first, second, third = (CustomerFactory(may_be_bare=False) for _n in range(3))
    one = account(first)
    ConnectionBilling.objects.create(connection=one.connection, zone="America/Los_Angeles")
    for each in (first, second, third):
        contract(each, price_list(name=f"List {each.pk}"))
    figure(one, 0)
    with freeze(datetime(2026, 11, 1, tzinfo=UTC)):
        audit.record(actor=None, verb="account.created", obj=one)
    for at, customer in (
        (datetime(2026, 11, 20, tzinfo=UTC), second),
        (datetime(2026, 12, 1, 8, 1, tzinfo=UTC), third),
    ):
        with freeze(at):
            Account.objects.filter(pk=one.pk).update(customer=customer)
            one.refresh_from_db()
            audit.record(actor=None, verb="account.moved", obj=one, customer=customer, before={"customer": "?"})
    rate_month(NOVEMBER, now=NOW)
    assert dict(Statement.objects.values_list("customer", "total_minor")) == {first.pk: 0, second.pk: 8995, third.pk: 0}
