"""The parts of every request: permission, checks, and one row with its audit event.

The requests of each kind are in `customers.operations.kinds`. Each is one transaction (desire, operation, audit) and,
unless the connection's queue is long, a task message on commit; `customers.operations.submissions` makes one request of
one form.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import structlog
from django.db.models import F
from django.utils.translation import gettext as _

from customers.connections.scopes import why_no_scope
from customers.models import Account, Connection, Customer, Operation, Step
from customers.models.account import AccountState
from customers.models.operation_states import OPEN, PERMISSION_OF_KIND, OperationKind, OperationState
from customers.observed import duplicates
from customers.operations import transitions
from portal.access.models import User
from portal.access.permissions import require
from portal.commands import Command
from portal.providers import ReportedState
from portal.queue import enqueue_on_commit
from portal.queue_settings import REQUEST_ID
from portal.refusals import Refusal

PERFORM = "customers.perform"
# With more operations of a connection than this waiting to begin, a new one sends no message.
ENQUEUED_AT_MOST = 20
# The parts of an operation's payload that an audit event stores.
AUDITED = (
    "offerings",
    "is_test",
    "without_reading",
    "settings",
    "changes",
    "key",
    "key_id",
    "label",
    "keep",
    "domain",
    "sender",
    "recipient",
    "despite_hold",
    "replaces",
)


class StaleVersion(Refusal):
    """The account changed since the form was opened. `current` is the account as it is now."""

    def __init__(self, current: Account) -> None:
        super().__init__(_("The account changed while you were editing. Nothing was sent."))
        self.current = current


def lock_customer(customer: Customer) -> None:
    """Lock the customer's row until the transaction ends. Refuses an archived one: it gets no account."""
    customer.lock()
    if customer.archived_at:
        raise Refusal(_("%(customer)s is archived. Restore the customer first.") % {"customer": customer})


def permit(actor: User, connection: Connection, *kinds: OperationKind) -> None:
    """Check the user's role, and the scopes of our own credential at the provider, as far as they are known."""
    for kind in kinds:
        require(actor, PERMISSION_OF_KIND[kind])
        if why := why_no_scope(connection, kind):
            raise Refusal(why)


def request_change(
    command: Command,
    kind: OperationKind,
    account: Account,
    *,
    desire: dict[str, Any],
    payload: dict[str, Any],
    version: int,
    verb: str,
) -> Operation:
    """Change an existing account's desire and queue the operation that carries it out. Raises `StaleVersion`."""
    number = account.next_operation_number()
    account.refresh_from_db()
    waiting = refuse_if_blocked(kind, account, {})
    before = {name: getattr(account, name) for name in desire}
    chain = [each for each in waiting if set(each.before) & set(desire)]
    if chain:  # what waits in front has not succeeded yet: its "before" is the last value that did
        before = {name: chain[0].before.get(name, before[name]) for name in before}
    changed = Account.objects.filter(pk=account.pk, version=version).update(
        **desire,
        version=F("version") + 1,
        changed_at=command.now,
        changed_what=_("%(kind)s, requested") % {"kind": kind.label},
    )
    account.refresh_from_db()
    if changed != 1:
        raise StaleVersion(account)
    payload = payload | {"desire": desire}
    return queue_operation(command, kind, account, number=number, payload=payload, before=before, verb=verb)


def request_addition(
    command: Command,
    kind: OperationKind,
    account: Account,
    *,
    payload: dict[str, Any],
    same: tuple[str, ...],
    verb: str,
) -> Operation:
    """Queue an operation that changes no desire of the account. `same` names the parts of `payload` by which another
    open operation of this kind would be the same."""
    number = account.next_operation_number()
    account.refresh_from_db()
    refuse_if_blocked(kind, account, {name: payload[name] for name in same})
    return queue_operation(command, kind, account, number=number, payload=payload, verb=verb)


def why_unavailable(account: Account) -> str:
    """Return why nothing can be done with the account, whatever it is; "" when something can."""
    if not account.provider_id:
        return _("The account doesn't exist at %(provider)s yet.") % {"provider": account.provider_label}
    if account.duplicate_of_id is not None:
        return duplicates.refusal(account)
    if account.state == AccountState.DELETED:
        return _("The account is deleted and can't be changed.")
    return ""


def why_blocked(account: Account, kind: OperationKind, same: Operation | None) -> str:
    """Return why an operation of this kind is not possible now, as far as our own tables show; "" when it is. `same`:
    an open operation that does the same already, or deletes the account."""
    if why := why_unavailable(account):
        return why
    if same:
        return _("Already in progress: %(kind)s (%(code)s).") % {"kind": same.get_kind_display(), "code": same.code}
    return why_no_scope(account.connection, kind)


def why_state_is_fixed(account: Account) -> str:
    """Return why the account can't be suspended or unsuspended, by its state as last read; "" when it can."""
    provider = {"provider": account.provider_label}
    if ReportedState.STOPPED_BY_US not in account.connection.capabilities.writable_states:
        return _("%(provider)s doesn't support suspending accounts.") % provider
    if account.state in (AccountState.STOPPED_BY_PROVIDER, AccountState.BANNED):
        return _("%(provider)s blocked this account. Only %(provider)s can unblock it.") % provider
    return ""


def refuse_if_blocked(kind: OperationKind, account: Account, same: dict[str, Any]) -> list[Operation]:
    """Return the account's open operations, oldest first. Refuses where the account does not exist (anymore), is about
    to be deleted, or the same is in progress."""
    waiting = list(Operation.objects.filter(account=account, state__in=OPEN).order_by("pk"))
    busy = [
        each
        for each in waiting
        if each.kind == OperationKind.DELETE
        or (each.kind == kind and all(each.payload.get(name) == value for name, value in same.items()))
    ]
    if why := why_blocked(account, kind, busy[0] if busy else None):
        raise Refusal(why)
    return waiting


def queue_operation(
    command: Command,
    kind: OperationKind,
    account: Account,
    *,
    number: int,
    payload: dict[str, Any],
    verb: str,
    **fields: Any,
) -> Operation:
    operation = Operation.objects.create(
        kind=kind,
        account=account,
        connection=account.connection,
        number=number,
        payload=payload,
        requested_by=command.person,
        reason=command.reason,
        client_token=command.token,
        retry_of=command.retry_of,
        is_bulk=command.is_bulk,
        request_id=structlog.contextvars.get_contextvars().get(REQUEST_ID, ""),
        version=account.version,
        not_before=command.now,
        created_at=command.now,
        **fields,
    )
    Step.objects.create(
        operation=operation, n=1, before="", after=OperationState.QUEUED, at=command.now, by=command.person
    )
    record_operation_event(command, operation, verb)
    # Behind a long queue of the same connection it has to wait in any case: an operation that ends enqueues the next
    # one, and operations of other connections do not wait behind its message. What a person requested waits for no bulk
    # change.
    before_it = transitions.ready(now=command.now).filter(connection=account.connection_id)
    if not command.is_bulk:
        before_it = before_it.filter(is_bulk=False)
    if before_it[: ENQUEUED_AT_MOST + 1].count() <= ENQUEUED_AT_MOST:
        enqueue_on_commit(PERFORM, operation.pk)
    return operation


def token_of_follower(client_token: str, what: str) -> str:
    """Return the token of an operation that is requested together with the one of `client_token`, by the same form."""
    room = Operation._meta.get_field("client_token").max_length or 0
    told = f"{client_token}:{what}"
    return told if len(told) <= room else f"{sha256(client_token.encode()).hexdigest()[:40]}:{what}"


def record_operation_event(command: Command, operation: Operation, verb: str) -> None:
    """Record the operation's audit event, in the transaction of the change it is about."""
    command.record(
        verb=verb,
        obj=operation,
        before=operation.before,
        after={name: operation.payload[name] for name in AUDITED if operation.payload.get(name) is not None},
        reason=operation.reason,
    )


def need_reason(connection: Connection, reason: str, *, shown: bool = False) -> None:
    """Require a reason, and where the customer sees it (`shown`), one that the provider accepts in full."""
    if not reason.strip():
        raise Refusal(_("Enter a reason. It's recorded in the audit log."), field="reason")
    longest = connection.capabilities.reason_max
    if shown and connection.capabilities.reason_is_shown and len(reason.strip()) > longest:
        raise Refusal(
            _("The customer sees this reason. Use %(n)d characters or fewer.") % {"n": longest},
            field="reason",
        )
