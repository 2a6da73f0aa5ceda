"""The worker's part of a closing run: one group of customers after the other, each in one transaction, then each
connection, then the run's place in the chain.

A worker that dies leaves its last group as it was, and the next one continues behind the group before it. Customers and
connections that are closed already are passed over, so nothing is closed or numbered twice.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import datetime, timedelta
from time import monotonic

import structlog
from django.db import transaction
from django.db.models import F

from billing.closing.blockers.queries import held_back
from billing.closing.blockers.refresh import refresh_blockers
from billing.closing.matching.comparison import compare_with_invoices
from billing.closing.matching.scope import compared_invoices
from billing.closing.runs.chain import finish_closing
from billing.closing.runs.statements import close_statements, open_drafts
from billing.models import InvoiceComparison, MonthClosing, ProviderInvoice, Side
from billing.pricing.statements.costs import CostRater
from billing.pricing.statements.drafts import CustomerInputs, Rater, RatingCounts, customer_groups, rated_customers
from billing.pricing.statements.frozen import frozen_case
from billing.pricing.statements.locks import lock_group, lock_month
from billing.pricing.statements.storage import closed_owners
from billing.usage.ledger import last_batch
from portal.leases import AT_ONCE, LostLease, work_on

log = structlog.get_logger(__name__)
CLOSE = "billing.close_month"
TRIES = 3
# So long one task works; then it enqueues the next one.
SECONDS = 300.0
State = MonthClosing.State


def due_closings(*, now: datetime) -> list[int]:
    """Return the runs that wait for a worker."""
    return list(MonthClosing.objects.due(now=now).filter(state=State.RUNNING).values_list("pk", flat=True))


def close_month(run_id: int, *, now: datetime, seconds: float = SECONDS) -> bool:
    """Work on a run; return whether it has to be continued at once. A failure is tried again, and ends the run as
    failed if it comes back: what was closed stays closed, and requesting the close again continues the run."""
    run = MonthClosing.objects.filter(state=State.RUNNING).claim(run_id, now=now)
    if run is None:
        return False
    clock = _clock(now)
    closer = _Closer(run, clock)
    try:
        if work_on(run, closer.step, clock=clock, seconds=seconds):
            return True
        if closer.is_done:
            finish_closing(run, now=clock())
    except LostLease as lost:
        log.warning("lease.lost", row=str(lost))
    except Exception as error:
        run.tries += 1
        log.exception("month.close_failed", run=str(run), tries=run.tries, error=type(error).__name__)
        state = State.FAILED if run.tries >= TRIES else State.RUNNING
        run.release(tries=run.tries, state=state, not_before=clock() + timedelta(minutes=1))
    finally:
        closer.stop()
    return False


def _clock(now: datetime) -> Callable[[], datetime]:
    """Return a clock that shows `now` and advances: the database's time, whatever this machine's is."""
    since = monotonic()
    return lambda: now + timedelta(seconds=monotonic() - since)


class _Closer:
    """A claimed run, and what is left of it."""

    def __init__(self, run: MonthClosing, clock: Callable[[], datetime]) -> None:
        self.run, self.month, self.clock, self.now = run, run.month, clock, clock()
        now = self.now
        self.rater, self.costs = Rater(run.month, now=now), CostRater(run.month, now=now)
        self.is_done = False
        self._steps = self._work()

    def step(self) -> timedelta | None:
        """Do the next part. None: everything is closed that can be."""
        return next(self._steps, None)

    def stop(self) -> None:
        """Close the database cursor over the customers now. Python would do so at any time, within any transaction."""
        self._steps.close()

    def _work(self) -> Generator[timedelta, None, None]:
        added = self.rater.added_to()
        if not self.run.customers_total:
            self.run.write(customers_total=rated_customers(self.month, added).count())
        for group in customer_groups(self.month, added=added, after=self.run.position):
            self._close_customers(group)
            yield AT_ONCE
        for connection in sorted(self.costs.world.connections):
            self._close_connection(connection)
            yield AT_ONCE
        self.is_done = True

    def _renew(self, **fields: object) -> None:
        """Hold the run's row: whoever takes it over comes before this transaction or after it."""
        self.run.write(lease_until=self.clock() + self.run.LEASE, tries=0, **fields)

    def _close_customers(self, customers: list[int]) -> None:
        with transaction.atomic():
            self._renew(position=customers[-1], customers_done=F("customers_done") + len(customers))
            lock_month(Side.SELL, self.month, lock_group(customers[0]))
            batch = last_batch()  # before the figures are read: later versions of them become adjustments
            inputs = self.rater.refresh(customers, RatingCounts())
            owners = set(customers) - closed_owners(Side.SELL, self.month, customers)
            refresh_blockers(Side.SELL, self.month, owners, now=self.now)
            close_statements(self.run, Side.SELL, owners, cases=self._cases(inputs), batch=batch, now=self.clock())
        self.run.tries = 0

    def _cases(self, inputs: list[CustomerInputs]) -> dict[tuple[int | None, str], str]:
        return {
            (each.customer, prepared.case.currency): frozen_case(prepared.case)
            for each in inputs
            for prepared in each.cases(self.rater.catalog, self.month)
            if prepared.case.currency
        }

    def _close_connection(self, pk: int) -> None:
        """Close the connection's cost statement, its comparisons, and the invoices that were compared."""
        with transaction.atomic():
            self._renew()
            lock_month(Side.COST, self.month, pk)
            batch = last_batch()
            self.costs.refresh(pk)
            comparisons = InvoiceComparison.objects.filter(connection=pk, month=self.month)
            if closed_owners(Side.COST, self.month, [pk]) or comparisons.filter(closing__isnull=False).exists():
                return
            invoices = self._compare(pk)
            refresh_blockers(Side.COST, self.month, [pk], now=self.now)
            if self._is_open(pk, batch):
                return
            comparisons.update(closing=self.run)
            ProviderInvoice.objects.filter(pk__in=invoices).update(closing=self.run)
        self.run.tries = 0

    def _is_open(self, pk: int, batch: int) -> bool:
        """Close the connection's statement, if it has one; return whether something blocks it."""
        if pk in held_back(Side.COST, self.month, [pk]) or self._has_earlier_open(pk):
            return True
        close_statements(self.run, Side.COST, [pk], batch=batch, now=self.clock())
        return open_drafts(self.month).filter(connection=pk).exists()

    def _compare(self, pk: int) -> list[int]:
        """Compare the month and return the invoices that it has. One that is entered meanwhile is compared as well."""
        held, now_there = None, self._hold_invoices(pk)
        while held != now_there:
            held = now_there
            compare_with_invoices(pk, self.month, now=self.now)
            now_there = self._hold_invoices(pk)
        return now_there

    def _has_earlier_open(self, pk: int) -> bool:
        """Return whether an earlier month of the connection was held back: what it leaves is carried into this one."""
        closed = MonthClosing.objects.filter(state=State.CLOSED, month__lt=self.month)
        rows = InvoiceComparison.objects.filter(connection=pk, month__in=closed.values("month"), closing=None)
        return rows.exists()

    def _hold_invoices(self, pk: int) -> list[int]:
        """Lock the invoices that the month compares, so that none of them changes."""
        found = ProviderInvoice.objects.filter(pk__in=compared_invoices(pk, self.month), closing=None)
        return list(found.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True))
