"""Accounts that cost money in a month without use: suspended ones, and those that sent no email."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from django.db.models import Exists, OuterRef, Q, QuerySet, Sum

from billing.models import ConnectionBilling, Status, UsagePeriod
from billing.pricing.margin.queries import cost_lines
from billing.pricing.statements.amounts import Amount
from billing.pricing.statements.span_days import SPAN_COLUMNS, SpanRow, billing_zone, changes_of
from billing.usage.periods import DAY, LONGEST_PERIOD, last_day, midnight
from customers.models import Account, AccountSpan
from customers.models.account import HALTED
from portal.paging import KeyedRows, LongPage, long_page

A_PAGE = 50
REASONS = ("suspended", "silent")
_EXACT = (Status.FINAL, Status.DERIVED)


@dataclass(frozen=True, slots=True)
class IdleAccount:
    """An account, the days of its billing periods on which it was suspended or silent, and its cost by currency."""

    account: Account
    reason: str
    days: int
    of_days: int
    cost: list[Amount]


def idle_accounts(month: date, *, reason: str = "", q: str = "") -> QuerySet[Account]:
    """Return accounts with a cost in the month that were suspended in it, or whose figures are exactly zero."""
    # Candidates by lists that are made once, then what has to be looked up for each of them.
    cost = cost_lines(month).filter(amount_minor__gt=0, account__isnull=False)
    periods = UsagePeriod.objects.filter(month=month)
    used = periods.filter(account=OuterRef("pk")).exclude(used=0, status__in=_EXACT)
    silent = Q(pk__in=periods.filter(used=0, status__in=_EXACT).values("account")) & ~Q(Exists(used))
    halted = Q(
        pk__in=AccountSpan.objects.filter(
            Q(until_at=None) | Q(until_at__gt=midnight(month - LONGEST_PERIOD)),
            kind=AccountSpan.Kind.STATE,
            value__in=[str(each) for each in HALTED],
            seen_at__lt=midnight(last_day(month) + DAY),
        ).values("account")
    )
    wanted = {"suspended": halted, "silent": silent & ~halted}.get(reason, halted | silent)
    found = Account.objects.filter(wanted, pk__in=cost.values("account")).order_by("company", "pk")
    return found.filter(customer__search__contains=q) if q else found


def idle_page(month: date, *, reason: str, q: str, number: str) -> tuple[LongPage, list[IdleAccount]]:
    rows = Account.objects.select_related("customer", "connection")
    page = long_page(KeyedRows(idle_accounts(month, reason=reason, q=q), rows), number, A_PAGE)
    return page, _with_days(list(page), month)


def all_idle(month: date, *, reason: str, q: str) -> Iterator[IdleAccount]:
    """Yield every one, for a file."""
    rows = idle_accounts(month, reason=reason, q=q).select_related("customer", "connection")
    some: list[Account] = []
    for account in rows.iterator(chunk_size=500):
        some.append(account)
        if len(some) == 500:
            yield from _with_days(some, month)
            some = []
    yield from _with_days(some, month)


def _with_days(accounts: Sequence[Account], month: date) -> list[IdleAccount]:
    pks = [each.pk for each in accounts]
    costs: dict[int, list[Amount]] = {}
    sums = cost_lines(month).filter(account__in=pks).order_by().values("account", "statement__currency")
    for row in sums.annotate(low=Sum("amount_minor")):
        costs.setdefault(row["account"], []).append(Amount(row["low"], row["statement__currency"]))
    periods: dict[int, list[tuple[date, date]]] = {}
    rows = UsagePeriod.objects.filter(account__in=pks, month=month).order_by("start_on")
    for pk, start, end in rows.values_list("account", "start_on", "end_on"):
        periods.setdefault(pk, []).append((start, end))
    spans: dict[int, list[SpanRow]] = {}
    states = AccountSpan.objects.filter(account__in=pks, kind=AccountSpan.Kind.STATE).order_by("account", "pk")
    for span in map(SpanRow._make, states.values_list(*SPAN_COLUMNS)):
        spans.setdefault(span.account, []).append(span)
    zones = _zones(accounts)
    found = []
    for account in accounts:
        of_account = periods.get(account.pk, [(month, last_day(month))])
        days = _halted_days(spans.get(account.pk, []), zones[account.connection_id], of_account)
        whole = sum((end - start).days + 1 for start, end in of_account)
        reason = "suspended" if days else "silent"
        found.append(IdleAccount(account, reason, days or whole, whole, costs.get(account.pk, [])))
    return found


def _zones(accounts: Sequence[Account]) -> dict[int, str]:
    named = dict(ConnectionBilling.objects.values_list("connection", "zone"))
    return {each.connection_id: named.get(each.connection_id, "UTC") for each in accounts}


def _halted_days(spans: Sequence[SpanRow], zone: str, periods: Sequence[tuple[date, date]]) -> int:
    """Return the days of the periods on which the account was suspended."""
    changes = changes_of(spans, billing_zone(zone))
    days = 0
    for n, change in enumerate(changes):
        until = changes[n + 1].on - DAY if n + 1 < len(changes) else date.max
        if change.value in HALTED:
            days += sum(max(0, (min(until, end) - max(change.on, start)).days + 1) for start, end in periods)
    return days
