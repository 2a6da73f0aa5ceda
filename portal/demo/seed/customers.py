"""Team, connections, customers and accounts of a seeded portal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from customers.models import Account, Connection, Customer
from portal.access.models import User
from portal.demo.seed.plan import (
    CONNECTIONS,
    POOLED,
    Plan,
    connection_of,
    package,
    provider_id,
    public_id,
    used,
)
from portal.demo.seed.rows import Rows

TEAM = 12
# Operations of each account: its create and two changes.
OPERATIONS = 3
_ROLES = ("admin", "customer_success", "customer_success", "finance", "customer_success", "auditor")
_NAMES = ("Alder", "Birch", "Cedar", "Delta", "Ember", "Fjord", "Grove", "Haven")
_URLS = ("https://api.sendgrid.com", "https://api.eu.sendgrid.com", "https://api.ahasend.com")
_SOURCES = ("credits", "overview_json", "pooled")
# The AhaSend account whose sub accounts are ours.
PARENT = "c0a4f6f2-8f0e-4a3b-8a58-6f6b3d1f2e90"


def newest_at(plan: Plan) -> datetime:
    """Return the time of the newest rows: late in the open month."""
    return datetime(plan.last.year, plan.last.month, 20, 0, 31, tzinfo=UTC)


def stored_time(at: datetime) -> str:
    """Return a time in UTC as both databases read it."""
    return f"{at:%Y-%m-%d %H:%M:%S}"


def team_member(number: int) -> tuple[str, str]:
    """Return name and role of a team member."""
    role = _ROLES[number % len(_ROLES)]
    return f"Person {number}, {role}", role


# Who may request operations.
_REQUESTERS = [number for number in range(TEAM) if team_member(number)[1] in ("admin", "customer_success")]


def requester_of(account: int) -> int:
    """Return the number of the team member who requests the operations of an account: one who may."""
    return _REQUESTERS[account % len(_REQUESTERS)]


def company_of(number: int) -> str:
    return f"{_NAMES[number % len(_NAMES)]} {chr(65 + number * 7 % 26)} Company {number}"


def store_customers(rows: Rows, plan: Plan) -> None:
    people, first_connection, first_customer = (rows.first_key(each) for each in (User, Connection, Customer))
    rows.store(
        User,
        ("id", "public_id", "email", "name", "role", "password", "timezone"),
        (
            (people + n, public_id("person", n), f"person{n}@reseller.example", *team_member(n), "!", "UTC")
            for n in range(TEAM)
        ),
    )
    rows.store(
        Connection,
        ("id", "name", "public_id", "kind", "usage_source", "base_url", "account_id", "paused", "paused_reason"),
        (
            (
                first_connection + place,
                name,
                public_id("connection", place),
                "ahasend" if place == POOLED else "sendgrid",
                _SOURCES[place],
                _URLS[place],
                PARENT if place == POOLED else "",
                Connection.Paused.BY_PERSON,  # it has no key, and the address of the provider itself
                "Seeded. Set an API key, then resume.",
            )
            for place, name in enumerate(CONNECTIONS)
        ),
    )
    columns = ("id", "public_id", "company_name", "email", "external_reference", "owner_id", "may_be_bare")
    rows.store(Customer, (*columns, "created_at", "changed_at"), _customers(plan, first_customer, people))
    rows.store(Account, _ACCOUNT, _accounts(plan, rows.first_key(Account), first_connection, first_customer))


def _customers(plan: Plan, first: int, people: int) -> Iterator[tuple[Any, ...]]:
    now = newest_at(plan)
    for n in range(1, plan.customers + 1):
        yield (
            first + n - 1,
            public_id("customer", n),
            company_of(n),
            f"ops{n}@company{n}.example",
            "" if n % 20 == 0 else f"CRM-{n}",
            people + n % TEAM if n % 3 else None,
            n > plan.customers - plan.bare,
            stored_time(now - timedelta(days=900)),
            stored_time(now - timedelta(minutes=7 * (n % 90_000))),
        )


_ACCOUNT = (
    "id", "public_id", "customer_id", "connection_id", "provider_kind", "provider_id", "email", "state", "package",
    "settings", "usage_start_on", "usage_end_on", "usage_used", "usage_allowed", "usage_overage", "usage_read_at",
    "usage_missing_since", "state_read_at", "last_operation", "created_at", "changed_at", "changed_what",
)  # fmt: skip


def _accounts(plan: Plan, first: int, first_connection: int, first_customer: int) -> Iterator[tuple[Any, ...]]:
    now, read_at = newest_at(plan), datetime.now(UTC) - timedelta(hours=6)
    start, end = plan.last, plan.last + timedelta(days=27)
    created = stored_time(now - timedelta(days=5 * 365))
    states = {0: "stopped_by_us", 1: "stopped_by_provider"}
    cap = json.dumps({"monthly_cap": 200_000})
    for n in range(1, plan.accounts + 1):
        place = connection_of(n)
        name, quota = package(n)
        yield (
            first + n - 1,
            public_id("account", n),
            first_customer + plan.customer_of(n) - 1,
            first_connection + place,
            "ahasend" if place == POOLED else "sendgrid",
            provider_id(n),
            f"a{n}@company.example",
            states.get(n % 50, "active"),
            "" if place == POOLED else name,
            cap if place == POOLED else None,
            f"{start}",
            f"{end}",
            used(n, plan.months),
            quota,
            0,
            # One in a hundred was not read for days.
            stored_time(read_at - timedelta(days=3) if n % 97 == 0 else read_at),
            stored_time(read_at - timedelta(days=2)) if n % 97 == 0 else None,
            stored_time(read_at),
            OPERATIONS,
            created,
            stored_time(now - timedelta(minutes=3 * (n % 200_000))),
            "Usage read",
        )
