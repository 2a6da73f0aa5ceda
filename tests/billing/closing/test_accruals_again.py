"""Accrued revenue of generated accounts, calculated a second time: day by day, without code of the product."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from itertools import groupby
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.urls import reverse

from billing.models import BillingTerms, ConnectionBilling
from customers.models import Connection
from tests.billing.closing.accounting_reader import rows_of
from tests.billing.pricing.pages import client_of
from tests.billing.pricing.statements.agreed import (
    BASE,
    NOW,
    OVERAGE,
    account,
    contract,
    figure,
    moment,
    offerings,
    price_list,
    reading,
    state,
)
from tests.support.factories import PACKAGE, ConnectionFactory

pytestmark = pytest.mark.django_db

LARGE = "postkeeper.ei.pro-300k.v1"
FEES = {PACKAGE: Fraction("89.95"), LARGE: Fraction("249.33")}
INCLUDED = {PACKAGE: 100_000, LARGE: 300_000}
ZONES = ("UTC", "Europe/Berlin", "America/Los_Angeles", "Pacific/Auckland")
LAST = date(2026, 11, 30)
DAY = timedelta(days=1)


@dataclass(slots=True)
class Generated:
    zone: str
    start: date
    percent: Fraction
    full: bool
    packages: list[tuple[datetime, str]]
    deleted: datetime | None
    readings: list[tuple[datetime, int]] = field(default_factory=list)

    @property
    def end(self) -> date:
        return self.start.replace(month=12) - DAY

    @property
    def cut_off(self) -> datetime:
        return datetime.combine(LAST + DAY, time(), tzinfo=ZoneInfo(self.zone))

    def day(self, at: datetime) -> date:
        return at.astimezone(ZoneInfo(self.zone)).date()


def half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def discounted(gross: int, one: Generated) -> int:
    return gross - half_up(Fraction(gross) * one.percent / 100)


def expected(one: Generated) -> list[tuple[str, str]]:
    """Return the amounts that are accrued, with the first letters of their lines."""
    deleted = one.deleted if one.deleted and one.deleted < one.cut_off else None
    gone = one.day(deleted) if deleted else one.end
    if gone < one.start:
        return []
    every = [one.start + n * DAY for n in range((one.end - one.start).days + 1)]
    had = {}
    for day in every:
        at = min(day, gone)
        known = [name for moment, name in one.packages if moment < one.cut_off and one.day(moment) <= at]
        had[day] = known[-1]
    charged = every if one.full else [day for day in every if day <= gone]
    found = []
    for name, days in groupby(charged, key=had.__getitem__):
        run = list(days)
        rated = discounted(half_up(FEES[name] * 100 * len(run) / len(every)), one)
        elapsed = sum(1 for day in run if day <= LAST)
        found.append(("Base", half_up(Fraction(rated * elapsed, len(run)))))
    used = [count for at, count in sorted(one.readings) if at < one.cut_off]
    over = max(0, used[-1] - INCLUDED[had[min(gone, one.end)]]) if used else 0
    found.append(("Over", discounted(half_up(Fraction(over * 85, 1000)), one)))
    return sorted((kind, f"{minor / 100:.2f}") for kind, minor in found if minor)


def generated(random: Random) -> Generated:
    start = date(2026, 11, random.randint(2, 30))
    packages = [(moment(date(2024, 5, 1)), random.choice((PACKAGE, LARGE)))]
    for _n in range(random.randint(0, 2)):
        at = moment(start + random.randint(0, 29) * DAY)
        if at > packages[-1][0]:
            packages.append((at, LARGE if packages[-1][1] == PACKAGE else PACKAGE))
    deleted = moment(start + random.randint(0, 29) * DAY, 13) if random.random() < 0.3 else None
    percent = Fraction(random.choice(("0", "0", "12.5", "33.33")))
    one = Generated(random.choice(ZONES), start, percent, random.random() < 0.5, packages, deleted)
    for _n in range(random.randint(1, 3)):
        # Around the cut-off in each of the zones, and on any day of the period.
        around = datetime(2026, 12, 1, tzinfo=UTC) + timedelta(hours=random.choice((-13, -11, -2, 0, 3, 7, 9)))
        on_any = datetime.combine(start, time(23), tzinfo=UTC) + random.randint(0, 28) * DAY
        at = random.choice((around, on_any))
        if one.day(at) >= start and at not in dict(one.readings):
            one.readings.append((at, random.randint(0, 400_000)))
    if not one.readings:
        one.readings.append((moment(one.end, 23), 5))
    return one


def store(one: Generated, connection: Connection) -> str:
    kept = account(connection=connection, spans=False)
    for at, name in one.packages:
        source = {"source": "stored"} if at.year == 2024 else {}
        offerings(kept, at.date(), (name, 1), seen=at, **source)
    state(kept, date(2024, 5, 1), "active", source="stored")
    if one.deleted:
        state(kept, one.deleted.date(), "deleted", seen=one.deleted)
    period = figure(kept, None, start=one.start, end=one.end)
    for at, used in one.readings:
        reading(kept, period, at, used)
    close = {"on_close": "full" if one.full else "prorated"}
    bases: list[dict[str, Any]] = [{**BASE, **close}, {**BASE, **close, "offering": LARGE, "amount": "249.33"}]
    over = [OVERAGE, {**OVERAGE, "offering": LARGE, "included": 300_000}]
    prices = price_list(*bases, *over, name=f"List {kept.pk}")
    ten = {"percent": f"{float(one.percent):g}", "kinds": ["base", "overage"], "valid_from": "2020-01-01"}
    contract(kept.customer, prices, **({"discounts": [ten]} if one.percent else {}))
    return str(kept.provider_id)


@pytest.mark.parametrize("seed", range(3))
def test_accruals_equal_a_second_calculation(seed: int, time_machine: Any) -> None:
    time_machine.move_to(NOW, tick=False)
    BillingTerms.objects.create(pk=1, default_account_code="8400", accrued_account_code="1590")
    random = Random(seed)
    connections = {zone: ConnectionFactory(name=zone) for zone in ZONES}
    for zone, each in connections.items():
        ConnectionBilling.objects.create(connection=each, zone=zone)
    ones = [generated(random) for _n in range(40)]
    by_account = {store(one, connections[one.zone]): one for one in ones}
    answer = client_of().get(reverse("billing:month-accruals-export", args=["2026-11"]))
    rows = rows_of(b"".join(answer))
    for name, one in by_account.items():
        found = [row for row in rows if row["account"] == name]
        there = sorted((row["text"][:4], row["amount"]) for row in found if row["entry"] == "accrual")
        back = sorted((row["text"][:4], row["amount"]) for row in found if row["entry"] == "reversal")
        assert there == expected(one), one
        assert back == there
    assert len({row["row id"] for row in rows}) == len(rows)
