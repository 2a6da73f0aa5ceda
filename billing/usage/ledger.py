"""Ledger batches: numbers in the order of commits, so that "as of batch N" never changes."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import F

from billing.models import Ledger, LedgerBatch
from portal.clock import database_now


def next_batch() -> int:
    """Return the next number. Needs a transaction; others wait for its end. Lock account rows before, never after."""
    if not Ledger.objects.filter(pk=1).update(last=F("last") + 1):
        Ledger.objects.bulk_create([Ledger(pk=1)], ignore_conflicts=True)
        Ledger.objects.filter(pk=1).update(last=F("last") + 1)
    number = Ledger.objects.values_list("last", flat=True).get(pk=1)
    # Never before the one before it, should the database's clock be set back.
    last_at = LedgerBatch.objects.order_by("-number").values_list("at", flat=True).first()
    now = database_now()
    LedgerBatch.objects.bulk_create([LedgerBatch(number=number, at=max(now, last_at or now))])
    return number


def last_batch() -> int:
    """Return the number of the last committed batch; 0 before the first."""
    return Ledger.objects.filter(pk=1).values_list("last", flat=True).first() or 0


def batch_at(moment: datetime) -> int | None:
    """Return the last batch that got its number up to a moment that has passed; None before the first known one.

    Waits for the transaction that holds the ledger, if any: the answer for a moment is always the same.
    """
    with transaction.atomic():
        Ledger.objects.select_for_update().filter(pk=1).first()
        return LedgerBatch.objects.filter(at__lte=moment).order_by("-number").values_list("number", flat=True).first()
