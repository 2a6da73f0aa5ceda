"""What each kind of operation does. The kinds stand in files of their own; what they say to the executor is in
`customers.operations.outcomes`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from customers.models import Operation
from customers.models.operation_states import OperationKind
from customers.operations.kinds.api_key_create import KeyCreate, key_again
from customers.operations.kinds.api_keys import KeyDelete, KeyUpdate, request_key_delete, request_key_update
from customers.operations.kinds.create import Create, KeyedCreate, create_again
from customers.operations.kinds.delete import Delete
from customers.operations.kinds.offerings import Offerings, offerings_again
from customers.operations.kinds.sending_setup import DomainAdd, SendTestMessage, request_domain, request_test_message
from customers.operations.kinds.settings import Settings, settings_again
from customers.operations.kinds.suspend import SuspendOrUnsuspend, request_suspend, request_unsuspend
from customers.operations.outcomes import Action

ACTIONS: dict[OperationKind, Action] = {
    OperationKind.CREATE: Create(),
    OperationKind.OFFERINGS: Offerings(),
    OperationKind.SUSPEND: SuspendOrUnsuspend(on=False),
    OperationKind.UNSUSPEND: SuspendOrUnsuspend(on=True),
    OperationKind.DELETE: Delete(),
    OperationKind.SETTINGS: Settings(),
    OperationKind.KEY_CREATE: KeyCreate(),
    OperationKind.KEY_UPDATE: KeyUpdate(),
    OperationKind.KEY_DELETE: KeyDelete(),
    OperationKind.DOMAIN_ADD: DomainAdd(),
    OperationKind.TEST_MESSAGE: SendTestMessage(),
}
KEYED_CREATE = KeyedCreate()


def action_of(operation: Operation) -> Action:
    kind = OperationKind(operation.kind)
    if kind == OperationKind.CREATE and operation.connection.capabilities.idempotent_create:
        return KEYED_CREATE
    return ACTIONS[kind]


def _plain_again(ask: Callable[..., Operation], *parts: str) -> Callable[[Operation, dict[str, Any]], Operation]:
    """Ask again with the same account and reason, and the named parts of the payload."""

    def again_asked(operation: Operation, again: dict[str, Any]) -> Operation:
        same = {part: operation.payload[part] for part in parts if part in operation.payload}
        return ask(account=operation.account, reason=operation.reason, **same, **again)

    return again_asked


AGAIN: dict[OperationKind, Callable[[Operation, dict[str, Any]], Operation]] = {
    OperationKind.CREATE: create_again,
    OperationKind.OFFERINGS: offerings_again,
    OperationKind.SETTINGS: settings_again,
    OperationKind.SUSPEND: _plain_again(request_suspend),
    OperationKind.UNSUSPEND: _plain_again(request_unsuspend),
    OperationKind.KEY_CREATE: key_again,
    OperationKind.KEY_UPDATE: _plain_again(request_key_update, "key_id", "changes"),
    OperationKind.KEY_DELETE: _plain_again(request_key_delete, "key_id"),
    OperationKind.DOMAIN_ADD: lambda operation, again: request_domain(
        account=operation.account, name=operation.payload["domain"], reason=operation.reason, **again
    ),
    OperationKind.TEST_MESSAGE: _plain_again(request_test_message, "sender", "recipient"),
}
