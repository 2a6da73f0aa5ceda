"""The operation's states and the table of steps between them. Every pair not listed raises `IllegalStep`.

The table is the one of docs/decisions/operations.md; `tests/customers/models/test_operation_states.py` checks all 64
pairs.
"""

from __future__ import annotations

from django.db.models import Q, TextChoices
from django.utils.translation import gettext_lazy as _

from portal.access.permissions import Permission
from portal.texts import stored_as


class OperationState(TextChoices):
    QUEUED = "queued", _("Queued")
    CLAIMED = "claimed", _("Starting")
    SENDING = "sending", _("Sending")
    UNKNOWN = "unknown", _("Outcome unknown")
    NEEDS_ATTENTION = "needs_attention", _("Needs review")
    SUCCEEDED = "succeeded", _("Succeeded")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Canceled")


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
# The steps that `manage.py repair` made; what was recorded before such a step is history. Older notes are plain.
REPAIRED = Q(note__startswith=stored_as("repaired.")) | Q(note__startswith="Repaired: ")
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


# Changes after which usage is read; before all of them but the first it is read as well.
USAGE_IS_READ_AFTER = (OperationKind.CREATE, OperationKind.OFFERINGS, OperationKind.SUSPEND, OperationKind.UNSUSPEND)


# The permission each kind needs: checked at the request, and again at the claim.
PERMISSION_OF_KIND: dict[str, Permission] = {
    OperationKind.CREATE: Permission.CREATE_ACCOUNT,
    OperationKind.OFFERINGS: Permission.CHANGE_OFFERINGS,
    OperationKind.SUSPEND: Permission.SUSPEND_ACCOUNT,
    OperationKind.UNSUSPEND: Permission.UNSUSPEND_ACCOUNT,
    OperationKind.DELETE: Permission.DELETE_ACCOUNT,
    OperationKind.SETTINGS: Permission.CHANGE_SETTINGS,
    OperationKind.KEY_CREATE: Permission.CREATE_KEY,
    OperationKind.KEY_UPDATE: Permission.CHANGE_KEY,
    OperationKind.KEY_DELETE: Permission.DELETE_KEY,
    OperationKind.DOMAIN_ADD: Permission.ADD_DOMAIN,
    OperationKind.TEST_MESSAGE: Permission.SEND_TEST_MESSAGE,
}
