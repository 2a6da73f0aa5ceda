"""Contracts on the calendar: the one in force on a day, scheduled ones, and those that were replaced.

On a day the contract with the latest first day counts, and of two with the same first day the one with the greater
number; after its last day the customer has none, whatever came before.
"""

from __future__ import annotations

from datetime import date, timedelta

from django.db.models import DateField, Exists, ExpressionWrapper, OuterRef, Q, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing.models import Contract
from customers.models import Customer

DRAFT, IN_FORCE, SCHEDULED, ENDED, REPLACED = "draft", "in_force", "scheduled", "ended", "replaced"
STATES: dict[str, str | Promise] = {
    DRAFT: _("Draft"),
    IN_FORCE: _("In force"),
    SCHEDULED: _("Scheduled"),
    ENDED: _("Ended"),
    REPLACED: _("Replaced"),
}


def published() -> QuerySet[Contract]:
    return Contract.objects.filter(published_at__isnull=False)


def contract_in_force(customer: Customer, day: date) -> Contract | None:
    """Return the customer's contract in force on a day."""
    latest = published().filter(customer=customer, valid_from__lte=day).order_by("-valid_from", "-n").first()
    return latest if latest and (latest.valid_until is None or latest.valid_until >= day) else None


def contracts_in_force(day: date) -> QuerySet[Contract]:
    """Return the contracts in force on a day, one of each customer that has one."""
    valid = published().filter(Q(valid_until=None) | Q(valid_until__gte=day), valid_from__lte=day)
    return valid.filter(~Exists(followers().filter(valid_from__lte=day)))


def followers() -> QuerySet[Contract]:
    """Return the contracts that replace the contract of the outer query from their first day on."""
    later = Q(valid_from__gt=OuterRef("valid_from")) | Q(valid_from=OuterRef("valid_from"), n__gt=OuterRef("n"))
    return published().filter(later, customer=OuterRef("customer"))


def not_replaced() -> QuerySet[Contract]:
    """Return the published contracts that are in force on some day: no other has the same first day and a greater
    number."""
    same_day = published().filter(customer=OuterRef("customer"), valid_from=OuterRef("valid_from"), n__gt=OuterRef("n"))
    return published().filter(~Exists(same_day))


def ending(today: date, until: date) -> QuerySet[Contract]:
    """Return the contracts in force whose last day is one of these, and that no other contract follows at once."""
    next_day = ExpressionWrapper(OuterRef("valid_until") + timedelta(days=1), output_field=DateField())
    following = followers().filter(valid_from__lte=next_day)
    return contracts_in_force(today).filter(~Exists(following), valid_until__range=(today, until))


def state_on(contract: Contract, current: Contract | None, today: date, *, is_replaced: bool) -> str:
    """Return the state of a contract; `current` is the customer's contract in force."""
    if contract.published_at is None:
        return DRAFT
    if current and contract.pk == current.pk:
        return IN_FORCE
    if is_replaced:
        return REPLACED
    if contract.valid_from and contract.valid_from > today:
        return SCHEDULED
    return ENDED if contract.valid_until and contract.valid_until < today else REPLACED
