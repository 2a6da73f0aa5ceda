"""Accepting a difference between a provider's invoices and the cost by our figures."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from billing.models import InvoiceComparison, MonthClosing, StatementCounter
from billing.pricing.statements.amounts import minor_text
from portal.access.permissions import Permission, require
from portal.commands import Command
from portal.refusals import Refusal


def accept_difference(command: Command, *, comparison: InvoiceComparison, reason: str) -> InvoiceComparison:
    """Accept what is accumulated up to this month, so that nothing of it is carried on.

    A difference that arises later isn't accepted by that. Raises `Refusal` if the comparison changed since it was read,
    or is closed.
    """
    require(command.person, Permission.CLOSE_MONTHS)
    reason = reason.strip()
    if not reason:
        raise Refusal(_("Enter why the difference is accepted."), field="reason")
    accepted = comparison.carried_minor + comparison.difference_minor
    with transaction.atomic():
        _refuse_while_closing(comparison)
        changed = InvoiceComparison.objects.filter(
            pk=comparison.pk,
            closing=None,
            invoice_minor=comparison.invoice_minor,
            cost_minor=comparison.cost_minor,
            carried_minor=comparison.carried_minor,
            accepted_minor=comparison.accepted_minor,
        ).update(accepted_minor=accepted)
        if not changed:
            raise Refusal(_("The comparison changed while you had it open. Review it again."))
        told = {"month": f"{comparison.month:%Y-%m}", "currency": comparison.currency}
        before = {**told, "accepted": minor_text(comparison.accepted_minor, comparison.currency)}
        after = {**told, "accepted": minor_text(accepted, comparison.currency)}
        command.because(reason).record(
            verb="invoice.difference_accepted", obj=comparison.connection, before=before, after=after
        )
        comparison.accepted_minor = accepted
    return comparison


def _refuse_while_closing(comparison: InvoiceComparison) -> None:
    """Refuse while the month is being closed: whoever approved that did not see this. Requests to close hold the same
    row."""
    StatementCounter.objects.select_for_update().filter(pk=1).first()
    if MonthClosing.objects.filter(month=comparison.month, state=MonthClosing.State.RUNNING).exists():
        raise Refusal(_("The month is being closed. Accept the difference once that is done, then close the rest."))
