"""Chain of closed months: the end of a run gives it the next place, and everything can be calculated again.

`row_hash` of a run is the HMAC, with AUDIT_KEY, of its columns, of what it closed, and of the hash of the run before.
The head is in the audit log, whose own chain keeps it: a run that is removed from the end is missing there.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Count, Max, Min, Q, QuerySet, Sum

from billing.closing.runs.content import RUN, contents_of, run_content
from billing.closing.runs.statements import open_drafts
from billing.models import (
    InvoiceComparison,
    MonthClosing,
    Side,
    Statement,
    StatementCounter,
    Status,
    UsagePeriod,
)
from portal import audit
from portal.audit.chain import GENESIS
from portal.audit.keys import signatures

log = structlog.get_logger(__name__)
CLOSED = "month.closed"


def closing_hash(run: MonthClosing) -> str:
    return closing_hashes(run)[0]


def closing_hashes(run: MonthClosing) -> list[str]:
    """Return the hash under AUDIT_KEY, and under the former ones: a run keeps the hash of the key it closed with."""
    return signatures(run_content({name: getattr(run, name) for name in RUN}))


def head_of(run: MonthClosing | None) -> str:
    return f"{run.seq}:{run.row_hash}" if run else f"0:{GENESIS}"


def finish_closing(run: MonthClosing, *, now: datetime) -> None:
    """Give a run, whose customers and connections are done, its place in the chain. Raises `LostLease`."""
    with transaction.atomic():
        run.write(lease_until=now + run.LEASE)
        StatementCounter.objects.select_for_update().get(pk=1)  # one run at a time
        last = MonthClosing.objects.filter(seq__isnull=False).order_by("-seq").first()
        run.refresh_from_db()
        closed = Statement.objects.filter(closing=run)
        facts: dict[str, Any] = {
            "statements_closed": closed.count(),
            "held_back": _held_back(run),
            "at_least": _at_least(run, closed),
            "totals": _totals(run, closed),
            "contents": contents_of(run),
            "closed_at": now,
            "seq": last.seq + 1 if last and last.seq else 1,
            "prev_hash": last.row_hash if last else GENESIS,
            "lease_until": None,
        }
        was = run.state
        for name, value in facts.items():
            setattr(run, name, value)
        run.state = MonthClosing.State.CLOSED
        run.row_hash = closing_hash(run)
        facts |= {"state": run.state, "row_hash": run.row_hash}
        run.state = was
        run.write(**facts)
        run.state = facts["state"]
        numbers = closed.aggregate(first=Min("number"), last=Max("number"))
        told = {"month": f"{run.month:%Y-%m}", "run": run.n, "statements": run.statements_closed}
        told |= {"held_back": run.held_back, "first_number": numbers["first"], "last_number": numbers["last"]}
        audit.record(actor=None, verb=CLOSED, obj=run, after=told | {"head": head_of(run)})
    log.info("month closed", month=f"{run.month:%Y-%m}", run=run.n, head=head_of(run))


def _held_back(run: MonthClosing) -> int:
    """Return the number of customers and connections whose drafts of the month stay open."""
    found = open_drafts(run.month).aggregate(
        customers=Count("customer", distinct=True, filter=Q(side=Side.SELL)),
        connections=Count("connection", distinct=True, filter=Q(side=Side.COST)),
    )
    return int(found["customers"] + found["connections"])


def _at_least(run: MonthClosing, closed: QuerySet[Statement]) -> int:
    """Return how many statements are exact in money, while a figure is an interval."""
    exact = closed.filter(side=Side.SELL, total_high_minor=None, open_ended=False)
    intervals = UsagePeriod.objects.filter(month=run.month, status=Status.INTERVAL)
    return exact.filter(customer__in=intervals.values("account__customer")).count()


def _totals(run: MonthClosing, closed: QuerySet[Statement]) -> dict[str, Any]:
    sums: dict[str, dict[str, Any]] = {Side.SELL.value: {}, Side.COST.value: {}}
    rows = closed.exclude(currency="").order_by("side", "currency").values_list("side", "currency")
    for side, currency, number, minor in rows.annotate(n=Count("pk"), minor=Sum("total_minor")):
        sums[side][currency] = {"statements": number, "minor": minor}
    compared = InvoiceComparison.objects.filter(closing=run).select_related("connection")
    connections = [
        {
            "connection": str(each.connection.public_id),
            "name": each.connection.name,
            "currency": each.currency,
            "invoice_minor": each.invoice_minor,
            "cost_minor": each.cost_minor,
            "billed": each.billed,
        }
        for each in compared.order_by("connection", "currency")
    ]
    return {**sums, "connections": connections}
