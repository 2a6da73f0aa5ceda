"""Labels and icons of all states, for pages, filters, exports and the help page.

The keys are the values stored in the database. ``qualifier`` and ``sentence`` may contain ``{provider}``, which
``StateLook.said_by`` replaces with the provider's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

Text = str | Promise

# Stored as pending: the create failed and no operation is open.
NOT_CREATED = "not_created"


@dataclass(frozen=True, slots=True)
class StateLook:
    word: Text
    icon: str
    css: str
    sentence: Text
    qualifier: Text = ""
    filled: bool = True

    def said_by(self, provider: str | Promise) -> StateLook:
        """Return the look with the provider's name filled in."""
        qualifier, sentence = (
            str(text).replace("{provider}", str(provider)) for text in (self.qualifier, self.sentence)
        )
        return replace(self, word=str(self.word), qualifier=qualifier, sentence=sentence)


ACCOUNT_STATES: Mapping[str, StateLook] = MappingProxyType(
    {
        "active": StateLook(_("Active"), "circle-check", "active", _("Can send email."), filled=False),
        "stopped_by_us": StateLook(
            _("Suspended"), "player-pause", "suspended", _("Can't send email. It can be unsuspended here.")
        ),
        "stopped_by_provider": StateLook(
            _("Blocked"),
            "hand-stop",
            "held",
            _("{provider} blocked it. Only {provider} can unblock it."),
            _("by {provider}"),
        ),
        "banned": StateLook(_("Banned"), "ban", "banned", _("{provider} closed it permanently.")),
        "pending": StateLook(_("Pending"), "clock-hour-4", "pending", _("Being created. Can't send email yet.")),
        "indeterminate": StateLook(
            _("Indeterminate"), "circle-half-2", "indeterminate", _("{provider} reports no clear state.")
        ),
        NOT_CREATED: StateLook(
            _("Not created"), "circle-x", "not-created", _("Account creation failed. Nothing exists at {provider}.")
        ),
        "deleted": StateLook(
            _("Deleted"), "trash", "deleted", _("Deleted at the provider. Its history remains in the portal.")
        ),
        "unknown": StateLook(_("Unknown"), "help-circle", "unknown", _("No state data, or the data is too old.")),
    }
)

OPERATION_STATES: Mapping[str, StateLook] = MappingProxyType(
    {
        "queued": StateLook(_("Queued"), "clock", "queued", _("Waiting in the queue. Can be canceled."), filled=False),
        "claimed": StateLook(
            _("Starting"), "player-play", "claimed", _("Picked up by a worker. Nothing sent yet."), filled=False
        ),
        "sending": StateLook(
            _("Sending"), "loader-2", "sending", _("Being sent to the provider. Can't be canceled."), filled=False
        ),
        "unknown": StateLook(
            _("Outcome unknown"),
            "help-hexagon",
            "outcome",
            _("Sent, no usable response. Never retried without proof that it is safe."),
        ),
        "needs_attention": StateLook(
            _("Needs review"), "alert-triangle", "attention", _("A team member must review it.")
        ),
        "succeeded": StateLook(_("Succeeded"), "check", "succeeded", _("Applied and verified."), filled=False),
        "failed": StateLook(_("Failed"), "x", "failed", _("The provider rejected it. Nothing changed."), filled=False),
        "cancelled": StateLook(_("Canceled"), "circle-minus", "cancelled", _("Canceled before sending."), filled=False),
    }
)


def account_look(state: str) -> StateLook:
    """Return the look of an account state; an unlisted value is shown as unknown, never as healthy."""
    return ACCOUNT_STATES.get(state, ACCOUNT_STATES["unknown"])


def operation_look(state: str) -> StateLook:
    """Return the look of an operation state. An unlisted one is a programming error and raises ``KeyError``."""
    return OPERATION_STATES[state]


def account_state_choices(*, stored: bool = False) -> list[tuple[str, str]]:
    """Return (value, label) for filters and forms, with the qualifier, which says who blocked it. `stored`:
    only values that a row can hold."""
    return [
        (key, _in_full(look, str(_("provider"))))
        for key, look in ACCOUNT_STATES.items()
        if not (stored and key == NOT_CREATED)
    ]


def operation_state_choices() -> list[tuple[str, str]]:
    return [(key, str(look.word)) for key, look in OPERATION_STATES.items()]


def account_state_text(state: str, provider: str = "") -> str:
    """Return the state as plain text, for CSV files and email: "Blocked by SendGrid"."""
    return _in_full(account_look(state), provider or str(_("provider")))


def _in_full(look: StateLook, provider: str) -> str:
    said = look.said_by(provider)
    return f"{said.word} {said.qualifier}".strip()
