"""Ledger batches: numbers in the order of commits, so that "as of batch N" never changes."""

from __future__ import annotations

from django.db.models import F

from billing.models import Ledger


def next_batch() -> int:
    """Return the next number. Needs a transaction; others wait for its end. Lock account rows before, never after."""
    if not Ledger.objects.filter(pk=1).update(last=F("last") + 1):
        Ledger.objects.bulk_create([Ledger(pk=1)], ignore_conflicts=True)
        Ledger.objects.filter(pk=1).update(last=F("last") + 1)
    return Ledger.objects.values_list("last", flat=True).get(pk=1)


def last_batch() -> int:
    """Return the number of the last committed batch; 0 before the first."""
    return Ledger.objects.filter(pk=1).values_list("last", flat=True).first() or 0
