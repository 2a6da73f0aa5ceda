"""Commands on operations: cancel, retry, and the requests of all kinds, gathered here for their callers.

Each is one transaction. A refusal is an `UnableToAsk` whose text is a sentence for the requester. The same form
submitted twice by the same user is one operation: the first one is returned (`customers.operations.submissions`). The
requests are defined in `customers.operations.kinds`, what they share in `customers.operations.request`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

from customers.models import Operation
from customers.models.operation_states import OperationKind, OperationState
from customers.operations import attempts, transitions
from customers.operations.kinds.api_key_create import request_key_create
from customers.operations.kinds.api_keys import request_key_delete, request_key_update
from customers.operations.kinds.create import AlreadyCorrected, FirstKey, request_create
from customers.operations.kinds.delete import request_delete
from customers.operations.kinds.offerings import request_offerings
from customers.operations.kinds.sending_setup import request_domain, request_test_message
from customers.operations.kinds.settings import request_settings
from customers.operations.kinds.suspend import request_suspend, request_unsuspend
from customers.operations.kinds.table import kind_of
from customers.operations.request import PERFORM, StaleVersion, UnableToAsk, permit_role, record_operation_event
from customers.operations.submissions import AlreadySubmitted
from portal.access.models import User

__all__ = [
    "PERFORM",
    "AlreadyCorrected",
    "AlreadySubmitted",
    "FirstKey",
    "StaleVersion",
    "UnableToAsk",
    "cancel_operation",
    "request_create",
    "request_delete",
    "request_domain",
    "request_key_create",
    "request_key_delete",
    "request_key_update",
    "request_offerings",
    "request_settings",
    "request_suspend",
    "request_test_message",
    "request_unsuspend",
    "retry_operation",
]


def cancel_operation(*, actor: User, operation: Operation, now: datetime, request: HttpRequest | None = None) -> None:
    """Cancel an operation that is queued and has no send with an unknown outcome. Raises `UnableToAsk` when a worker
    has taken it."""
    permit_role(actor, OperationKind(operation.kind))
    try:
        with transaction.atomic():
            transitions.take_over(operation, only=OperationState.QUEUED)
            if attempts.has_possible_effect(operation):
                raise UnableToAsk(
                    _("It was sent before, and what became of that is not known yet. It can't be cancelled.")
                )
            transitions.move(
                operation, OperationState.CANCELLED, now=now, by=actor, summary=_("Cancelled before anything was sent.")
            )
            record_operation_event(operation, "operation.cancelled", actor=actor, request=request)
    except transitions.LostLease:
        raise UnableToAsk(_("It has started already and can't be cancelled any more.")) from None


def retry_operation(
    *, actor: User, operation: Operation, client_token: str, now: datetime, request: HttpRequest | None = None
) -> Operation:
    """Request a failed operation again, as a new one that links back (and, where a key is used, under a new one). A
    conflict is redone in the editor instead, a delete requested again on its page."""
    if operation.state != OperationState.FAILED or operation.error_kind == "conflict":
        raise UnableToAsk(_("Only an operation that failed can be sent again."))
    retry = kind_of(operation).retry
    if retry is None:
        raise UnableToAsk(_("A delete is asked anew on the account's page."))
    again: dict[str, Any] = {
        "actor": actor,
        "client_token": client_token,
        "now": now,
        "request": request,
        "retry_of": operation,
    }
    return retry(operation, again)
