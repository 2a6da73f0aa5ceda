"""Commands on operations: cancel, retry, and the requests of all kinds, gathered here for their callers.

Each is one transaction. A `Refusal` is a sentence for the requester. The same form
submitted twice by the same user is one operation: the first one is returned (`customers.operations.submissions`). The
requests are defined in `customers.operations.kinds`, what they share in `customers.operations.request`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from customers.models import Account, Operation
from customers.models.account import as_offerings
from customers.models.operation_states import PERMISSION_OF_KIND, OperationKind, OperationState
from customers.operations import attempts, transitions
from customers.operations.kinds.api_key_create import refuse_if_ending, refuse_key, request_key_create
from customers.operations.kinds.api_keys import request_key_delete, request_key_update
from customers.operations.kinds.create import AlreadyCorrected, FirstKey, request_create
from customers.operations.kinds.delete import request_delete
from customers.operations.kinds.offerings import request_offerings
from customers.operations.kinds.sending_setup import request_domain, request_test_message
from customers.operations.kinds.settings import request_settings
from customers.operations.kinds.suspend import request_suspend, request_unsuspend
from customers.operations.kinds.table import kind_of
from customers.operations.request import PERFORM, StaleVersion, record_operation_event
from customers.operations.submissions import AlreadySubmitted
from portal.access.permissions import require
from portal.commands import Command
from portal.leases import LostLease
from portal.refusals import Refusal
from portal.texts import say

__all__ = [
    "PERFORM",
    "AlreadyCorrected",
    "AlreadySubmitted",
    "FirstKey",
    "StaleVersion",
    "cancel_operation",
    "refuse_if_ending",
    "refuse_key",
    "request_create",
    "request_delete",
    "request_domain",
    "request_key_create",
    "request_key_delete",
    "request_key_update",
    "request_offerings",
    "request_planned",
    "request_settings",
    "request_suspend",
    "request_test_message",
    "request_unsuspend",
    "retry_operation",
]


def request_planned(
    command: Command,
    kind: OperationKind,
    account: Account,
    *,
    version: int,
    before: dict[str, Any],
    after: dict[str, Any],
) -> Operation:
    """Request what a schedule or a bulk change planned. `before` and `after` hold offerings, or the settings and what
    changes of them, as stored; a change of state needs none."""
    match kind:
        case OperationKind.OFFERINGS:
            base, wanted = as_offerings(before["offerings"]), as_offerings(after["offerings"])
            return request_offerings(command, account=account, base=base, version=version, offerings=wanted)
        case OperationKind.SETTINGS:
            return request_settings(command, account=account, base=before["settings"], version=version, changes=after)
        case OperationKind.SUSPEND:
            return request_suspend(command, account=account)
        case _:
            return request_unsuspend(command, account=account)


def cancel_operation(command: Command, *, operation: Operation) -> None:
    """Cancel an operation that is queued and has no send with an unknown outcome. Raises `Refusal` when a worker
    has taken it."""
    require(command.person, PERMISSION_OF_KIND[operation.kind])
    started = Refusal(_("The operation has already started and can't be canceled."))
    if operation.state != OperationState.QUEUED:
        raise started
    if operation.recovery_id is not None:
        raise Refusal(
            _(
                "It may have been sent after the backup from which the database was restored, so it can't be canceled. "
                "Its outcome is checked after the connection is released."
            )
        )
    try:
        with transaction.atomic():
            operation.take_over()
            if attempts.has_possible_effect(operation):
                raise Refusal(
                    _("An earlier request was sent and its outcome is unknown, so this operation can't be canceled.")
                )
            transitions.move(
                operation,
                OperationState.CANCELLED,
                now=command.now,
                by=command.person,
                summary=say("cancelled"),
            )
            record_operation_event(command, operation, "operation.cancelled")
    except LostLease:
        raise started from None


def retry_operation(command: Command, *, operation: Operation) -> Operation:
    """Request a failed operation again, as a new one that links back (and, where a key is used, under a new one). A
    conflict is redone in the editor instead, a delete requested again on its page."""
    if operation.state != OperationState.FAILED or operation.error_kind == "conflict":
        raise Refusal(_("Only failed operations can be retried."))
    retry = kind_of(operation).retry
    if retry is None:
        raise Refusal(_("To retry a deletion, request it again on the account's page."))
    return retry(operation, replace(command, reason=operation.reason, retry_of=operation))
