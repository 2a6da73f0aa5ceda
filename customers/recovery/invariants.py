"""Integrity check of the epochs: nothing was sent by rows older than what the provider had seen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from customers.models import Attempt
from customers.monitoring.invariants import Invariant
from portal.installation import epochs


def sent_in_another_epoch(now: datetime) -> Iterator[str]:
    """I10. What was sent since a restore was sent by a process that knew of it, and not while its connection was on
    hold."""
    epoch = epochs.latest()
    if epoch is None or epoch.backup_at is None:
        return
    since = Attempt.objects.filter(intended_at__gt=epoch.began_at).select_related("operation")
    for each in since.exclude(epoch=epoch.number):
        yield f"{each.operation.code} was sent in epoch {each.epoch}, but epoch {epoch.number} had begun"
    on_hold = Q(operation__connection__recoveries__released_at=None) | Q(
        intended_at__lt=F("operation__connection__recoveries__released_at")
    )
    for each in since.filter(on_hold, operation__connection__recoveries__epoch=epoch.number):
        yield f"{each.operation.code} was sent while its connection was on hold after a restore"


INVARIANTS = (
    Invariant(
        "I10", _("Nothing was sent on hold after a restore, or by a process from before it."), sent_in_another_epoch
    ),
)
