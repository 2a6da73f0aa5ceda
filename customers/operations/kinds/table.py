"""All kinds of operation, one row each. The request, action and audit of a kind are in its own module; its label and
permission in `customers.models.operation_states`, which lower layers may import too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from customers.models import Operation
from customers.models.operation_states import OperationKind
from customers.operations.kinds.api_key_create import KeyCreate, retry_key_create
from customers.operations.kinds.api_keys import KeyDelete, KeyUpdate, request_key_delete, request_key_update
from customers.operations.kinds.create import Create, retry_create
from customers.operations.kinds.delete import Delete
from customers.operations.kinds.offerings import Offerings, retry_offerings
from customers.operations.kinds.sending_setup import DomainAdd, SendTestMessage, request_domain, request_test_message
from customers.operations.kinds.settings import Settings, retry_settings
from customers.operations.kinds.suspend import SuspendOrUnsuspend, request_suspend, request_unsuspend
from customers.operations.outcomes import Action
from portal.commands import Command

Retry = Callable[[Operation, Command], Operation]


@dataclass(frozen=True)
class Kind:
    """Properties of a kind for the executor and the pages.

    `action` reads before the change, sends it and reads it back. `retry` requests a failed operation again, as a new
    one that links back; None where that is done on a page of its own. `is_about_keys`: API keys are read back instead
    of the account, and the user must have entered their password recently.
    """

    action: Action
    retry: Retry | None
    is_about_keys: bool = False


def _same(request: Callable[..., Operation], *parts: str) -> Retry:
    """Return a retry for the same account, with the same reason and the named parts of the payload."""

    def retry(operation: Operation, command: Command) -> Operation:
        same = {part: operation.payload[part] for part in parts if part in operation.payload}
        return request(command, account=operation.account, **same)

    return retry


def _same_domain(operation: Operation, command: Command) -> Operation:
    return request_domain(command, account=operation.account, name=operation.payload["domain"])


KINDS: dict[OperationKind, Kind] = {
    OperationKind.CREATE: Kind(Create(), retry_create),
    OperationKind.OFFERINGS: Kind(Offerings(), retry_offerings),
    OperationKind.SETTINGS: Kind(Settings(), retry_settings),
    OperationKind.SUSPEND: Kind(SuspendOrUnsuspend(on=False), _same(request_suspend)),
    OperationKind.UNSUSPEND: Kind(SuspendOrUnsuspend(on=True), _same(request_unsuspend)),
    OperationKind.DELETE: Kind(Delete(), None),  # needs the password, and approval by another user where required
    OperationKind.KEY_CREATE: Kind(KeyCreate(), retry_key_create, is_about_keys=True),
    OperationKind.KEY_UPDATE: Kind(KeyUpdate(), _same(request_key_update, "key_id", "changes"), is_about_keys=True),
    OperationKind.KEY_DELETE: Kind(KeyDelete(), _same(request_key_delete, "key_id"), is_about_keys=True),
    OperationKind.DOMAIN_ADD: Kind(DomainAdd(), _same_domain),
    OperationKind.TEST_MESSAGE: Kind(SendTestMessage(), _same(request_test_message, "sender", "recipient")),
}


def kind_of(operation: Operation) -> Kind:
    return KINDS[OperationKind(operation.kind)]
