"""Writing and reading of spans: the offerings and states of accounts, and when they may have been in force.

A reading that shows what is stored writes no span. Where it shows something else the account's row is locked first, so
that each change is compared with the value it replaces and written once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet

from customers.models import Account, AccountSpan, Operation
from customers.models.account import AccountState, package_name_of

Kind, Source = AccountSpan.Kind, AccountSpan.Source
Accounts = Iterable[int] | QuerySet[Account]

# States in which an account can't request mail. One that the provider suspended still can, though nothing is delivered,
# and credits count requests.
CANNOT_SEND = frozenset({AccountState.STOPPED_BY_US, AccountState.BANNED, AccountState.DELETED})
# Values that say nothing of what was before: a change from one of these is no change that was noticed.
_SAYS_NOTHING = (AccountState.PENDING, AccountState.UNKNOWN, None)


@dataclass(frozen=True)
class Before:
    """Stored values of an account whose row is locked, to be compared with those that are written."""

    account_id: int
    values: dict[str, Any]

    def differs(self, kind: str, value: Any) -> bool:
        return bool(self.values[kind] != value)

    def confirmed_at(self, kind: str) -> datetime | None:
        at: datetime | None = self.values[f"{kind}_read_at"]
        return at


def hold(accounts: QuerySet[Account]) -> Before | None:
    """Lock the one account of `accounts` until the transaction ends; None where there is none."""
    names = [column for kind in Kind for column in (str(kind), f"{kind}_read_at")]
    row = accounts.select_for_update(no_key=True).values("pk", *names).first()
    return None if row is None else Before(row.pop("pk"), row)


def update_known(account: Account, columns: dict[str, Any]) -> Before | None:
    """Write `columns` of an account whose values are as this process knows them, and return what they replace; None,
    and nothing is written, where another one wrote them since. The row is locked then as by `hold`."""
    names = [name for kind in Kind if kind in columns for name in (str(kind), f"{kind}_read_at")]
    values = {name: getattr(account, name) for name in names}
    if not names or not Account.objects.filter(pk=account.pk, **values).update(**columns):
        return None
    return Before(account.pk, values)


def record_reading(
    known: QuerySet[Account],
    *,
    kind: AccountSpan.Kind,
    columns: dict[str, Any],
    now: datetime,
    operation: Operation | None = None,
    is_answer: bool = True,
) -> bool:
    """Write the observed `columns` of the account that `known` matches, and a span if its `kind` changed. Return
    whether there was such a row, which inside a transaction is then locked.

    `operation`: the one that made this change. Without it another one did, and usage becomes due, unless the reading
    was no answer about the account (`is_answer`).
    """
    value = columns[kind]
    if known.filter(**{kind: value}).update(**columns):
        return True
    with transaction.atomic():
        before = hold(known)
        if before is None:
            return False
        noticed = operation is None and is_answer and before.values[kind] not in _SAYS_NOTHING
        changed = before.differs(kind, value)
        known.update(**columns | ({"usage_due_at": now} if noticed and changed else {}))
        if changed:
            source = Source.OPERATION if operation else Source.READING
            _add_span(before, kind, value, now=now, source=source, operation=operation)
    return True


def record_concluded(
    before: Before, columns: dict[str, Any], *, now: datetime, source: AccountSpan.Source, operation: Operation | None
) -> None:
    """Record what an operation or a user concluded, as `columns` of the account whose row `before` holds."""
    for kind in Kind:
        if kind in columns and before.differs(kind, columns[kind]):
            _add_span(before, kind, columns[kind], now=now, source=source, operation=operation)


def record_linked(account: Account, *, made_at: datetime | None, now: datetime) -> None:
    """Record the first values of an account that exists already, `made_at` by the provider's list."""
    values = {Kind.STATE: account.state, Kind.OFFERINGS: account.offerings}
    AccountSpan.objects.bulk_create(
        _span(account.pk, kind, value, from_at=made_at, seen_at=now, source=Source.LINKED)
        for kind, value in values.items()
        if value is not None
    )


def _add_span(
    before: Before, kind: AccountSpan.Kind, value: Any, *, now: datetime, source: str, operation: Operation | None
) -> None:
    """Close the current span and begin the next. Where the value before was never confirmed, this one may have begun
    as early as that."""
    current = AccountSpan.objects.filter(account=before.account_id, kind=kind, until_at=None)
    from_at = before.confirmed_at(kind)
    if from_at is None:
        from_at = current.values_list("from_at", flat=True).first() or (operation.created_at if operation else None)
    current.update(until_at=now)
    _span(before.account_id, kind, value, from_at=from_at, seen_at=now, source=source, operation=operation).save(
        force_insert=True
    )


def _span(account_id: int, kind: AccountSpan.Kind, value: Any, **facts: Any) -> AccountSpan:
    package = package_name_of(value)[:200] if kind == Kind.OFFERINGS else ""
    return AccountSpan(account_id=account_id, kind=kind, value=value, package=package, **facts)


def spans_of(
    accounts: Accounts, kind: AccountSpan.Kind, start: datetime, end: datetime
) -> dict[int, list[AccountSpan]]:
    """Return by account every span that may have been in force at a moment of [start, end), oldest first."""
    rows = AccountSpan.objects.filter(
        Q(from_at=None) | Q(from_at__lt=end), Q(until_at=None) | Q(until_at__gt=start), account__in=accounts, kind=kind
    )
    found: dict[int, list[AccountSpan]] = {}
    for span in rows.order_by("account", "pk"):
        found.setdefault(span.account_id, []).append(span)
    return found


def packages_of(accounts: Accounts, start: datetime, end: datetime) -> dict[int, list[str]]:
    """Return by account the packages that may have been in force in [start, end), oldest first, each once."""
    spans = spans_of(accounts, Kind.OFFERINGS, start, end)
    return {account: list(dict.fromkeys(each.package for each in rows)) for account, rows in spans.items()}


def unable_to_send(accounts: Accounts, start: datetime, end: datetime) -> set[int]:
    """Return the accounts that could not send in [start, end) by evidence: seen stopped before it, and again at its end
    or later, with nothing but `CANNOT_SEND` between. All others may have sent."""
    found = spans_of(accounts, Kind.STATE, start, end)
    read_at = dict(Account.objects.filter(pk__in=list(found)).values_list("pk", "state_read_at"))
    return {
        account for account, spans in found.items() if is_stopped_throughout(spans, start, end, read_at.get(account))
    }


def is_stopped_throughout(spans: list[AccountSpan], start: datetime, end: datetime, read_at: datetime | None) -> bool:
    """Return whether `spans`, an account's states of [start, end), prove that it could not send then. `read_at`: when
    its state was last read."""
    if spans[0].seen_at > start or any(span.value not in CANNOT_SEND for span in spans):
        return False
    last = spans[-1]
    # The next span began at `end` or later; a deleted account is not read anymore.
    return last.until_at is not None or last.value == AccountState.DELETED or (read_at is not None and read_at >= end)
