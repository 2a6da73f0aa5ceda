"""Leases: rows that one worker at a time works on, such as operations, runs and scans.

A worker claims a row before it works on it, and may write the row, or anything that belongs to it, while the claim is
valid. A claim has a lease: if a worker does not return, its lease expires and the next worker continues. A worker may
therefore lose its claim without noticing, so every write checks the claim (`Leased.write`) and raises `LostLease` if
it was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, ClassVar, Self, TypeVar

import structlog
from django.db import models
from django.db.models import F, Q

log = structlog.get_logger(__name__)

# What a step of `work_on` returns where the next one can follow at once.
AT_ONCE = timedelta(0)
Item = TypeVar("Item")
Row = TypeVar("Row", bound="Fenced")


class LostLease(Exception):
    """The row is not as it was read: another worker claimed it, or it was moved, paused or ended. Nothing was
    written."""

    def __init__(self, row: Leased) -> None:
        super().__init__(f"{type(row).__name__} {row.pk}")
        self.row = row


class Leased(models.Model):
    """A row in a state, that one worker at a time works on until its lease ends. Here the state alone tells whether a
    claim stands, which serves a row that is claimed once in its life."""

    LEASE: ClassVar[timedelta] = timedelta(seconds=90)
    state: Any
    lease_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True

    def as_read(self) -> models.QuerySet[Self]:
        """Match this row as long as nobody claimed or moved it since it was read."""
        return type(self)._default_manager.filter(pk=self.pk, state=self.state)

    def write(self, **fields: Any) -> None:
        """Change the row in the database. Raises `LostLease` when it is not as it was read.

        As the first statement of a transaction it also holds the row to its end (PostgreSQL): whoever claims, pauses or
        ends the row comes before this transaction or after it, never between.
        """
        if self.as_read().update(**fields) != 1:
            raise LostLease(self)

    def renew(self, *, now: datetime) -> None:
        """Let the lease start again. Raises `LostLease`."""
        self.write(lease_until=now + self.LEASE)

    def renewing(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items of a long reading, and extend the lease by the time it takes. Raises `LostLease`."""
        renewed = monotonic()
        for item in items:
            passed = monotonic() - renewed
            if passed > self.LEASE.total_seconds() / 6:
                self.write(lease_until=F("lease_until") + timedelta(seconds=passed))
                renewed += passed
            yield item


def _free(now: datetime) -> Q:
    return Q(lease_until=None) | Q(lease_until__lte=now)


class FencedQuerySet(models.QuerySet[Row]):
    def due(self, *, now: datetime) -> Self:
        """Return the rows whose time has come and that no worker holds."""
        return self.filter(_free(now), not_before__lte=now)

    def claim(self, pk: int, *, now: datetime, **fields: Any) -> Row | None:
        """Claim one of these rows, or return None: it is not among them, not due, or another worker was faster."""
        row = self.due(now=now).filter(pk=pk).first()
        return row if row is not None and row.claim(now=now, **fields) else None


class Fenced(Leased):
    """A leased row that workers claim repeatedly. Its fence is raised by each claim, and by whatever takes
    the row from a worker, and so tells one claim from another."""

    fence = models.PositiveIntegerField(default=0)
    not_before = models.DateTimeField()

    objects = FencedQuerySet.as_manager()

    class Meta:
        abstract = True

    def as_read(self) -> models.QuerySet[Self]:
        return super().as_read().filter(fence=self.fence)

    def claim(self, *, now: datetime, **fields: Any) -> bool:
        """Raise the fence of a row that is due and still as it was read, and lease it. One of any number of processes
        succeeds.

        Everything the decision depends on stands at the top level of this WHERE, on the row's own table: after waiting
        for a row, PostgreSQL checks these columns again, but not a subselect. A condition on another table (as the join
        to the connection) would turn all of it into one.
        """
        due = self.as_read().filter(_free(now), not_before__lte=now)
        if due.update(fence=F("fence") + 1, lease_until=now + self.LEASE, **fields) != 1:
            return False
        self.fence += 1
        return True

    def take_over(self, **fields: Any) -> None:
        """Raise the fence, so that no worker's late answer can write anymore. Raises `LostLease`."""
        self.write(fence=F("fence") + 1, **fields)
        self.fence += 1

    def release(self, **fields: Any) -> None:
        """End the lease, also of a row that was paused or ended meanwhile. Does nothing to another worker's claim."""
        type(self)._default_manager.filter(pk=self.pk, fence=self.fence).update(lease_until=None, **fields)


def work_on(
    row: Fenced, step: Callable[[], timedelta | None], *, clock: Callable[[], datetime], seconds: float = 0.0
) -> bool:
    """Repeat `step` on a claimed row until `seconds` are over or nothing is left, then release the row. Return whether
    it is due again at once, so that the caller enqueues it.

    A step renews the lease with its first write, and returns how long the next one has to wait, or None where there is
    no next one. An exception other than `LostLease` lets the lease expire, as when the worker dies.
    """
    until = monotonic() + seconds
    try:
        wait = step()
        while wait == AT_ONCE and monotonic() < until:
            wait = step()
    except LostLease as lost:
        log.warning("lease.lost", row=str(lost))
        wait = None
    if wait is None:
        row.release()
        return False
    row.release(not_before=clock() + wait)
    return wait == AT_ONCE
