"""What each kind of operation does. The kinds stand in files of their own; what they say to the executor is in
`customers.verdicts`."""

from __future__ import annotations

from customers.actions_account import Delete, Offerings, Sending, Settings
from customers.actions_create import Create, KeyedCreate
from customers.actions_keys import KeyCreate, KeyDelete, KeyUpdate
from customers.actions_sending import DomainAdd, SendTestMessage
from customers.models import Operation
from customers.models.operation_states import OperationKind
from customers.verdicts import Action

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
