"""Rows of duplicate accounts, which no report and no list counts."""

from __future__ import annotations

from django.db.models import Q

from customers.models import Account


def no_duplicates() -> Q:
    """Leave out the rows of duplicate accounts. They are few: a join would read all accounts to find them."""
    return ~Q(account__in=Account.objects.filter(duplicate_of__isnull=False))
