"""Reasons an account could not be read: a code in the database, a text and the next step on the page."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from portal import providers

NO_USER_NAME = "no_user_name"
NO_FIGURE = "no_figure"
NOT_REPORTED = "not_reported"
TOO_LATE = "too_late"
DELETED = "deleted"
DUPLICATE = "duplicate"
GUARD = "guard"
BUG = "bug"


@dataclass(frozen=True, slots=True)
class Cause:
    words: str | Promise
    what_to_do: str | Promise


CAUSES: dict[str, Cause] = {
    "not_found": Cause(
        _("Account not found at the provider"),
        _("Refresh the account to check whether it was deleted at the provider."),
    ),
    "unauthorized": Cause(_("The provider rejected the key"), _("Ask an admin to check the connection's key.")),
    "forbidden": Cause(
        _("The provider denied access to usage"),
        _(
            "The key may be missing the scope for usage, or the account is blocked by the provider. Check the "
            "connection."
        ),
    ),
    "rejected": Cause(_("The provider rejected the request"), _("See the provider's response next to the account.")),
    "rate": Cause(
        _("Rate limit reached"),
        _("The next sync includes these accounts. If this keeps happening, lower the connection's rate limit."),
    ),
    "not_sent": Cause(_("Provider unreachable"), _("Retry the failed accounts when the provider is reachable.")),
    "unreadable": Cause(
        _("Invalid response from the provider"), _("Retry the failed accounts, or wait for the next nightly sync.")
    ),
    "unsupported": Cause(_("Usage source not available"), _("Select another usage source for the connection.")),
    NO_USER_NAME: Cause(
        _("The account has no v2 username"), _("Refresh the account or enter its username. The v2 source requires it.")
    ),
    NO_FIGURE: Cause(_("The response has no email count"), _("No usage was recorded. The next nightly sync retries.")),
    NOT_REPORTED: Cause(
        _("The account is not in the provider's report"),
        _("Refresh the account to check whether it still exists. A report may leave out suspended accounts."),
    ),
    TOO_LATE: Cause(_("The sync ran out of time"), _("The next sync includes these accounts.")),
    DELETED: Cause(
        _("The account was deleted during the sync"), _("No action needed. The last usage snapshot is still available.")
    ),
    DUPLICATE: Cause(
        _("The account is a duplicate"),
        _("Merge it under Drift > Duplicates. Usage is synced for the original account."),
    ),
    GUARD: Cause(_("The sync stopped before it reached this account"), _("Check why the sync stopped.")),
    BUG: Cause(_("Internal error"), _("Details are in the application log. The next sync retries.")),
}
UNKNOWN = Cause(_("Other reason"), _("See the message next to the account."))

# Ordered from the most to the least specific: the first match determines the cause.
_OF_ERROR: tuple[tuple[type[Exception], str], ...] = (
    (providers.NotFound, "not_found"),
    (providers.Unauthorized, "unauthorized"),
    (providers.Forbidden, "forbidden"),
    (providers.RateLimited, "rate"),
    (providers.Rejected, "rejected"),
    (providers.NotSent, "not_sent"),
    (providers.Unsupported, "unsupported"),
    (providers.ProviderError, "unreadable"),
)
# Retried later in the same run; every other cause would give the same result.
PASSING = frozenset({"not_sent", "unreadable", "rate", "unauthorized", BUG})


def cause_of(error: Exception) -> str:
    return next((cause for kind, cause in _OF_ERROR if isinstance(error, kind)), BUG)


def look(cause: str) -> Cause:
    return CAUSES.get(cause, UNKNOWN)
