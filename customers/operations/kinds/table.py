"""What each kind of operation does. The kinds stand in files of their own; what they say to the executor is in
`customers.operations.outcomes`."""

from __future__ import annotations

from customers.models import Operation
from customers.models.operation_states import OperationKind
from customers.operations.kinds.api_keys_action import KeyCreate, KeyDelete, KeyUpdate
from customers.operations.kinds.create_action import Create, KeyedCreate
from customers.operations.kinds.offerings import Delete, Offerings, Sending, Settings
from customers.operations.kinds.sending_setup import DomainAdd, SendTestMessage
from customers.operations.outcomes import Action

ACTIONS: dict[OperationKind, Action] = {
    OperationKind.CREATE: Create(),
    OperationKind.OFFERINGS: Offerings(),
    OperationKind.SUSPEND: Sending(on=False),
    OperationKind.UNSUSPEND: Sending(on=True),
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
