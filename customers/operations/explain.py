"""Explanations of operations for pages: title, explanation and steps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from customers.models import Operation, Step
from customers.models.breaker import is_out_of_reach
from customers.models.operation_states import OperationKind, OperationState
from portal.formats import clock_text

STEPS_SHOWN = 8
_LOOKS = {
    OperationState.SUCCEEDED: "done",
    OperationState.FAILED: "failed",
    OperationState.CANCELLED: "failed",
    OperationState.UNKNOWN: "unknown",
    OperationState.NEEDS_ATTENTION: "unknown",
}


@dataclass(frozen=True)
class StepLine:
    """One line for the `steps` component of the pages."""

    label: str
    state: str
    at: datetime | None = None
    note: str = ""


_FAILED: dict[str, str | Promise] = {
    "conflict": gettext_lazy("Your change was not applied at %(provider)s."),
    "no_reading": gettext_lazy("Nothing was deleted."),
    "forbidden": gettext_lazy("%(provider)s denied this request to the connection's API key. Nothing changed."),
    "rejected": gettext_lazy("%(provider)s rejected the request. Nothing changed."),
    **dict.fromkeys(
        ("permission", "held", "do_not_suspend", "no_key", "leader_failed"), gettext_lazy("Nothing was sent.")
    ),
}


def title(operation: Operation) -> str:
    """Return the title over an operation that needs explaining; "" for one that runs normally."""
    provider = {"provider": operation.connection.provider_label}
    match operation.state:
        case OperationState.UNKNOWN if operation.kind == OperationKind.CREATE:
            return _("We don't know if %(provider)s created this account.") % provider
        case OperationState.UNKNOWN:
            return _("We don't know yet if %(provider)s processed this request.") % provider
        case OperationState.NEEDS_ATTENTION:
            return _("This operation needs review.")
        case OperationState.FAILED:
            return str(_FAILED.get(operation.error_kind, _("This operation failed."))) % provider
        case _:
            return ""


def explanation(operation: Operation) -> str:
    """Return one or two sentences: the operation's status and what follows from it."""
    match operation.state:
        case OperationState.QUEUED:
            return _queued(operation)
        case OperationState.CLAIMED:
            return _("A worker is preparing the request. Nothing has been sent yet.")
        case OperationState.SENDING:
            name = {"provider": operation.connection.provider_label}
            return _("The request is being sent to %(provider)s and can't be canceled.") % name
        case OperationState.UNKNOWN:
            return _unknown(operation)
        case OperationState.FAILED if operation.error_kind == "forbidden":
            return _forbidden(operation)
        case _:
            return explanation_sentence(operation.summary)


def _queued(operation: Operation) -> str:
    if operation.connection.is_on_hold:
        return _("The connection is on hold after a restore. Nothing is sent until an admin releases it.")
    if operation.connection.paused:
        return _("The connection is paused. Nothing is sent until an admin resumes it.")
    if is_out_of_reach(operation.connection):
        return _("%(provider)s is unreachable. The request will be sent once it responds again.") % {
            "provider": operation.connection.provider_label
        }
    if not operation.summary:
        return _("Waiting in the queue. Nothing has been sent yet, so it can still be canceled.")
    return _("%(why)s Next attempt at %(when)s.") % {
        "why": explanation_sentence(operation.summary),
        "when": clock_text(operation.not_before, seconds=True, zone=True),
    }


def _unknown(operation: Operation) -> str:
    if operation.needs_a_person:
        return _(
            "We sent the request but got no usable response. It has not been retried, so there is at most one "
            "new account. We scan %(provider)s's account list every few minutes and link an account only if "
            "it's proven to be this one. If three scans over at least 15 minutes find no match, the request is "
            "retried. You can resolve it sooner."
        ) % {"provider": operation.connection.provider_label}
    if operation.kind in (OperationKind.CREATE, OperationKind.KEY_CREATE, OperationKind.TEST_MESSAGE):
        return _(
            "We sent the request but got no usable response. Where possible, we check %(provider)s for the "
            "result. If it isn't there, the request is retried with an idempotency key to prevent duplicates."
        ) % {"provider": operation.connection.provider_label}
    return _(
        "We sent the change but got no usable response. We're checking %(provider)s until we know the outcome. "
        "Nothing else is sent until then."
    ) % {"provider": operation.connection.provider_label}


def _forbidden(operation: Operation) -> str:
    """Return the provider's response, its possible causes at this provider, and what to do."""
    if operation.connection.capabilities.blocks_temporarily:
        advice = _(
            "Either the API key of the connection “%(connection)s” lacks a permission, or %(provider)s has temporarily "
            "blocked it after too many rejected requests. Don't retry yet, because that can prolong a block. Ask an "
            "admin to select “Test connection” on the connection's page, and retry once the test passes."
        )
    else:
        advice = _(
            "The API key of the connection “%(connection)s” may lack a permission, its IP allowlist may not include "
            "this server, or your %(provider)s plan may not include this feature. Ask an admin to select “Test "
            "connection” on the connection's page, and retry once the test passes."
        )
    names = {"connection": operation.connection.name, "provider": operation.connection.provider_label}
    return f"{explanation_sentence(operation.summary)} {advice % names}".strip()


def explanation_sentence(text: str) -> str:
    text = text.strip()
    return text if not text or text[-1] in ".!?" else f"{text}."


# -- steps ---------------------------------------------------------------------------------------------------


def steps_of(operation: Operation) -> list[StepLine]:
    """Return the past, current and coming steps. A long history is cut to its last steps."""
    rows = list(operation.steps.all())
    lines = [
        StepLine(
            _label(operation, row), _LOOKS.get(OperationState(row.after), "now") if row is rows[-1] else "done", row.at
        )
        for row in rows
    ]
    hidden = len(lines) - STEPS_SHOWN
    if hidden > 0:
        more = ngettext("%(n)d more step", "%(n)d more steps", hidden) % {"n": hidden}
        lines = [lines[0], StepLine(more, "done"), *lines[1 + hidden :]]
    coming = _to_come(operation)
    return lines + [StepLine(label, "next", note=_("next") if label == coming[0] else "") for label in coming]


def _label(operation: Operation, row: Step) -> str:
    name = {"provider": operation.connection.provider_label}
    labels = {
        OperationState.QUEUED: _("Back in the queue") if row.before else _("Queued"),
        OperationState.CLAIMED: _first(operation),
        OperationState.SENDING: _("Sending to %(provider)s") % name,
        OperationState.UNKNOWN: _("No usable response, outcome unknown"),
        OperationState.NEEDS_ATTENTION: _("Needs review"),
        OperationState.SUCCEEDED: _("Confirmed by %(provider)s") % name
        if row.before == OperationState.SENDING
        else _("Succeeded"),
        OperationState.FAILED: _("Failed"),
        OperationState.CANCELLED: _("Canceled"),
    }
    return labels[OperationState(row.after)]


def _first(operation: Operation) -> str:
    if operation.kind in (OperationKind.CREATE, OperationKind.KEY_CREATE):
        return _("Starting")
    return _("Checking %(provider)s first") % {"provider": operation.connection.provider_label}


def _to_come(operation: Operation) -> list[str]:
    sending = _("Sending to %(provider)s") % {"provider": operation.connection.provider_label}
    match OperationState(operation.state):
        case OperationState.QUEUED:
            return [_first(operation), sending, _("Verifying the result")]
        case OperationState.CLAIMED:
            return [sending, _("Verifying the result")]
        case OperationState.SENDING:
            return [_("Verifying the result")]
        case OperationState.UNKNOWN if not operation.needs_a_person:
            return [_("Checking the outcome")]
        case OperationState.UNKNOWN:
            return [_("Found, confirmed missing, or resolved manually")]
        case OperationState.NEEDS_ATTENTION:
            return [_("Waiting for review")]
        case _:
            return []
