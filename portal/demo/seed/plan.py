"""Accounts of a seeded portal, each computed from its number alone.

`portal/sandbox/many.py` computes the same IDs; a test compares them.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import date, timedelta

# Of the open month this many readings of each account; of the others one.
READINGS = 5
# Ledger batches of a day: 50 accounts each.
BATCHES = 2_000
# Every seventh account is at the provider with a pooled report.
POOLED_EVERY = 7
POOLED = 2
CONNECTIONS = ("SendGrid", "SendGrid EU", "AhaSend")
PACKAGES = (
    ("postkeeper.ei.essentials-50k.v1", 50_000),
    ("postkeeper.ei.essentials-100k.v1", 100_000),
    ("postkeeper.ei.pro-100k.v1", 100_000),
    ("postkeeper.ei.pro-300k.v1", 300_000),
)
_BITS = 0xFFFFFFFF


@dataclass(frozen=True)
class Plan:
    accounts: int
    months: int
    last: date

    @property
    def customers(self) -> int:
        return max(1, self.accounts * 6 // 10)

    @property
    def bare(self) -> int:
        """Customers without an account: the last ones."""
        return self.customers // 200

    def first_of(self, month: int) -> date:
        """Return the first day of a month; 0 is the first month, and -1 the one before it."""
        n = self.last.year * 12 + self.last.month - 1 - (self.months - 1 - month)
        return date(n // 12, n % 12 + 1, 1)

    def day_of(self, batch_day: int) -> date:
        """Return the day of the ledger: day 0 is two months before the first month."""
        return self.first_of(-2) + timedelta(days=batch_day)

    def customer_of(self, account: int) -> int:
        """Return the number of the account's customer. One has 1 % of all accounts, ten more have 2 % together."""
        if account % 100 == 0:
            return 1
        if account % 100 < 3:
            return min(2 + account // 100 % 10, self.customers)
        return 1 + account * 7919 % (self.customers - self.bare)


def connection_of(account: int) -> int:
    """Return the place of the account's connection in `CONNECTIONS`."""
    return POOLED if account % POOLED_EVERY == 0 else int(account % 3 == 2)


def provider_id(account: int) -> str:
    digest = hashlib.md5(f"account {account}".encode(), usedforsecurity=False).hexdigest()
    return str(uuid.UUID(digest)) if connection_of(account) == POOLED else f"sg{digest}"


def package(account: int) -> tuple[str, int]:
    """Return the account's package and its quota."""
    return PACKAGES[account % len(PACKAGES)]


def anchor(account: int) -> int:
    """Return the day of the month on which the account's billing period ends, 0 for the last one."""
    return 0 if connection_of(account) == POOLED else account % 28


def chance(number: int, month: int, salt: int) -> int:
    """Return a repeatable number from 0 to 999."""
    mixed = (number * 0x9E3779B1 ^ month * 0x85EBCA77 ^ salt * 0xC2B2AE3D) & _BITS
    mixed = ((mixed ^ mixed >> 15) * 0x2C1B3C6D) & _BITS
    mixed = ((mixed ^ mixed >> 12) * 0x297A2D39) & _BITS
    return (mixed ^ mixed >> 15) % 1000


def used(account: int, month: int) -> int:
    """Return emails of a month: many accounts send little, some more than their quota."""
    return package(account)[1] * chance(account, month, 1) * chance(account, month, 2) // 700_000


def public_id(kind: str, number: int) -> str:
    """Return the hexadecimal digits of a UUID, as both databases read them."""
    return hashlib.md5(f"{kind} {number}".encode(), usedforsecurity=False).hexdigest()
