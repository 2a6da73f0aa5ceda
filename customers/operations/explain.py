"""Operations in plain words: the title, the explanation, and the steps. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

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


def title(operation: Operation) -> str:
    """Return the title over an operation that needs explaining; "" for one that runs normally."""
    provider = {"provider": operation.connection.provider_label}
    if operation.state == OperationState.UNKNOWN and operation.kind == OperationKind.CREATE:
        return _("We don't know if %(provider)s created this account.") % provider
    if operation.state == OperationState.UNKNOWN:
        return _("We don't know yet if %(provider)s did this.") % provider
    if operation.state == OperationState.NEEDS_ATTENTION:
        return _("This needs a person.")
    if operation.state != OperationState.FAILED:
        return ""
    match operation.error_kind:
        case "conflict":
            return _("It was changed at %(provider)s meanwhile. Ours is not in force.") % provider
        case "no_reading":
            return _("Nothing was deleted.")
        case "permission" | "held" | "do_not_suspend" | "no_key" | "leader_failed":
            return _("Nothing was sent.")
        case "rejected":
            return _("%(provider)s said no. Nothing changed there.") % provider
        case _:
            return _("This failed.")


def explanation(operation: Operation) -> str:
    """Return one or two sentences: the operation's status and what follows from it."""
    told = _STORIES.get(OperationState(operation.state))
    return told(operation) if told else explanation_sentence(operation.summary)


def _queued(operation: Operation) -> str:
    if operation.connection.paused:
        return _("The connection is paused. Nothing is sent until an admin resumes it.")
    if is_out_of_reach(operation.connection):
        return _("%(provider)s is out of reach. This is sent as soon as it answers again.") % {
            "provider": operation.connection.provider_label
        }
    if not operation.summary:
        return _("It waits for its turn. Nothing is sent yet, so it can be cancelled.")
    return _("%(why)s It is tried again at %(when)s.") % {
        "why": explanation_sentence(operation.summary),
        "when": clock_text(operation.not_before, seconds=True),
    }


def _claimed(operation: Operation) -> str:
    return _("A worker has taken it and looks first. Nothing is sent yet.")


def _sending(operation: Operation) -> str:
    name = {"provider": operation.connection.provider_label}
    return _("The request is with %(provider)s. It can't be cancelled any more.") % name


def _unknown(operation: Operation) -> str:
    if operation.needs_a_person:
        return _(
            "We sent the request and no usable answer came. We have not sent it again, so there is at most one new "
            "account. %(provider)s's list is looked through every few minutes: an account that is provably this one is "
            "linked; if three readings over a quarter of an hour have none, it is sent again. You may decide sooner."
        ) % {"provider": operation.connection.provider_label}
    if operation.kind in (OperationKind.CREATE, OperationKind.KEY_CREATE, OperationKind.TEST_MESSAGE):
        return _(
            "We sent the request and no usable answer came. We look for it at %(provider)s; if it is not there, the "
            "same request is sent again under the same key, so that it happens once."
        ) % {"provider": operation.connection.provider_label}
    return _(
        "We sent the change and no usable answer came. We read back at %(provider)s until we know. Nothing is sent "
        "before that."
    ) % {"provider": operation.connection.provider_label}


_STORIES: dict[OperationState, Callable[[Operation], str]] = {
    OperationState.QUEUED: _queued,
    OperationState.CLAIMED: _claimed,
    OperationState.SENDING: _sending,
    OperationState.UNKNOWN: _unknown,
}


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
        lines = [lines[0], StepLine(_("%(n)d steps more") % {"n": hidden}, "done"), *lines[1 + hidden :]]
    coming = _to_come(operation)
    return lines + [StepLine(label, "next", note=_("next") if label == coming[0] else "") for label in coming]


def _label(operation: Operation, row: Step) -> str:
    name = {"provider": operation.connection.provider_label}
    labels = {
        OperationState.QUEUED: _("Back in the queue") if row.before else _("Queued"),
        OperationState.CLAIMED: _first(operation),
        OperationState.SENDING: _("Sending to %(provider)s") % name,
        OperationState.UNKNOWN: _("No usable answer, outcome unknown"),
        OperationState.NEEDS_ATTENTION: _("Needs attention"),
        OperationState.SUCCEEDED: _("%(provider)s confirmed it") % name
        if row.before == OperationState.SENDING
        else _("Done"),
        OperationState.FAILED: _("Failed"),
        OperationState.CANCELLED: _("Cancelled"),
    }
    return labels[OperationState(row.after)]


def _first(operation: Operation) -> str:
    if operation.kind in (OperationKind.CREATE, OperationKind.KEY_CREATE):
        return _("Starting")
    return _("Looking at %(provider)s first") % {"provider": operation.connection.provider_label}


def _to_come(operation: Operation) -> list[str]:
    sending = _("Sending to %(provider)s") % {"provider": operation.connection.provider_label}
    match OperationState(operation.state):
        case OperationState.QUEUED:
            return [_first(operation), sending, _("Read back and compare")]
        case OperationState.CLAIMED:
            return [sending, _("Read back and compare")]
        case OperationState.SENDING:
            return [_("Read back and compare")]
        case OperationState.UNKNOWN if not operation.needs_a_person:
            return [_("Reading back until we know")]
        case OperationState.UNKNOWN:
            return [_("Found in the list, proven absent, or decided by a person")]
        case OperationState.NEEDS_ATTENTION:
            return [_("A person decides")]
        case _:
            return []
