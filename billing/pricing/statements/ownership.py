"""Accounts that changed their customer, from the audit log: nothing else records who owned an account before.

What the log has of moves is stored when retention removes their events.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from django.db.models import Max, OuterRef, QuerySet, Subquery

from billing.models import AccountMove
from customers.models import Account, Customer
from portal.audit.models import AuditEvent

MOVED = "account.moved"
# After these an account is billed to another customer, or to none.
_OWNERS_CHANGED = (MOVED, "account.marked_duplicate")
_AT_ONCE = 500


class Move(NamedTuple):
    """An account went from one customer (pk) to another. `before` None: it can't be told who owned it."""

    at: datetime
    before: int | None


def moves_since(moment: datetime) -> dict[int, tuple[Move, ...]]:
    """Return by account (pk) its moves since a moment, the oldest first. Always five queries at most."""
    found: dict[int, tuple[Move, ...]] = {}
    stored = AccountMove.objects.filter(at__gte=moment).order_by("event_number")
    for account, at, customer in stored.values_list("account_id", "at", "customer_id"):
        found[account] = (*found.get(account, ()), Move(at, customer))
    for _number, account, move in _moves_of(AuditEvent.objects.filter(at__gte=moment)):
        found[account] = (*found.get(account, ()), move)
    return found


def store_moves(event_ids: list[int]) -> None:
    """Store the moves among audit events that are about to be removed."""
    for start in range(0, len(event_ids), _AT_ONCE):
        moves = _moves_of(AuditEvent.objects.filter(pk__in=event_ids[start : start + _AT_ONCE]))
        AccountMove.objects.bulk_create(
            AccountMove(event_number=number, account_id=account, at=move.at, customer_id=move.before)
            for number, account, move in moves
        )


def _moves_of(events: QuerySet[AuditEvent]) -> list[tuple[int, int, Move]]:
    """Return the moves among the events: number of the event, account (pk), and move.

    The event of a move names the customer before it only by company name. Every earlier event of the account has the
    public ID of the customer that owned it then.
    """
    earlier = AuditEvent.objects.filter(
        account_id=OuterRef("object_id"), pk__lt=OuterRef("pk"), customer_id__isnull=False
    ).order_by("-pk")
    rows = list(
        events.filter(verb=MOVED)
        .annotate(owner=Subquery(earlier.values("customer_id")[:1]))
        .order_by("pk")
        .values_list("pk", "object_id", "at", "owner", "before")
    )
    if not rows:
        return []
    accounts = dict(Account.objects.filter(public_id__in=[row[1] for row in rows]).values_list("public_id", "pk"))
    customers = dict(Customer.objects.filter(public_id__in=[row[3] for row in rows]).values_list("public_id", "pk"))
    named = _by_name([str(row[4].get("customer", "")) for row in rows if row[3] is None])
    found = []
    for number, public_id, at, owner, before in rows:
        if public_id and (account := accounts.get(public_id)):
            customer = customers.get(owner) if owner else named.get(str(before.get("customer", "")))
            found.append((number, account, Move(at, customer)))
    return found


def owners_stamp() -> int:
    """Return what changes whenever an account moved to another customer, or became a duplicate."""
    last: int | None = AuditEvent.objects.filter(verb__in=_OWNERS_CHANGED).aggregate(last=Max("pk"))["last"]
    stored: int | None = AccountMove.objects.aggregate(last=Max("event_number"))["last"]
    return max(last or 0, stored or 0)


def _by_name(names: list[str]) -> dict[str, int]:
    """Return the customers whose company name only one has."""
    if not names:
        return {}
    rows = list(Customer.objects.filter(company_name__in=names).values_list("company_name", "pk"))
    alike = [name for name, _pk in rows]
    return {name: pk for name, pk in rows if alike.count(name) == 1}
