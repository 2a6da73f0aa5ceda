"""Months of billing that are rated and closed one after the other, with decisions, late figures, and price changes.

The portal reads, derives, rates, and adjusts as it does anywhere. A person decides what the portal can't know when a
month is closed, and corrects it a month later from the provider's truth. In the end every figure is exact, and what
each month was billed, with all of its adjustments, has to be what the independent rater makes of the truth.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import chain
from typing import Any

from django.db import transaction

from billing.closing.runs.statements import open_drafts
from billing.models import (
    Anomaly,
    StatementCase,
    StatementLine,
    Status,
    UsagePeriod,
)
from billing.pricing.statements.drafts import rate_month
from billing.pricing.statements.frozen import FrozenCases
from billing.usage.decisions import Verdict, decide_anomalies, decide_figure, figure_verdicts_of, verdicts_of
from billing.usage.periods import month_after
from customers.models import Account, Customer
from customers.models.account import AccountState
from portal.refusals import Refusal
from tests.billing.pricing.statements.agreed import contract, price_list, publish
from tests.figures.finance import Finance, true_end, untrue_accounts
from tests.figures.judge import true_periods
from tests.figures.scenario import DAY, PACIFIC, PACKAGES, POOL, Member, Scenario
from tests.figures.world import midnight, new_child, offerings_of
from tests.rating.independent import rate_case

ANCHORS = (1, 3, 28, 29, 30, 31)
UNDECIDED = (Status.INTERVAL, Status.MISSING, Status.DISPUTED)
INCLUDED = {"essentials-50k": 4_000, "pro-100k": 9_000, "pro-300k": 30_000}
MODES: dict[str, dict[str, Any]] = {
    "essentials-50k": {},
    "pro-100k": {"mode": "volume"},
    "pro-300k": {"mode": "block", "block_size": 10_000},
}
GRACE = timedelta(days=3, hours=13)
Json = dict[str, Any]


def _sell_prices(step: int) -> list[Json]:
    """Prices of the three packages; each step is another price."""
    found: list[Json] = []
    for n, package in enumerate(PACKAGES):
        name = offerings_of(package)[0]["name"]
        tiers = [{"up_to": 20_000, "rate": f"0.{80 + step}5"}, {"up_to": None, "rate": f"0.{40 + step}5"}]
        found.append({"offering": name, "component": "base", "amount": f"{49 + 40 * n + step}.95"})
        found.append(
            {"offering": name, "component": "overage", "included": INCLUDED[package], "per": 1000, "tiers": tiers}
            | MODES[package]
            | {"when_changed": ("last", "highest", "prorated")[n]}
        )
    return found


def _cost_prices() -> list[Json]:
    """Prices that SendGrid charges us: never changed."""
    found: list[Json] = []
    for n, package in enumerate(PACKAGES):
        name = offerings_of(package)[0]["name"]
        found.append({"offering": name, "component": "base", "amount": f"{30 + 30 * n}.00"})
        found.append(
            {"offering": name, "component": "overage", "included": INCLUDED[package], "per": 1000}
            | {"tiers": [{"up_to": None, "rate": "0.35"}], "when_changed": "last"}
        )
    return found


def _pool_prices(step: int) -> list[Json]:
    overage = {"included": 2_000, "per": 1000, "tiers": [{"up_to": None, "rate": f"1.{step:02d}"}]}
    return [
        {"offering": "", "component": "base", "amount": f"{5 + step}.00"},
        {"offering": "", "component": "overage", **overage},
    ]


@dataclass
class BilledScenario(Scenario):
    """A world whose customers have contracts. What the independent rater needs is noted as it happens."""

    packages: dict[int, list[tuple[date, str]]] = field(default_factory=lambda: defaultdict(list))
    published: list[tuple[date, int]] = field(default_factory=list)
    terms: dict[int, Json] = field(default_factory=dict)
    closed: list[date] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.finance = Finance(self.world, _cost_prices())

    # --- The world ------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        world = self.world
        world.at(midnight(self.size.begin))
        for name in ("rate_per_minute", "aha_rate"):
            world.sandbox.admin.switch(name, 10**9)
        for name, (source, zone) in self.sendgrid.items():
            world.add_sendgrid(name, source=source, reset_zone=zone)
        world.add_ahasend(POOL, aha_usage_lag_seconds=0, aha_ended_period_hours=1)
        self.lists = [price_list(*_sell_prices(0), name="SendGrid"), self._pool_list()]
        self.published.append((date(2020, 1, 1), 0))
        anchors = ANCHORS[-self.size.anchors :]
        for n in range(self.size.accounts):
            self._add_account(tuple(self.sendgrid)[n % 2], anchors[n % len(anchors)], late=False)
        for n in range(self.size.children):
            self._add_child(n)
        for n, member in enumerate(self.members):
            if member.package:
                self.packages[member.account.pk].append((date(2020, 1, 1), member.package))
            if n % 3 == 1:  # of one customer, also across both providers
                Account.objects.filter(pk=member.account.pk).update(customer=self.members[n - 1].account.customer)
        for n, customer in enumerate(Customer.objects.filter(accounts__isnull=False).distinct().order_by("pk")):
            self.terms[customer.pk] = self._terms(n)
            contract(customer, *self.lists, **self.terms[customer.pk])
        self.finance.agree_cost(*self.sendgrid)

    def _pool_list(self) -> Any:
        return price_list(*_pool_prices(0), name="AhaSend", kind="ahasend")

    def _terms(self, n: int) -> Json:
        found: Json = {}
        if n % 2:
            found["commit"] = {"amount": str(150 + 50 * n)}
        if n % 3 == 1:
            found["discounts"] = [{"valid_from": "2020-01-01", "percent": "12.5", "kinds": ["overage", "base"]}]
        return found

    def _add_child(self, number: int) -> None:
        per_day = self.random.choice([0, 90, 700])
        provider_id = new_child(self.world, POOL, number, per_day=per_day, cap=0)
        self.members.append(Member(self.world.link(POOL, provider_id, made_at=self.world.now), POOL))

    def _plan_events(self, member: Member) -> None:
        for per_month, act in ((0.12, self._change_package), (0.06, self._suspend), (0.08, self._restart)):
            for month in range(self.size.months):
                if self.random.random() < per_month:
                    day = month_after(self.size.begin, month) + self.random.randrange(2, 26) * DAY
                    self._plan(midnight(day) + timedelta(hours=14), lambda act=act: act(member))

    def _change_package(self, member: Member) -> None:
        before = member.package
        super()._change_package(member)
        member.account.refresh_from_db()
        if member.package != before and member.account.state == AccountState.ACTIVE:
            self.packages[member.account.pk].append((self.world.now.date(), member.package))

    def _plan_beats(self) -> None:
        super()._plan_beats()
        for step in range(self.size.months):
            month = month_after(self.size.begin, step)
            closing = midnight(month_after(month)) + GRACE
            self._plan(closing, lambda month=month, step=step: self._close(month, step))

    def _beats(self, day: date) -> Iterator[tuple[datetime, Callable[[date], bool]]]:
        """Fewer moments than where figures are judged: what isn't known by them is decided here."""
        start, pacific = midnight(day), midnight(day, PACIFIC)
        nightly = self.random.random() < self.size.nightly
        yield start + timedelta(seconds=70), self._ends
        yield start + timedelta(minutes=31), lambda day: nightly or self._ends(day)
        yield start + timedelta(hours=4), self._read_states
        yield start + timedelta(hours=12, minutes=3), self._is_processed
        for midnights in (start + DAY, pacific):
            yield midnights - timedelta(minutes=5), self._ends
        yield pacific + timedelta(minutes=2), self._ends

    def _read_states(self, day: date) -> bool:
        return super()._read_states(day) and self._ends(day)

    # --- Closing ----------------------------------------------------------------------------------------------------

    def _close(self, month: date, step: int) -> None:
        """Correct what was decided before, decide what is open, close, and change prices from the next month on."""
        self._correct(month)
        self._decide(month)
        truth = true_periods(self)
        self._close_again(truth)
        for name in self.sendgrid:
            members = [each for each in self.members if each.connection == name]
            self.finance.enter_invoice(name, month, [self._true_account(each, month, truth) for each in members])
        self.finance.close(month, untrue_accounts(month, truth))
        self.closed.append(month)
        if step % 2:
            since = month_after(month, 2)
            publish(self.lists[0], *_sell_prices(step), since=since)
            publish(self.lists[1], *_pool_prices(step), since=since)
            self.published.append((since, step))
            self._note("prices changed")

    def _close_again(self, truth: Any) -> None:
        """Close what was held back in the months before."""
        self.finance.close_again(self.closed, {month: untrue_accounts(month, truth) for month in self.closed})

    def _decide(self, month: date) -> None:
        """Decide provisionally: the usage known so far, or the base fee alone. Some figures are left open."""
        for period in UsagePeriod.objects.filter(month=month, status__in=UNDECIDED):
            offered = figure_verdicts_of(period, now=self.world.now)
            verdict = Verdict.AS_KNOWN if Verdict.AS_KNOWN in offered else Verdict.BASE_ONLY
            if verdict in offered and self.random.random() < 0.8:
                self._decide_figure(period, verdict)
                self._note(f"decided {verdict}")

    def _correct(self, before: date) -> None:
        """Enter the provider's truth for figures of earlier months that a person decided or nobody did."""
        truth = true_periods(self)
        for period in UsagePeriod.objects.filter(month__lt=before).select_related("account").order_by("pk"):
            true = truth.get((period.account.provider_id or "", period.start_on))
            is_decided = period.reason in ("as_known", "base_only", "quantity")
            if true is None or (period.used == true["used"] and period.status not in UNDECIDED):
                continue
            if period.status == Status.DISPUTED:
                self._decide_anomalies(period, int(true["used"]))
            elif is_decided or period.status in UNDECIDED:
                self._decide_figure(period, Verdict.QUANTITY, int(true["used"]))
                self._note("corrected")

    def _decide_figure(self, period: UsagePeriod, verdict: str, quantity: int | None = None) -> None:
        try:
            decide_figure(
                self.world.command(), period=period, seen_version=period.version, verdict=verdict, quantity=quantity
            )
        except Refusal as refusal:
            self._note(f"refused: {refusal}"[:60])

    def _decide_anomalies(self, period: UsagePeriod, used: int) -> None:
        """Decide the anomalies of a figure by the verdict that makes it true, if there is one."""
        for anomaly in Anomaly.objects.filter(period=period, closed_at=None):
            for verdict in verdicts_of([anomaly]):
                with transaction.atomic():
                    decide_anomalies(self.world.command(), anomalies=[anomaly], verdict=verdict)
                    period.refresh_from_db()
                    if period.used == used or Anomaly.objects.filter(period=period, closed_at=None).exists():
                        self._note(f"anomaly: {verdict}")
                        break
                    transaction.set_rollback(True)

    def finish(self) -> None:
        """Make every figure of closed months true, close what was held back, and rate the open month."""
        following = month_after(self.closed[-1])
        self._correct(following)
        self._close_again(true_periods(self))
        rate_month(following, now=self.world.now)

    # --- What it has to be --------------------------------------------------------------------------------------------

    def wrong(self) -> Iterator[str]:
        """Yield every difference between what was billed and what the independent rater says."""
        yield from self.finance.problems
        yield from _frozen_differences()
        for month in self.closed:
            yield from (f"{draft} is still open" for draft in open_drafts(month))
        truth = true_periods(self)
        for customer in self.terms:
            for month in self.closed:
                billed, expected = _billed(customer, month), _expected(rate_case(self.case_of(customer, month, truth)))
                for key in sorted(billed.keys() | expected.keys()):
                    if billed.get(key, (0, 0)) != expected.get(key, (0, 0)):
                        yield f"{customer} {month:%Y-%m} {key}: billed {billed.get(key)}, not {expected.get(key)}"

    def case_of(self, customer: int, month: date, truth: Any) -> Json:
        """Return the rating case of a customer's month as the simulator knows it."""
        prices = (("one", "sendgrid", _sell_prices), ("two", "ahasend", _pool_prices))
        members = [each for each in self.members if each.account.pk in _accounts_of(customer)]
        return {
            "side": "sell", "currency": "EUR", "month": f"{month:%Y-%m}", "customer": str(customer),
            "price_lists": [
                {
                    "id": name, "provider": kind,
                    "versions": [
                        {"id": f"{name}{since}", "valid_from": f"{since}", "prices": made(step)}
                        for since, step in self.published
                    ],
                }
                for name, kind, made in prices
            ],
            "contracts": [
                {"id": "K", "valid_from": "2020-01-01", "price_lists": ["one", "two"], **self.terms[customer]}
            ],
            "accounts": [self._true_account(each, month, truth) for each in members],
        }  # fmt: skip

    def _true_account(self, member: Member, month: date, truth: Any) -> Json:
        periods = []
        for (provider_id, start), true in sorted(truth.items()):
            end = true_end(true)
            if provider_id == member.provider_id and end.replace(day=1) == month:
                periods.append({"start": f"{start}", "end": f"{end}", "used": int(true["used"])})
        found: Json = {
            "id": str(member.account.pk), "provider": "sendgrid" if member.package else "ahasend", "periods": periods
        }  # fmt: skip
        if member.package:
            found["offerings"] = [
                {"from": f"{on}", "items": [{"name": offerings_of(package)[0]["name"]}]}
                for on, package in self.packages[member.account.pk]
            ]
        return found


def _accounts_of(customer: int) -> set[int]:
    return set(Account.objects.filter(customer=customer).values_list("pk", flat=True))


Net = dict[str, tuple[int, int]]


def _sums(entries: Iterable[tuple[str, int, int]]) -> Net:
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for key, quantity, minor in entries:
        found[key][0] += quantity
        found[key][1] += minor
    return {key: (quantity, minor) for key, (quantity, minor) in found.items() if quantity or minor}


def _billed(customer: int, month: date) -> Net:
    """Return quantity and amount by line: of the closed statement, and of what adjusted it, in any month."""
    lines = StatementLine.objects.filter(statement__customer=customer, statement__side="sell")
    own = lines.filter(statement__month=month, statement__state="closed").exclude(kind="adjustment")
    later = [each for each in lines.filter(kind="adjustment") if each.because["month"] == f"{month:%Y-%m}"]
    return _sums(
        chain(
            ((each.key, each.quantity, each.amount_minor) for each in own),
            ((each.because["key"], each.quantity, each.amount_minor) for each in later),
        )
    )


def _expected(result: Json) -> Net:
    return _sums(
        (
            f"{line['account'] or ''}/{line['kind']}/{line['offering']}/{line['service']['start']}/{line['tier']}",
            line["quantity"],
            int(line["amount"].replace(".", "")),
        )
        for line in result["lines"]
    )


def _frozen_differences() -> Iterator[str]:
    """Yield closed statements whose frozen case gives another total than their rated lines."""
    frozen = FrozenCases()
    for each in StatementCase.objects.select_related("statement"):
        lines = list(each.statement.lines.all())
        if each.statement.total_minor != sum(line.amount_minor for line in lines):
            yield f"{each}: its total isn't the sum of its lines"
        rated = [line for line in lines if line.kind not in ("adjustment", "opening")]
        billed = sum(line.amount_minor for line in rated)
        (case,) = frozen.complete([each.case])
        expected = rate_case(case)["total"]["amount"]
        if billed != int(expected.replace(".", "")):
            yield f"{each}: {billed}, the independent rater says {expected}"
