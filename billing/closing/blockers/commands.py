"""Commands on blockers: assign them, accept one with a reason, and take that back."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

from django.db import transaction
from django.utils.translation import gettext as _

from billing.closing.blockers.kinds import DIFFERENCE, blocker_text
from billing.closing.blockers.queries import OPEN
from billing.closing.blockers.refresh import refresh_blockers
from billing.closing.matching.commands import accept_difference
from billing.models import Blocker, InvoiceComparison, Side
from billing.pricing.statements.locks import lock_group, lock_month
from portal.access.models import User
from portal.access.permissions import Permission, require
from portal.commands import Command
from portal.refusals import Refusal


class BlockerChanged(Refusal):
    """The blocker has another amount by now, or is gone, since the page was shown."""


def assign_blockers(command: Command, *, pks: Collection[int], owner: User | None, due_on: date | None) -> int:
    """Set owner and due date of open blockers; return how many there were."""
    require(command.person, Permission.CLOSE_MONTHS)
    with transaction.atomic():
        rows = list(Blocker.objects.select_for_update(no_key=True).filter(OPEN, pk__in=pks).order_by("pk"))
        if not rows:
            return 0
        Blocker.objects.filter(pk__in=[row.pk for row in rows]).update(owner=owner, due_on=due_on)
        # One event, because there may be a blocker for each of 100,000 accounts.
        one = rows[0] if len(rows) == 1 else None
        told = {"month": f"{rows[0].month:%Y-%m}", "kind": rows[0].kind, "blockers": len(rows)}
        command.record(
            verb="blocker.assigned",
            obj=one and (one.customer or one.connection),
            before={"owner": one.owner_id and str(one.owner), "due_on": one.due_on} if one else {},
            after={"owner": owner and str(owner), "due_on": due_on, **told},
        )
    return len(rows)


def accept_blocker(command: Command, *, blocker: Blocker, seen: str, reason: str) -> None:
    """Let the month close in spite of it. `seen`: the fingerprint of what the person read. Raises `Refusal`, and
    `BlockerChanged` if that is another one by now."""
    require(command.person, Permission.CLOSE_MONTHS)
    text = blocker_text(blocker.kind)
    if not text.may_accept:
        raise Refusal(_("This can't be accepted, because it would bill a guess. Decide the figure."))
    if not reason.strip():
        raise Refusal(_("Enter a reason."), field="reason")
    with transaction.atomic():
        _hold(blocker)
        if blocker.kind == DIFFERENCE:
            _accept_difference(command, blocker, seen, reason.strip())
            return
        accepted = Blocker.objects.filter(OPEN, pk=blocker.pk, fingerprint=seen).update(
            accepted_at=command.now, accepted_by=command.person, accepted_reason=reason.strip()
        )
        if accepted != 1:
            raise BlockerChanged(_("This changed while you had it open. Review it again."))
        _record(command, blocker, "blocker.accepted", reason.strip())


def _accept_difference(command: Command, blocker: Blocker, seen: str, reason: str) -> None:
    """Accept the difference in its comparison: it isn't carried into the next month, and nothing is left to block."""
    comparison = InvoiceComparison.objects.filter(
        connection=blocker.connection_id, month=blocker.month, currency=blocker.currency
    ).first()
    if comparison is None or blocker.fingerprint != seen or comparison.accumulated_minor != blocker.money_minor:
        raise BlockerChanged(_("This changed while you had it open. Review it again."))
    accept_difference(command, comparison=comparison, reason=reason)
    refresh_blockers(Side.COST, blocker.month, [comparison.connection_id], now=command.now)


def withdraw_acceptance(command: Command, *, blocker: Blocker) -> None:
    """Let an accepted blocker block again. Raises `Refusal` where its statement is closed."""
    require(command.person, Permission.CLOSE_MONTHS)
    with transaction.atomic():
        _hold(blocker)
        held = Blocker.objects.filter(pk=blocker.pk, accepted_at__isnull=False).update(
            accepted_at=None, accepted_by=None, accepted_reason=""
        )
        if held != 1:
            raise BlockerChanged(_("This changed while you had it open. Review it again."))
        _record(command, blocker, "blocker.reopened", "")


def _hold(blocker: Blocker) -> None:
    """Wait for whoever rates, looks again, or closes; refuse for a closed statement."""
    side = Side.SELL if blocker.customer_id else Side.COST
    number = lock_group(blocker.customer_id) if blocker.customer_id else blocker.connection_id or 0
    lock_month(side, blocker.month, number)
    if _is_closed(blocker):
        raise Refusal(_("The statement is closed, so this can't change anymore."))


def _is_closed(blocker: Blocker) -> bool:
    owner = blocker.customer or blocker.connection
    if owner is None:
        return False
    rows = owner.statements if blocker.customer else owner.cost_statements  # type: ignore[union-attr]  # by which of the two it is
    return bool(rows.filter(month=blocker.month, state="closed").exists())


def _record(command: Command, blocker: Blocker, verb: str, reason: str) -> None:
    told = {
        "month": f"{blocker.month:%Y-%m}",
        "kind": blocker.kind,
        "offering": blocker.offering,
        "currency": blocker.currency,
        "amount_minor": blocker.money_minor,
    }
    command.record(verb=verb, obj=blocker.customer or blocker.connection, after=told, reason=reason)
