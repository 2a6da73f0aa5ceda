"""The context of a requested change, passed unchanged from the page to the row it creates."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone

from portal import audit

if TYPE_CHECKING:
    from portal.access.models import User
    from portal.audit.models import AuditEvent


@dataclass(frozen=True)
class Command:
    """The user, the moment, the reason and the form of a request for a change.

    `actor` None is the portal itself, or its command line. `token` identifies the form, so that one sent twice makes
    one request. `request` gives an audit event its address and request ID. `retry_of` is the failed operation that is
    requested again. `is_bulk`: one of many, which nobody waits for. `approval` is the one under which it is carried
    out, and `glass_reason` why an admin makes it without one that nobody can give (portal/approvals/gate.py).
    """

    actor: User | None
    now: datetime = field(default_factory=timezone.now)
    reason: str = ""
    token: str = ""
    request: HttpRequest | None = None
    retry_of: Any = None
    is_bulk: bool = False
    approval: Any = None
    glass_reason: str = ""

    @property
    def person(self) -> User:
        """Return the user. Raises `TypeError` for the portal itself, which may not ask for this."""
        if self.actor is None:
            raise TypeError("only a user can request this")
        return self.actor

    def because(self, reason: str) -> Command:
        """Return the same command with another reason."""
        return replace(self, reason=reason)

    def record(self, *, verb: str, obj: Model | None, **facts: Any) -> AuditEvent:
        """Append the command's audit event; see `portal.audit.record`. `reason` in `facts` replaces the command's."""
        told = {"reason": self.reason} | facts
        return audit.record(actor=self.actor, verb=verb, obj=obj, request=self.request, **told)
