"""Figures that follow a decision about very many accounts later, in pieces, by a task: no person waits that long."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime

from django.db import transaction
from django.db.models import QuerySet

from billing.models import UsagePeriod
from billing.usage import figures, rollups
from billing.usage.current_usage import tell_accounts
from billing.usage.ledger import next_batch
from billing.usage.snapshots import lock_accounts
from portal.queue import enqueue_on_commit

ASSESS = "billing.assess_figures"
_TOGETHER = 5000


def postpone(period_ids: Sequence[int], *, moved: Collection[tuple[date, int]]) -> None:
    """Let these figures follow later. `moved`: month and customer that periods were taken from. Needs the locks that
    `figures.recompute` needs."""
    for start in range(0, len(period_ids), _TOGETHER):
        some = UsagePeriod.objects.filter(pk__in=period_ids[start : start + _TOGETHER])
        some.update(recompute_due=True)
        if moved:
            rollups.refresh({*moved, *some.values_list("month", "account__customer")})
    enqueue_on_commit(ASSESS)


def waiting_figures() -> QuerySet[UsagePeriod]:
    """Return the figures that don't follow a stored decision yet."""
    return UsagePeriod.objects.filter(recompute_due=True)


def follow_some(*, now: datetime, limit: int) -> int:
    """Derive the next waiting figures again; return how many were waiting, at most `limit`."""
    ids = list(waiting_figures().order_by("pk").values_list("pk", "account_id")[:limit])
    if not ids:
        return 0
    periods = [period for period, _ in ids]
    with transaction.atomic():
        lock_accounts([account for _, account in ids])
        # Before the figures are read: what is postponed from here on waits for this lock.
        UsagePeriod.objects.filter(pk__in=periods).update(recompute_due=False)
        changed = figures.recompute(periods, now=now, batch=next_batch(), cause=figures.FigureCause.DECISION)
        tell_accounts(changed, now=now)
    return len(ids)
