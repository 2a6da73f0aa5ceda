"""The parts of every request: permission, checks, and one row with its audit event.

The requests of each kind are in `customers.operations.kinds`. Each is one transaction (desire, operation, audit) and,
unless the connection's queue is long, a task message on commit; `customers.operations.submissions` makes one request of
one form.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Any

from django.db.models import F
from django.http import HttpRequest
from django.utils.translation import gettext as _

from customers.connections import scopes
from customers.models import Account, Connection, Customer, Operation, Step
from customers.models.account import AccountState
from customers.models.operation_states import OPEN, ROUTE_OF_KIND, OperationKind, OperationState
from customers.observed import duplicates
from customers.operations import transitions
from portal import audit
from portal.access.models import User
from portal.access.permissions import allowed
from portal.queue import enqueue_on_commit

PERFORM = "customers.perform"
# With more operations of a connection than this waiting to begin, a new one sends no message.
ENQUEUED_AT_MOST = 20
# The parts of an operation's payload that an audit event stores.
AUDITED = (
    "offerings", "is_test", "without_reading", "settings", "changes", "key", "key_id", "label", "keep", "domain",
    "sender", "recipient", "despite_hold",
)  # fmt: skip


class UnableToAsk(Exception):
    """A refusal shown to users. `field` names the form field it belongs to, "" for the form as a whole."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class StaleVersion(UnableToAsk):
    """The account changed since the form was opened. `current` is the account as it is now."""

    def __init__(self, current: Account) -> None:
        super().__init__(_("The account changed while you were editing. Nothing was sent."))
        self.current = current


def lock_customer(customer: Customer) -> None:
    """Lock the customer's row until the transaction ends. Refuses an archived one: it gets no account."""
    customer.lock()
    if customer.archived_at:
        raise UnableToAsk(_("%(customer)s is archived. Restore the customer first.") % {"customer": customer})


def permit(actor: User, connection: Connection, *kinds: OperationKind) -> None:
    """Check the user's role, and the scopes of our own credential at the provider, as far as they are known."""
    for kind in kinds:
        permit_role(actor, kind)
        if scope := scopes.missing_scope(connection, kind):
            raise UnableToAsk(scopes.missing_text(connection, scope))


def permit_role(actor: User, kind: OperationKind) -> None:
    if not actor.is_active or not allowed(actor.role, ROUTE_OF_KIND[kind], "POST"):
        raise UnableToAsk(_("Your role may not do this."))


def request_change(
    kind: OperationKind,
    account: Account,
    *,
    desire: dict[str, Any],
    payload: dict[str, Any],
    version: int,
    now: datetime,
    **rest: Any,
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
        **desire, version=F("version") + 1, changed_at=now, changed_what=f"{kind.label}, {_('asked')}"
    )
    account.refresh_from_db()
    if changed != 1:
        raise StaleVersion(account)
    return queue_operation(
        kind, account, number=number, now=now, payload=payload | {"desire": desire}, before=before, **rest
    )


def request_addition(
    kind: OperationKind, account: Account, *, payload: dict[str, Any], same: tuple[str, ...], **rest: Any
) -> Operation:
    """Queue an operation that changes no desire of the account. `same` names the parts of `payload` by which another
    open operation of this kind would be the same."""
    number = account.next_operation_number()
    account.refresh_from_db()
    refuse_if_blocked(kind, account, {name: payload[name] for name in same})
    return queue_operation(kind, account, number=number, payload=payload, **rest)


def refuse_if_blocked(kind: OperationKind, account: Account, same: dict[str, Any]) -> list[Operation]:
    """Return the account's open operations, oldest first. Refuses where the account does not exist (any more), is about
    to be deleted, or the same is under way."""
    if not account.provider_id:
        raise UnableToAsk(_("The account does not exist at the provider yet."))
    if account.duplicate_of_id is not None:
        raise UnableToAsk(duplicates.refusal(account))
    if account.state == AccountState.DELETED:
        raise UnableToAsk(_("The account is deleted. Nothing can be changed any more."))
    waiting = list(Operation.objects.filter(account=account, state__in=OPEN).order_by("pk"))
    if any(each.kind == OperationKind.DELETE for each in waiting):
        raise UnableToAsk(_("A delete of this account is under way."))
    for each in waiting:
        if each.kind == kind and all(each.payload.get(name) == value for name, value in same.items()):
            raise UnableToAsk(_("The same is under way already: %(code)s.") % {"code": each.code})
    return waiting


def queue_operation(
    kind: OperationKind,
    account: Account,
    *,
    number: int,
    actor: User,
    now: datetime,
    verb: str,
    request: HttpRequest | None,
    **fields: Any,
) -> Operation:
    operation = Operation.objects.create(
        kind=kind,
        account=account,
        connection=account.connection,
        number=number,
        requested_by=actor,
        version=account.version,
        not_before=now,
        created_at=now,
        **fields,
    )
    Step.objects.create(operation=operation, n=1, before="", after=OperationState.QUEUED, at=now, by=actor)
    record_operation_event(operation, verb, actor=actor, request=request)
    # Behind a long queue of the same connection it has to wait in any case: an operation that ends enqueues the next
    # one, and operations of other connections do not wait behind its message.
    if (
        transitions.ready(now=now).filter(connection=account.connection_id)[: ENQUEUED_AT_MOST + 1].count()
        <= ENQUEUED_AT_MOST
    ):
        enqueue_on_commit(PERFORM, operation.pk)
    return operation


def token_of_follower(client_token: str, what: str) -> str:
    """Return the token of an operation that is requested together with the one of `client_token`, by the same form."""
    room = Operation._meta.get_field("client_token").max_length or 0
    told = f"{client_token}:{what}"
    return told if len(told) <= room else f"{sha256(client_token.encode()).hexdigest()[:40]}:{what}"


def record_operation_event(operation: Operation, verb: str, *, actor: User, request: HttpRequest | None) -> None:
    """Record the operation's audit event, in the transaction of the change it is about."""
    audit.record(
        actor=actor,
        verb=verb,
        obj=operation,
        customer=operation.account.customer,
        account=operation.account,
        before=operation.before,
        after={name: operation.payload[name] for name in AUDITED if operation.payload.get(name) is not None},
        reason=operation.reason,
        request=request,
    )


def need_reason(connection: Connection, reason: str, *, shown: bool = False) -> None:
    """Require a reason, and where the customer sees it (`shown`), one that the provider accepts in full."""
    if not reason.strip():
        raise UnableToAsk(_("A reason is needed. It is kept in the audit log."), field="reason")
    longest = connection.capabilities.reason_max
    if shown and connection.capabilities.reason_is_shown and len(reason.strip()) > longest:
        raise UnableToAsk(
            _("The customer reads this reason, and it may have %(n)d characters at most.") % {"n": longest},
            field="reason",
        )
