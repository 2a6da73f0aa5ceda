"""Commands on parallel months: upload a file, match a row by hand, compare again.

upload_month     rows and their customers, and for a small portal the comparison at once
compare_month    rate what changed, compare, and replace the results: by a worker if many customers are concerned
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import F
from django.utils.translation import gettext as _

from billing.models import ParallelMonth, ParallelResult, ParallelRow
from billing.pricing.parallel.comparison import compared
from billing.pricing.parallel.matching import find_accounts, matched_rows
from billing.pricing.parallel.spreadsheet import SheetRow
from billing.pricing.statements.drafts import rate_month
from customers.models import Customer
from portal.access.permissions import Permission, require
from portal.commands import Command
from portal.queue import enqueue_on_commit
from portal.refusals import Refusal

log = structlog.get_logger(__name__)
COMPARE = "billing.compare_parallel_month"
# With so many customers the month is rated and compared while the person waits.
AT_ONCE = 300
TRIES = 3
_INSERTED_TOGETHER = 500
Match = ParallelRow.Match


class ParallelChanged(Refusal):
    """Another person changed what the rows belong to since the page was shown. Nothing was changed."""


def upload_month(
    command: Command,
    *,
    month: date,
    filename: str,
    rows: Sequence[SheetRow],
    currency: str,
    ignored: Sequence[str] = (),
) -> ParallelMonth:
    """Store a file's rows with the customers they are matched with, and compare them with the month's statements."""
    require(command.person, Permission.MANAGE_PRICES)
    with transaction.atomic():
        parallel = ParallelMonth.objects.create(
            month=month,
            filename=filename[-200:],
            by=command.person,
            uploaded_at=command.now,
            currency=currency,
            ignored=list(ignored),
            not_before=command.now,
        )
        made = matched_rows(rows)
        for row in made:
            row.parallel = parallel
        ParallelRow.objects.bulk_create(made, batch_size=_INSERTED_TOGETHER)
        unmatched = sum(row.customer_id is None for row in made)
        told = {"month": f"{month:%Y-%m}", "file": parallel.filename, "rows": len(made), "unmatched": unmatched}
        command.record(verb="parallel.uploaded", obj=None, after=told)
        enqueue = _is_large()
        if enqueue:
            enqueue_on_commit(COMPARE, parallel.pk)
    if not enqueue:
        compare_month(parallel.pk, now=command.now)
        parallel.refresh_from_db()
    return parallel


def _is_large() -> bool:
    return Customer.objects.order_by()[: AT_ONCE + 1].count() > AT_ONCE


def match_customer(
    command: Command, *, parallel: ParallelMonth, text: str, customer: Customer | None, seen_edits: int
) -> ParallelMonth:
    """Let all rows with this customer text belong to `customer`, or leave them out (None), and compare again.

    Raises `ParallelChanged` where the rows were matched or compared otherwise since the page was shown.
    """
    require(command.person, Permission.MANAGE_PRICES)
    with transaction.atomic():
        _hold(parallel, seen_edits)
        rows = list(parallel.rows.filter(customer_text=text))
        if not rows:
            raise Refusal(_("The file has no such row."))
        for row in rows:
            row.match = Match.HAND if customer else Match.LEFT_OUT
            row.customer_id, row.account_id = customer.pk if customer else None, None
        find_accounts(rows)
        for row in rows:
            if row.match == Match.NO_ACCOUNT and customer:  # the person decided: it is about the customer as a whole
                row.match, row.customer_id = Match.HAND, customer.pk
        ParallelRow.objects.bulk_update(rows, ["match", "customer", "account"], batch_size=_INSERTED_TOGETHER)
        whom = customer.company_name if customer else None
        told = {"file": parallel.filename, "row": text, "customer": whom}
        command.record(verb="parallel.matched", obj=customer, after=told)
    return compare_again(command, parallel=parallel, seen_edits=None)


def compare_again(command: Command, *, parallel: ParallelMonth, seen_edits: int | None) -> ParallelMonth:
    """Compare the file with the statements as they are now. Raises `ParallelChanged`."""
    require(command.person, Permission.MANAGE_PRICES)
    with transaction.atomic():
        if seen_edits is not None:
            _hold(parallel, seen_edits)
            command.record(verb="parallel.compared", obj=None, after={"file": parallel.filename})
        ParallelMonth.objects.filter(pk=parallel.pk).update(
            state=ParallelMonth.State.COMPARING, not_before=command.now, tries=0, lease_until=None, fence=F("fence") + 1
        )
        enqueue = _is_large()
        if enqueue:
            enqueue_on_commit(COMPARE, parallel.pk)
    if not enqueue:
        compare_month(parallel.pk, now=command.now)
    parallel.refresh_from_db()
    return parallel


def _hold(parallel: ParallelMonth, seen_edits: int) -> None:
    """Count a change of the rows, and hold the file to the end of the transaction."""
    held = ParallelMonth.objects.filter(pk=parallel.pk, edits=seen_edits).update(edits=F("edits") + 1)
    if held != 1:
        raise ParallelChanged(_("Someone changed this comparison while you had it open. Review it again."))


def due_months(*, now: datetime) -> list[int]:
    """Return the files that are to be compared and that no worker compares."""
    waiting = ParallelMonth.objects.due(now=now).filter(state=ParallelMonth.State.COMPARING)
    return list(waiting.order_by("pk").values_list("pk", flat=True))


def compare_month(parallel_id: int, *, now: datetime) -> None:
    """Compare a file that waits for it. Another worker's is left alone; a failure is tried again."""
    parallel = ParallelMonth.objects.filter(state=ParallelMonth.State.COMPARING).claim(parallel_id, now=now)
    if parallel is None:
        return
    try:
        rate_month(parallel.month, now=now)
        _replace_results(parallel, now=now)
    except Exception as error:
        tries = parallel.tries + 1
        log.exception("parallel.failed", parallel=parallel.pk, error=type(error).__name__)
        state = ParallelMonth.State.FAILED if tries >= TRIES else ParallelMonth.State.COMPARING
        parallel.release(tries=tries, state=state, not_before=now + timedelta(minutes=1))


def _replace_results(parallel: ParallelMonth, *, now: datetime) -> None:
    with transaction.atomic():
        parallel.write(state=ParallelMonth.State.READY, lease_until=None, compared_at=now)
        ParallelResult.objects.filter(parallel=parallel).delete()
        waiting: list[ParallelResult] = []
        for result in compared(parallel):
            waiting.append(result)
            if len(waiting) >= _INSERTED_TOGETHER:
                ParallelResult.objects.bulk_create(waiting)
                waiting = []
        ParallelResult.objects.bulk_create(waiting)
