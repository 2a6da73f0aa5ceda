"""The operation's states and the table of steps between them. Every pair not listed raises `IllegalStep`.

The table is the one of docs/decisions/operations.md; `tests/customers/models/test_operation_states.py` checks all 64
pairs.
"""

from __future__ import annotations

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class OperationState(TextChoices):
    QUEUED = "queued", _("Queued")
    CLAIMED = "claimed", _("Starting")
    SENDING = "sending", _("Sending")
    UNKNOWN = "unknown", _("Outcome unknown")
    NEEDS_ATTENTION = "needs_attention", _("Needs attention")
    SUCCEEDED = "succeeded", _("Succeeded")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


STEPS: dict[OperationState, frozenset[OperationState]] = {
    OperationState.QUEUED: frozenset(
        {OperationState.CLAIMED, OperationState.CANCELLED, OperationState.NEEDS_ATTENTION}
    ),
    OperationState.CLAIMED: frozenset(
        {
            OperationState.SENDING,
            OperationState.QUEUED,
            OperationState.SUCCEEDED,
            OperationState.FAILED,
            OperationState.NEEDS_ATTENTION,
        }
    ),
    OperationState.SENDING: frozenset(
        {OperationState.SUCCEEDED, OperationState.FAILED, OperationState.QUEUED, OperationState.UNKNOWN}
    ),
    OperationState.UNKNOWN: frozenset(
        {OperationState.SUCCEEDED, OperationState.FAILED, OperationState.QUEUED, OperationState.NEEDS_ATTENTION}
    ),
    OperationState.NEEDS_ATTENTION: frozenset({OperationState.SUCCEEDED, OperationState.FAILED, OperationState.QUEUED}),
    OperationState.SUCCEEDED: frozenset(),
    OperationState.FAILED: frozenset(),
    OperationState.CANCELLED: frozenset(),
}
# A step whose note begins so was made by `manage.py repair`; what was recorded before that step is history.
REPAIRED = "Repaired: "
# States in which a claim could leave an operation whose send it overwrote; repair leads from there back to unknown.
OVERWRITTEN = (
    OperationState.QUEUED,
    OperationState.CLAIMED,
    OperationState.NEEDS_ATTENTION,
    OperationState.FAILED,
    OperationState.CANCELLED,
)
BUSY = (OperationState.CLAIMED, OperationState.SENDING, OperationState.UNKNOWN, OperationState.NEEDS_ATTENTION)
FINAL = (OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED)
OPEN = (OperationState.QUEUED, *BUSY)
WAITS_FOR_A_PERSON = (OperationState.UNKNOWN, OperationState.NEEDS_ATTENTION)


class IllegalStep(Exception):
    """A step that is not in the table: a programming error, never a user's."""


def check_step(before: str, after: str) -> None:
    if OperationState(after) not in STEPS[OperationState(before)]:
        raise IllegalStep(f"{before} -> {after}")


class OperationKind(TextChoices):
    CREATE = "create", _("Create account")
    OFFERINGS = "offerings", _("Change offerings")
    SUSPEND = "suspend", _("Suspend")
    UNSUSPEND = "unsuspend", _("Unsuspend")
    DELETE = "delete", _("Delete account")
    SETTINGS = "settings", _("Change settings")
    KEY_CREATE = "key_create", _("Create API key")
    KEY_UPDATE = "key_update", _("Change API key")
    KEY_DELETE = "key_delete", _("Delete API key")
    DOMAIN_ADD = "domain_add", _("Add sending domain")
    TEST_MESSAGE = "test_message", _("Send test message")


# The permission each kind needs, as a route of permissions.toml: checked at the request, and again at the claim.
ROUTE_OF_KIND = {
    OperationKind.CREATE: "customers:create",
    OperationKind.OFFERINGS: "customers:account-offerings",
    OperationKind.SUSPEND: "customers:account-suspend",
    OperationKind.UNSUSPEND: "customers:account-unsuspend",
    OperationKind.DELETE: "customers:account-delete",
    OperationKind.SETTINGS: "customers:account-settings",
    OperationKind.KEY_CREATE: "customers:key-create",
    OperationKind.KEY_UPDATE: "customers:key-edit",
    OperationKind.KEY_DELETE: "customers:key-delete",
    OperationKind.DOMAIN_ADD: "customers:domain-add",
    OperationKind.TEST_MESSAGE: "customers:test-message",
}
