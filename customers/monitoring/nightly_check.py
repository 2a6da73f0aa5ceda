"""The nightly integrity check."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from customers.models import Heartbeat, InvariantCheck
from customers.monitoring import invariants
from customers.monitoring.heartbeat import FORGOTTEN, Alarm, Clock, tell
from portal.queue import enqueue_on_commit

CHECK = "customers.check_invariants"
CHECK_HOUR = 4
# After a standstill, readings and scans need a while before they can be called missing.
CHECK_AFTER_START = timedelta(hours=1)
# A check whose worker did not return is begun again after this; the task itself is ended before.
CHECK_LEASE = timedelta(minutes=15)
BROKEN = "invariants.broken"


def start_nightly_check(*, now: datetime) -> bool:
    """Have the invariants checked once a night (UTC), by a worker. Returns whether that was requested just now."""
    Heartbeat.objects.filter(seen_at__lt=now - FORGOTTEN).exclude(kind=Heartbeat.Kind.QUEUE).delete()
    long_up = Heartbeat.objects.filter(kind=Heartbeat.Kind.SCHEDULER, started_at__lte=now - CHECK_AFTER_START)
    if now.hour < CHECK_HOUR or not long_up.exists():
        return False
    check, asked = InvariantCheck.objects.get_or_create(slot=f"{now:%Y-%m-%d}", defaults={"started_at": now})
    if not asked:
        left = InvariantCheck.objects.filter(pk=check.pk, finished_at=None, started_at__lt=now - CHECK_LEASE)
        asked = left.update(started_at=now) == 1
    if asked:
        enqueue_on_commit(CHECK, check.pk)
    return asked


def check_now(*, slot: str = "", clock: Clock = timezone.now) -> InvariantCheck:
    """Check at once, in this process, and store the result."""
    now = clock()
    check = InvariantCheck.objects.create(slot=slot or f"by hand {now.isoformat()}"[:40], started_at=now)
    return run_check(check.pk, clock=clock) or check


def run_check(check_id: int, *, clock: Clock = timezone.now) -> InvariantCheck | None:
    """Check every invariant and store the results. None where it was done already."""
    unfinished = InvariantCheck.objects.filter(pk=check_id, finished_at=None)
    if not unfinished.exists():
        return None
    found = invariants.check(now=clock())
    broken = [each.code for each in found if each.is_broken]
    with transaction.atomic():
        unfinished.update(finished_at=clock(), broken=len(broken), found=[asdict(each) for each in found])
        tell(BROKEN, _alarm(broken), about=BROKEN, now=clock())
    return InvariantCheck.objects.get(pk=check_id)


def _alarm(broken: list[str]) -> Alarm | None:
    if not broken:
        return None
    title = ngettext("%(n)d integrity check failed", "%(n)d integrity checks failed", len(broken)) % {"n": len(broken)}
    text = gettext("Failed checks: %(codes)s.") % {"codes": ", ".join(broken)}
    return Alarm("danger", title, text)
