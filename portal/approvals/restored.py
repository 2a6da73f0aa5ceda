"""Requests from before a restore. They can't be approved any more: since the backup they may have been approved,
rejected, or canceled, and no row tells."""

from __future__ import annotations

from datetime import datetime

from django.utils.translation import gettext as _

from portal.access.models import User
from portal.installation import epochs
from portal.refusals import Refusal


def restored_at() -> datetime | None:
    """Return when the database was last restored; None if it never was."""
    epoch = epochs.latest()
    return epoch.began_at if epoch and epoch.backup_at else None


def refuse_from_before(requester: User, *, requested_at: datetime) -> None:
    """Raise `Refusal` for a request from before the last restore."""
    since = restored_at()
    if since and requested_at <= since:
        text = _(
            "The database was restored from a backup since this was requested, and it may have been decided meanwhile. "
            "Reject it, and ask %(name)s to request it again if it is still needed."
        )
        raise Refusal(text % {"name": requester})
