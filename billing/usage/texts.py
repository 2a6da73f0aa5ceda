"""Messages of usage syncs, by code. A code is removed only when no row can have it."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

TEXTS: dict[str, str | Promise] = {
    "run.connection_paused": _("The connection is paused."),
    "run.key_does_not_open": _("The connection's stored key can't be decrypted."),
    "run.statistics_denied": _(
        "The key has no access to statistics (403). Figures of ended billing periods stay intervals."
    ),
    "run.statistics_key": _("The provider rejected the key (401)."),
    "run.accounts_missing": _(
        "The provider didn't find %(missing)d of %(answers)d accounts. Check that the connection uses the right key."
    ),
}
