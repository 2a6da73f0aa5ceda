"""AhaSend's usage, operation 3: one pooled invoice for the parent, its sub accounts and removed ones.

Counts are exact sums. Costs are whole cents: every account's share is rounded down, and the remainder is the parent's,
so that they add up as well.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from portal.sandbox.admin.overrides import overridden
from portal.sandbox.admin.own_switches import switches_of
from portal.sandbox.admin.request import Refused
from portal.sandbox.ahasend import store as rows
from portal.sandbox.ahasend.fields import window
from portal.sandbox.clock import DAY, day_of, iso, midnight
from portal.sandbox.messages import Call, Reply, json_reply
from portal.sandbox.sendgrid import accounts as sendgrid_accounts
from portal.sandbox.sendgrid.resets import CALENDAR_MONTHS, Period, period_at
from portal.sandbox.sendgrid.statistics import requests_by_day
from portal.sandbox.sendgrid.usage import History, credits_until
from portal.sandbox.store import Store

NOTE = "Sandbox note: shares of one pooled invoice, in proportion to volume; not list prices."
HOUR = 3_600
GROUPS = ("hour", "day", "week", "month")  # all answered by day


@dataclass(frozen=True, slots=True)
class Bill:
    """One period of one parent. `counts` covers every account, including removed ones."""

    period: Period
    parent: sqlite3.Row
    children: list[sqlite3.Row]
    removed: list[sqlite3.Row]
    counts: Mapping[str, int]
    price: Decimal
    currency: str

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def total_cents(self) -> int:
        return int((self.total * self.price / 10).quantize(Decimal(1), ROUND_HALF_UP))  # cents, price per thousand

    def cents(self, *accounts: sqlite3.Row) -> int:
        return self.total_cents * self.count(*accounts) // self.total if self.total else 0

    def count(self, *accounts: sqlite3.Row) -> int:
        return sum(self.counts[account["id"]] for account in accounts)

    @property
    def parent_cents(self) -> int:
        return self.total_cents - sum(self.cents(child) for child in self.children) - self.cents(*self.removed)


def bill(store: Store, parent_id: str, period: Period, now: float, *, lag_seconds: float = 0) -> Bill:
    """Return the bill of a period as of now, or as of its last second, without mail of the last `lag_seconds`."""
    then = min(now, period.resets_at - 1)
    parent = rows.account(store.db, parent_id)
    known = [row for row in rows.children(store.db, parent_id) if row["created_at"] <= then]
    removed = [row for row in known if _gone(row, then)]
    counts = {row["id"]: _count(store.db, row, period, now - lag_seconds) for row in (parent, *known)}
    own = switches_of(store, parent_id)
    currency = rows.currency_at(store.db, parent_id, then) or own["aha_currency"]
    price = Decimal(str(own["aha_price_per_thousand"]))
    return Bill(period, parent, [row for row in known if row not in removed], removed, counts, price, currency)


def read(call: Call) -> Reply:
    own = switches_of(call.store, call.organisation)
    period = period_at(CALENDAR_MONTHS, call.now - own["aha_ended_period_hours"] * HOUR)
    known = bill(call.store, call.organisation, period, call.now, lag_seconds=own["aha_usage_lag_seconds"])
    return json_reply(200, overridden(call.db, call.organisation, "aha-usage", shown(known)))


def statistics(call: Call) -> Reply:
    """Return statistics of the account's own mail by day of the current period: everything is delivered here."""
    since, until = window(call)
    if call.request.query.get("group_by", "day") not in GROUPS:
        raise Refused(400, f"group_by must be one of {', '.join(GROUPS)}")
    period = period_at(CALENDAR_MONTHS, call.now)
    history = sendgrid_accounts.history_by_id(call.db, call.organisation, CALENDAR_MONTHS)
    used = requests_by_day(_shaped(history), "UTC", period.start, day_of(call.now), call.now)
    for at, count, _ in history.added:
        if period.starts_at <= at < period.resets_at and at <= call.now:
            used[day_of(at)] = used.get(day_of(at), 0) + count
    days = [_day(day, count) for day, count in sorted(used.items()) if since <= midnight(day) < until]
    return json_reply(200, {"object": "list", "data": days})


def _day(day: date, count: int) -> dict[str, Any]:
    start = midnight(day)
    others = dict.fromkeys(
        ("deferred_count", "bounced_count", "failed_count", "suppressed_count", "opened_count", "clicked_count"), 0
    )
    sent = {"reception_count": count, "delivered_count": count}
    return {"from_timestamp": iso(start), "to_timestamp": iso(start + DAY), **sent, **others}


def shown(of: Bill) -> dict[str, Any]:
    return {
        "billing_period": {"start": iso(of.period.starts_at), "end": iso(of.period.resets_at)},
        "currency": of.currency,
        "allocation_method": "proportional",
        "allocation_note": NOTE,
        "parent": {"account_id": of.parent["id"], **_bucket(of.count(of.parent), of.parent_cents)},
        "sub_accounts": [
            {"account_id": row["id"], "name": row["name"], **_bucket(of.count(row), of.cents(row))}
            for row in of.children
        ],
        "removed_sub_accounts": _bucket(of.count(*of.removed), of.cents(*of.removed)),
        "total": _bucket(of.total, of.total_cents),
    }


def _bucket(count: int, cents: int) -> dict[str, Any]:
    # Dividing whole cents gives the shortest number with at most two decimals: exact for parsers of the text.
    return {"reception_count": count, "allocated_cost": cents / 100}


def _count(db: sqlite3.Connection, row: sqlite3.Row, period: Period, now: float) -> int:
    history = sendgrid_accounts.history_by_id(db, row["id"], CALENDAR_MONTHS)
    added = [
        each.requests for each in history.added if period.starts_at <= each.at < period.resets_at and each.at <= now
    ]
    return credits_until(_shaped(history), period, now) + sum(added)


def _shaped(history: History) -> History:
    """Return the history without added usage. It was accepted, even if the account changed in the same second, so it is
    counted separately."""
    return replace(history, added=())


def _gone(row: sqlite3.Row, now: float) -> bool:
    return row["deleted_at"] is not None and row["deleted_at"] <= now
