"""The attempts of an operation, and the effect they may have had at the provider."""

from __future__ import annotations

from django.db.models import QuerySet

from customers.models import Attempt, Operation
from customers.models.operation_states import OperationKind
from portal.installation.epochs import current_epoch

# Outcomes of a send that may have changed something.
UNCERTAIN = (Attempt.Outcome.NONE, Attempt.Outcome.UNKNOWN)
# Statuses of refusals after which the same may be sent later.
SAYS_LATER = (401, 409, 429)


def attempts_sent(operation: Operation) -> QuerySet[Attempt]:
    """Return the sends that reached the provider or may have, oldest first."""
    return operation.attempts.exclude(outcome=Attempt.Outcome.NOT_SENT).order_by("n")


def attempts_unknown(operation: Operation) -> QuerySet[Attempt]:
    """Return the sends whose outcome is unknown, oldest first."""
    return operation.attempts.filter(outcome__in=UNCERTAIN).order_by("n")


def count_unsuccessful(operation: Operation) -> int:
    """Return how many sends have an unknown outcome or were refused."""
    refused = operation.attempts.filter(outcome=Attempt.Outcome.REJECTED).exclude(status__in=SAYS_LATER)
    return attempts_unknown(operation).count() + refused.count()


def has_possible_effect(operation: Operation) -> bool:
    """Return whether a send may have changed something, or is known to have, while the operation is not done."""
    traces = (*UNCERTAIN, Attempt.Outcome.PREPARED, Attempt.Outcome.APPLIED)
    return operation.attempts.filter(outcome__in=traces).exists()


def sent_before_restore(operation: Operation) -> bool:
    """Return whether a send of unknown outcome is from before a restore: what followed it is not in the rows."""
    return operation.attempts.filter(outcome__in=UNCERTAIN, epoch__lt=current_epoch()).exists()


def late_answer(operation: Operation) -> Attempt | None:
    """Return the attempt whose answer came after its worker had lost the operation."""
    return operation.attempts.filter(outcome=Attempt.Outcome.APPLIED).order_by("-n").first()


def late_answer_of_earlier_create(operation: Operation) -> Attempt | None:
    """Return the attempt of an earlier create of the account, ended by staff, whose late answer names the account."""
    earlier = Attempt.objects.filter(
        operation__account=operation.account_id, operation__kind=OperationKind.CREATE, outcome=Attempt.Outcome.APPLIED
    )
    return earlier.exclude(operation=operation.pk).order_by("-pk").first()
