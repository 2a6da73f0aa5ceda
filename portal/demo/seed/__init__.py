"""A believable portal of many accounts, for demonstrations and measurements: `manage.py seed`.

Rows are made in Python and stored by COPY on PostgreSQL and by `executemany` on SQLite, in order of time, as the portal
writes them: a month's rows lie side by side. The same numbers give the same rows. What Python makes:

customers.py    team, connections, customers of skewed sizes, accounts of both providers
usage.py        readings, figures of every status with versions, roll-ups, month totals, the ledger
operations.py   operations with steps and attempts, and the audit log
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from time import monotonic

from django.db import connection, transaction

from customers.models import Connection, Customer, Operation
from portal.demo.seed.customers import store_customers
from portal.demo.seed.operations import store_operations
from portal.demo.seed.plan import Plan
from portal.demo.seed.rows import Rows
from portal.demo.seed.usage import store_figures


class NotEmpty(Exception):
    """The database already has connections, customers or operations. Nothing was stored."""


def seed(*, accounts: int, months: int, last: date, tell: Callable[[str], object] = print) -> None:
    """Fill an empty database. `last`: the first day of the month whose billing periods are open.

    Raises `NotEmpty`.
    """
    if any(model._default_manager.exists() for model in (Connection, Customer, Operation)):
        raise NotEmpty
    plan = Plan(accounts=accounts, months=months, last=last)
    begun = monotonic()
    with transaction.atomic(), Rows(tell) as rows:
        store_customers(rows, plan)
        store_figures(rows, plan)
        store_operations(rows, plan)
    if not connection.in_atomic_block:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SET statement_timeout = 0")
                cursor.execute("VACUUM ANALYZE")
                cursor.execute("RESET statement_timeout")
            else:
                cursor.execute("ANALYZE")
    tell(f"Seeded in {monotonic() - begun:.0f} s.")
