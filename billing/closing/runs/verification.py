"""Verification of closed months: every hash is calculated again, and every problem is a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import islice

from django.db.models import Count, Max, OuterRef, QuerySet, Subquery
from django.utils.translation import gettext_lazy as _

from billing.closing.runs.chain import CLOSED, closing_hashes, head_of
from billing.closing.runs.content import TOGETHER, contents_of, statement_digests, statements_of_run
from billing.models import MonthClosing, Statement, StatementCounter
from customers.monitoring.invariants import Invariant
from portal.audit.chain import GENESIS
from portal.audit.expiry import expired_until
from portal.audit.models import AuditEvent

PART_LABELS = {
    "statements": "statements",
    "invoices": "invoices of providers",
    "comparisons": "comparisons of invoices",
    "acceptances": "accepted blockers",
    "numbers": "prefix of statement numbers",
}


@dataclass
class ClosedMonthsFinding:
    """Result of a verification. `problems` are sentences; none means that all closed months are intact."""

    runs: int = 0
    statements: int = 0
    head: str = ""
    problems: list[str] = field(default_factory=list)


def verify_closed_months(*, head: str = "", month: date | None = None, at_most: int = 100) -> ClosedMonthsFinding:
    """Verify the chain, and what its runs closed, or those of `month` alone. `head` ("seq:hash", from the log of an
    earlier close) also detects a removed end of the chain and of the audit log together."""
    found = ClosedMonthsFinding(head=head_of(None))
    found.problems.extend(islice(_problems(found, head, month), at_most))
    return found


def _problems(found: ClosedMonthsFinding, head: str, month: date | None) -> Iterator[str]:
    heads: dict[int, str] = {}
    for run in chained_runs():
        heads[run.seq or 0] = head_of(run)
        found.runs += 1
    yield from _chain_problems()
    yield from _head_problems(heads, head)
    yield from _number_problems()
    yield from _orphan_problems()
    found.head = heads[max(heads)] if heads else head_of(None)
    for run in chained_runs():
        if month is None or run.month == month:
            yield from _content_problems(run, found)


def chained_runs() -> QuerySet[MonthClosing]:
    return MonthClosing.objects.filter(seq__isnull=False).order_by("seq")


def _chain_problems() -> Iterator[str]:
    expected, prev = 0, GENESIS
    for run in chained_runs():
        expected += 1
        if run.seq != expected:
            yield f"Closing {expected} of the chain is missing. The next one is {run.seq}: {run}."
            expected = run.seq or 0
        if run.prev_hash != prev:
            yield f"{run} does not match the closing before it in the chain."
        if run.row_hash not in closing_hashes(run):
            yield f"{run} changed after it was closed."
        prev = run.row_hash


def _head_problems(heads: dict[int, str], head: str) -> Iterator[str]:
    """Compare the chain with the heads in the audit log, and with the one that was given."""
    told: set[int] = set()
    for event in AuditEvent.objects.filter(verb=CLOSED).order_by("pk").iterator():
        noted = str(event.after.get("head", ""))
        seq = int(noted.partition(":")[0] or 0)
        told.add(seq)
        if heads.get(seq) != noted:
            label = event.object_label
            yield f"Closing {seq} of the chain, {label}, was removed or changed after the audit log noted it."
    if until := expired_until():  # their events may have been removed
        told |= {run.seq or 0 for run in chained_runs().filter(closed_at__lte=until)}
    for seq in sorted(heads.keys() - told):
        yield f"Closing {seq} of the chain is not in the audit log."
    if head and head != heads.get(int(head.partition(":")[0]) if head.partition(":")[0].isdigit() else -1):
        yield f"The given head {head.partition(':')[0]} is not in the chain. Closings were removed or changed."


def _number_problems() -> Iterator[str]:
    """Compare numbers with their counter, in one query, since a month may be closing."""
    numbered = Statement.objects.filter(number__isnull=False).order_by().values(none=OuterRef("pk"))
    row = StatementCounter.objects.annotate(
        used=Subquery(numbered.annotate(n=Count("pk")).values("n")),
        highest=Subquery(numbered.annotate(n=Max("number")).values("n")),
    ).first()
    last, used, highest = (row.last, row.used or 0, row.highest or 0) if row else (0, *_used_numbers())
    if not last == used == highest:
        yield f"{last} statement numbers were given, {used} are there, and the highest one is {highest}."


def _used_numbers() -> tuple[int, int]:
    found = Statement.objects.aggregate(n=Count("number"), highest=Max("number"))
    return found["n"], found["highest"] or 0


def _orphan_problems() -> Iterator[str]:
    closed = Statement.objects.filter(state=Statement.State.CLOSED)
    if number := closed.exclude(closing__in=MonthClosing.objects.values("pk")).count():
        yield f"{number} closed statements belong to no closing. It was removed."
    if number := closed.filter(closing__state=MonthClosing.State.FAILED).count():
        yield f"{number} closed statements belong to a closing that failed. Close its month again: it continues."


def _content_problems(run: MonthClosing, found: ClosedMonthsFinding) -> Iterator[str]:
    rows = statements_of_run(run).iterator(chunk_size=TOGETHER)
    while some := list(islice(rows, TOGETHER)):
        found.statements += len(some)
        digests = statement_digests(some)
        for each in some:
            if each.digest != digests[each.pk]:
                number = f" (number {each.number})" if each.number else ""
                yield f"Statement {each.public_id}{number} of {run.month:%Y-%m} changed after it was closed."
    stored, now = run.contents, contents_of(run)
    for name, label in PART_LABELS.items():
        was, is_now = stored.get(name, {}), now[name]
        if was != is_now:
            yield f"{run}: {label} changed after it was closed. Then: {was.get('rows')}, now: {is_now['rows']}."


def chain_off(now: datetime) -> Iterator[str]:
    """Check I15: closed months are a chain, its heads are in the audit log, and no statement number is missing. What
    the months contain is verified by `manage.py verify_closed_months` alone."""
    heads = {run.seq or 0: head_of(run) for run in chained_runs()}
    yield from _chain_problems()
    yield from _head_problems(heads, "")
    yield from _number_problems()
    yield from _orphan_problems()


INVARIANTS = (Invariant("I15", _("Closed months are as they were closed."), chain_off),)
