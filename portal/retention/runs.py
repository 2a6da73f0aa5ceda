"""The nightly job: a run goes through the rules and removes, batch by batch, the rows whose period is over.

One worker at a time works on a run (`portal.leases`), and one run is open at a time. A batch and its count are one
transaction, so that a worker that is killed loses nothing and repeats nothing: the next one continues.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils.text import get_text_list
from django.utils.translation import gettext as _

from portal.clock import database_now
from portal.commands import Command
from portal.leases import AT_ONCE, LostLease, work_on
from portal.notices import raising as notices
from portal.queue import enqueue_on_commit
from portal.retention import periods
from portal.retention.models import RetentionPeriod, RetentionRun
from portal.retention.rules import RetentionRule, find_rule, retention_rules

log = structlog.get_logger(__name__)

APPLY = "retention.apply_rules"
# UTC. After the nightly usage sync and the scans, before the integrity checks, which look at what is left.
NIGHT_HOUR = 3
# A task works so long, and is enqueued again.
SECONDS = 45.0
# A run that takes longer stops; the next night continues.
LONGEST = timedelta(hours=4)
# No run has ended for so long: two nights, and the time a run may take.
LATE = timedelta(hours=50)
# Runs of the first hours only count, so that admins can look at the periods before anything is removed.
REVIEW = timedelta(hours=20)
RETENTION_LATE, RETENTION_FAILED, RETENTION_BEGINS = "retention.late", "retention.failed", "retention.begins"

State = RetentionRun.State
Clock = Callable[[], datetime]


def advance_retention(*, now: datetime) -> None:
    """Start the nightly run when its time has come, enqueue the open one, and alert while there is none for long."""
    slot = f"{now:%Y-%m-%d}"
    if now.hour >= NIGHT_HOUR and not RetentionRun.objects.filter(slot=slot).exists():
        begin_retention_run(slot, now=now)
    for run_id in RetentionRun.objects.due(now=now).filter(state=State.RUNNING).values_list("pk", flat=True):
        enqueue_on_commit(APPLY, run_id)
    _tell(RETENTION_LATE, late_text(now=now), title=_("Retention rules weren't applied"), now=now)


def begin_retention_run(slot: str, *, now: datetime) -> RetentionRun | None:
    """Start a run, or return None: one of this slot exists, or another one is open. Runs within `REVIEW` of the
    first one only count."""
    only_counts = not RetentionRun.objects.filter(started_at__lte=now - REVIEW).exists()
    try:
        with transaction.atomic():
            return RetentionRun.objects.create(
                slot=slot[:40],
                started_at=now,
                not_before=now,
                only_counts=only_counts,
                remaining=[rule.code for rule in retention_rules()],
            )
    except IntegrityError:
        return None


def apply_rules(run_id: int, *, clock: Clock = database_now, seconds: float = SECONDS) -> bool:
    """Work on a run for so long. Return whether it has to be continued at once."""
    run = RetentionRun.objects.filter(state=State.RUNNING).claim(run_id, now=clock())
    return run is not None and work_on(run, lambda: _step(run, clock()), clock=clock, seconds=seconds)


def apply_now(*, clock: Clock = database_now) -> RetentionRun | None:
    """Make a whole run in this process. Return None if one is open already."""
    now = clock()
    run = begin_retention_run(f"by hand {now.isoformat()}", now=now)
    if run is None:
        return None
    while apply_rules(run.pk, clock=clock):
        pass
    run.refresh_from_db()
    return run


def _step(run: RetentionRun, now: datetime) -> timedelta | None:
    """Remove one batch, or end the run. Raises `LostLease`."""
    if not run.remaining or now - run.started_at > LONGEST:
        _finish(run, now)
        return None
    rule = find_rule(run.remaining[0])
    if rule is None:  # of an app that this version doesn't have
        _next_rule(run, now)
        return AT_ONCE
    try:
        _remove_batch(run, rule, now)
    except LostLease:
        raise
    except Exception as error:
        log.exception("retention.rule_failed", rule=rule.code)
        run.errors = run.errors | {rule.code: type(error).__name__}
        _next_rule(run, now)
    return AT_ONCE


def _remove_batch(run: RetentionRun, rule: RetentionRule, now: datetime) -> None:
    """Remove a batch of a rule and count it in one transaction. Nothing left: count what the next run will remove."""
    days = periods.retention_days(rule)
    with transaction.atomic():
        run.renew(now=now)
        removed = 0
        if days is not None and not run.only_counts:
            removed = rule.remove_batch(periods.ended_before(run.started_at, days))
        if removed:
            counted = run.removed | {rule.code: run.removed.get(rule.code, 0) + removed}
            run.write(removed=counted)
        else:
            due = periods.count_due(rule, days, now=run.started_at + timedelta(days=1))
            facts = {"due": due, "counted_at": now}
            RetentionPeriod.objects.update_or_create(code=rule.code, defaults=facts)
    if removed:
        run.removed = counted
    else:
        _next_rule(run, now)


def _next_rule(run: RetentionRun, now: datetime) -> None:
    remaining = run.remaining[1:]
    run.write(remaining=remaining, errors=run.errors, lease_until=now + run.LEASE)
    run.remaining = remaining


def _finish(run: RetentionRun, now: datetime) -> None:
    """End the run with its audit event and its alert."""
    state = State.STOPPED if run.remaining else State.ENDED
    with transaction.atomic():
        run.write(state=state, finished_at=now, lease_until=None)
        run.state, run.finished_at = state, now
        facts: dict[str, Any] = {"removed": run.removed, "errors": run.errors}
        if run.remaining:
            facts["not_finished"] = run.remaining
        if run.only_counts:
            facts["only_counts"] = True
        Command(None, now).record(verb="retention.applied", obj=run, after=facts)
        _tell(RETENTION_FAILED, failed_text(run), title=_("Retention rules failed"), now=now)
        _tell(RETENTION_LATE, "", title="", now=now)
        _tell(RETENTION_BEGINS, begins_text(run), title=_("Retention begins"), now=now)
    log.info("retention.applied", rows=run.removed_total, rules_failed=len(run.errors), state=state.value)


# --- Alerts -----------------------------------------------------------------------------------------------------------


def late_text(*, now: datetime) -> str:
    """Return what is wrong if no run has ended for long; "" otherwise, and before the first one began."""
    first, last = RetentionRun.objects.last(), RetentionRun.objects.exclude(finished_at=None).first()
    since = last.finished_at if last else first.started_at if first else now
    if since is None or since > now - LATE:
        return ""
    return _("No retention run has ended for two nights, so rows are kept too long. Check the sync worker's log.")


def failed_text(run: RetentionRun) -> str:
    """Return which rules failed in a run; "" if none did."""
    if not run.errors:
        return ""
    rules = [find_rule(code) for code in run.errors]
    names = get_text_list([str(each.label) for each in rules if each], _("and"))
    return _("These rows weren't removed: %(names)s. The next run tries again. Check the worker's log.") % {
        "names": names
    }


def begins_text(run: RetentionRun) -> str:
    """Return what the next run removes, after one that only counted; "" otherwise."""
    due = RetentionPeriod.objects.filter(due__gt=0).count() if run.only_counts else 0
    if not due:
        return ""
    return _(
        "The next run removes rows of %(n)d kinds for the first time. Review the periods, and change those that are "
        "too short."
    ) % {"n": due}


def _tell(kind: str, text: str, *, title: str, now: datetime) -> None:
    if text:
        notices.raised(kind, about=kind, title=title, text=text, path=reverse("retention:rules"), now=now)
    else:
        notices.ended(kind, about=kind, now=now)
