"""One rater of a month at a time: a lock for some customers, or for one connection, until the transaction ends.

PostgreSQL has an advisory lock of the transaction for it. A row can't be the lock, because a draft that was never rated
has none, and rows of customers are locked by those who change their accounts. SQLite lets one writer in anyway.
"""

from __future__ import annotations

from datetime import date

from django.db import connection as database

from billing.models import Side

# Customers that are rated together, by key: also the unit of the lock, so that a page waits for few of them.
TOGETHER = 128
_LOCKS = 0x5354  # the first of what names a lock; others are those of customers/connections/worker_shares.py
_SIDES = {Side.SELL: 0, Side.COST: 1}


def lock_group(customer: int) -> int:
    """Return the number of the group of customers that is rated, and locked, together."""
    return customer // TOGETHER


def lock_month(side: Side, month: date, number: int) -> None:
    """Wait for whoever rates the same group of customers (sell) or the same connection (cost) in this month. Needs a
    transaction."""
    if database.vendor != "postgresql":
        return
    key = _LOCKS << 48 | (month.year * 12 + month.month) << 33 | _SIDES[side] << 32 | (number & 0xFFFFFFFF)
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [key])
