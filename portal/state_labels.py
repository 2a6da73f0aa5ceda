"""Labels and icons of all states, for pages, filters, exports and the help page.

The keys are the values stored in the database. ``qualifier`` and ``sentence`` may contain ``{provider}``, which
``StateLook.said_by`` replaces with the provider's name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

Text = str | Promise

# Stored as pending: the create failed and no operation is open.
NOT_CREATED = "not_created"


@dataclass(frozen=True, slots=True)
class Said:
    """Texts of a state with the provider's name filled in, for templates."""

    word: str
    qualifier: str
    sentence: str


@dataclass(frozen=True, slots=True)
class StateLook:
    word: Text
    icon: str
    css: str
    sentence: Text
    qualifier: Text = ""
    filled: bool = True

    def said_by(self, provider: str | Promise) -> Said:
        return Said(
            word=str(self.word),
            qualifier=str(self.qualifier).replace("{provider}", str(provider)),
            sentence=str(self.sentence).replace("{provider}", str(provider)),
        )


ACCOUNT_STATES: Mapping[str, StateLook] = MappingProxyType(
    {
        "active": StateLook(_("Active"), "circle-check", "active", _("Can send."), filled=False),
        "stopped_by_us": StateLook(
            _("Suspended"), "player-pause", "suspended", _("We stopped it. We can lift it."), _("by us")
        ),
        "stopped_by_provider": StateLook(
            _("Held"),
            "hand-stop",
            "held",
            _("{provider} stopped it. Only {provider} can release it."),
            _("by {provider}"),
        ),
        "banned": StateLook(_("Banned"), "ban", "banned", _("{provider} ended it for good.")),
        "pending": StateLook(_("Pending"), "clock-hour-4", "pending", _("Being created. Can't send yet.")),
        "indeterminate": StateLook(
            _("Indeterminate"), "circle-half-2", "indeterminate", _("{provider} gives no clear state.")
        ),
        NOT_CREATED: StateLook(
            _("Not created"), "circle-x", "not-created", _("The create came to nothing. Nothing exists at {provider}.")
        ),
        "deleted": StateLook(_("Deleted"), "trash", "deleted", _("Gone at the provider. History kept here.")),
        "unknown": StateLook(
            _("Unknown"), "help-circle", "unknown", _("We have not read it, or the reading is too old.")
        ),
    }
)

OPERATION_STATES: Mapping[str, StateLook] = MappingProxyType(
    {
        "queued": StateLook(_("Queued"), "clock", "queued", _("Waits for its turn. Can be cancelled."), filled=False),
        "claimed": StateLook(
            _("Starting"), "player-play", "claimed", _("Taken by a worker. Nothing sent yet."), filled=False
        ),
        "sending": StateLook(
            _("Sending"), "loader-2", "sending", _("With the provider. Can't be cancelled."), filled=False
        ),
        "unknown": StateLook(
            _("Outcome unknown"),
            "help-hexagon",
            "outcome",
            _("Sent, no answer. Never sent again without proof."),
        ),
        "needs_attention": StateLook(_("Needs attention"), "alert-triangle", "attention", _("A person must decide.")),
        "succeeded": StateLook(_("Succeeded"), "check", "succeeded", _("Done and read back."), filled=False),
        "failed": StateLook(_("Failed"), "x", "failed", _("The provider said no. Nothing changed."), filled=False),
        "cancelled": StateLook(_("Cancelled"), "circle-minus", "cancelled", _("Stopped before sending."), filled=False),
    }
)


def account_look(state: str) -> StateLook:
    """Return the look of an account state; an unlisted value is shown as unknown, never as healthy."""
    return ACCOUNT_STATES.get(state, ACCOUNT_STATES["unknown"])


def operation_look(state: str) -> StateLook:
    """Return the look of an operation state. An unlisted one is a programming error and raises ``KeyError``."""
    return OPERATION_STATES[state]


def account_state_choices(*, stored: bool = False) -> list[tuple[str, str]]:
    """Return (value, label) for filters and forms, with the qualifier that tells the two kinds of stop apart. `stored`:
    only values that a row can hold."""
    return [
        (key, _in_full(look, str(_("the provider"))))
        for key, look in ACCOUNT_STATES.items()
        if not (stored and key == NOT_CREATED)
    ]


def operation_state_choices() -> list[tuple[str, str]]:
    return [(key, str(look.word)) for key, look in OPERATION_STATES.items()]


def account_state_text(state: str, provider: str = "") -> str:
    """Return the state as plain text, for CSV files and mail: "Held by SendGrid"."""
    return _in_full(account_look(state), provider or str(_("the provider")))


def _in_full(look: StateLook, provider: str) -> str:
    said = look.said_by(provider)
    return f"{said.word} {said.qualifier}".strip()
