"""Acceptance of held usage snapshots by finance.

A snapshot is held where the count went down inside a period, or where more was counted after the final reading taken
before a delete.
"""

from __future__ import annotations

from datetime import date

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from billing.models import Acceptance, UsagePeriod, UsageSnapshot
from billing.usage.periods import unread_seconds
from customers.models import Account, UsageReading
from customers.observed import accounts as observed_accounts
from portal.commands import Command
from portal.refusals import Refusal


def _take_over(still_held: QuerySet[UsagePeriod], held: UsageSnapshot, unread_seconds: int) -> None:
    of_delete = held.final_reading and held.final_reading.moment == UsageReading.Moment.FINAL
    changed = still_held.update(
        current=held,
        held=None,
        used=held.used,
        allowed=held.allowed,
        overage=held.overage,
        allocated_cost=held.allocated_cost,
        currency=held.currency,
        read_at=held.as_of,
        unread_seconds=unread_seconds,
        **({"final": True} if of_delete else {}),  # a final figure stays final
    )
    if changed != 1:  # a newer snapshot was stored since the page was opened
        raise IntegrityError


def accept_lower(command: Command, *, account: Account, start_on: date, snapshot_id: int) -> None:
    """Make the held snapshot the period's figure. `snapshot_id` is the one shown to `actor`. Raises
    `Refusal`."""
    period = UsagePeriod.objects.select_related("held").filter(account=account, start_on=start_on).first()
    held = period.held if period else None
    if period is None or held is None or held.pk != snapshot_id:
        raise Refusal(_("Usage was updated since you opened this page. Review the new figures first."))
    unread = unread_seconds(period.ends_at, held.as_of)
    still_held = UsagePeriod.objects.filter(pk=period.pk, held=held)
    try:
        with transaction.atomic():
            Acceptance.objects.create(snapshot=held, by=command.person, reason=command.reason, at=command.now)
            _take_over(still_held, held, unread)
            if not UsagePeriod.objects.filter(account=account, start_on__gt=start_on).exists():
                observed_accounts.record_usage(
                    account_id=account.pk,
                    used=held.used,
                    allowed=held.allowed,
                    overage=held.overage,
                    start_on=period.start_on,
                    end_on=period.end_on,
                    now=held.as_of,
                )
            command.record(
                verb="usage.lower_accepted",
                obj=account,
                before={"used": period.used},
                after={"used": held.used},
            )
    except IntegrityError:
        raise Refusal(_("Usage was updated since you opened this page. Review the new figures first.")) from None
