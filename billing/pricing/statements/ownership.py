"""Accounts that changed their customer, from the audit log: nothing else records who owned an account before."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from django.db.models import Max, OuterRef, Subquery

from customers.models import Account, Customer
from portal.audit.models import AuditEvent

MOVED = "account.moved"
# After these an account is billed to another customer, or to none.
_OWNERS_CHANGED = (MOVED, "account.marked_duplicate")


class Move(NamedTuple):
    """An account went from one customer (pk) to another. `before` None: it can't be told who owned it."""

    at: datetime
    before: int | None


def moves_since(moment: datetime) -> dict[int, tuple[Move, ...]]:
    """Return by account (pk) its moves since a moment, the oldest first. Always four queries at most.

    The event of a move names the customer before it only by company name. Every earlier event of the account has the
    public ID of the customer that owned it then.
    """
    earlier = AuditEvent.objects.filter(
        account_id=OuterRef("object_id"), pk__lt=OuterRef("pk"), customer_id__isnull=False
    ).order_by("-pk")
    rows = list(
        AuditEvent.objects.filter(verb=MOVED, at__gte=moment)
        .annotate(owner=Subquery(earlier.values("customer_id")[:1]))
        .order_by("pk")
        .values_list("object_id", "at", "owner", "before")
    )
    if not rows:
        return {}
    accounts = dict(Account.objects.filter(public_id__in=[row[0] for row in rows]).values_list("public_id", "pk"))
    customers = dict(Customer.objects.filter(public_id__in=[row[2] for row in rows]).values_list("public_id", "pk"))
    named = _by_name([str(row[3].get("customer", "")) for row in rows if row[2] is None])
    found: dict[int, tuple[Move, ...]] = {}
    for public_id, at, owner, before in rows:
        if public_id and (account := accounts.get(public_id)):
            customer = customers.get(owner) if owner else named.get(str(before.get("customer", "")))
            found[account] = (*found.get(account, ()), Move(at, customer))
    return found


def needed_since() -> datetime | None:
    """Return the moment from which on the audit log tells owners, which retention keeps: that of the last event before
    the first move. None: no account has moved."""
    first = AuditEvent.objects.filter(verb=MOVED).order_by("pk").first()
    if first is None:
        return None
    earlier = AuditEvent.objects.filter(account_id=first.object_id, pk__lt=first.pk, customer_id__isnull=False)
    owner = earlier.order_by("-pk").first()
    return min(owner.at, first.at) if owner else first.at


def owners_stamp() -> int:
    """Return what changes whenever an account moved to another customer, or became a duplicate."""
    last: int | None = AuditEvent.objects.filter(verb__in=_OWNERS_CHANGED).aggregate(last=Max("pk"))["last"]
    return last or 0


def _by_name(names: list[str]) -> dict[str, int]:
    """Return the customers whose company name only one has."""
    if not names:
        return {}
    rows = list(Customer.objects.filter(company_name__in=names).values_list("company_name", "pk"))
    alike = [name for name, _pk in rows]
    return {name: pk for name, pk in rows if alike.count(name) == 1}
