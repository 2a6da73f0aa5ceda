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
        _("The provider does not know the account"), _("Refresh the account to see whether it was deleted there.")
    ),
    "unauthorized": Cause(_("The provider refused our key"), _("An admin checks the connection's key.")),
    "forbidden": Cause(
        _("The provider does not allow this reading"),
        _("The key may lack the right to read usage, or the account is held. Check the connection."),
    ),
    "rejected": Cause(_("The provider refused the question"), _("Read its answer beside the account.")),
    "rate": Cause(
        _("The rate limit was used up"), _("The next run reads it. If it repeats, lower the connection's pace.")
    ),
    "not_sent": Cause(_("The provider could not be reached"), _("Retry the failed ones once it can be reached.")),
    "unreadable": Cause(_("The answer could not be read"), _("Retry the failed ones. The next night tries again.")),
    "unsupported": Cause(_("The source is not available"), _("Choose another usage source for the connection.")),
    NO_USER_NAME: Cause(
        _("The account has no v2 user name"), _("Refresh the account, or enter its user name; the v2 source needs it.")
    ),
    NO_FIGURE: Cause(_("The answer holds no number of e-mails"), _("Nothing was counted. The next night tries again.")),
    NOT_REPORTED: Cause(
        _("The account is not in the provider's report"),
        _("Refresh the account to see whether it still exists there. A report may leave suspended accounts out."),
    ),
    TOO_LATE: Cause(_("The time of the run was over"), _("The next run reads it.")),
    DELETED: Cause(_("The account was deleted meanwhile"), _("Nothing to do. Its last reading is kept.")),
    DUPLICATE: Cause(
        _("The account is a duplicate"), _("Merge it under Drift, Duplicates. The account it duplicates is read.")
    ),
    GUARD: Cause(_("The run was stopped before it came to this account"), _("See why the run was stopped.")),
    BUG: Cause(_("A fault of the portal"), _("The log has the details. The next run tries again.")),
}
UNKNOWN = Cause(_("Another reason"), _("Read the message beside the account."))

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
