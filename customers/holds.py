"""Holds: a person says that an account is not to be suspended by a schedule or in bulk, why, and until when.

A hold stops what happens by itself or to many at once. It does not stop a person's own click on that one account: they
are shown the hold and go on by saying so, and the operation names the hold it went past. Refusing them would only make
them release a colleague's hold first, and then nobody would place it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from customers.models import Account, Hold
from customers.models.account import AccountState
from customers.operations import UnableToAsk
from portal import audit
from portal.access.models import User
from portal.access.permissions import allowed

PLACE = "customers:hold-place"
RELEASE = "customers:hold-release"


def live(*, now: datetime) -> Q:
    """Holds that hold at this moment."""
    return Q(released_at=None) & (Q(until=None) | Q(until__gt=now))


def held(account_ids: Iterable[int], *, now: datetime | None = None) -> dict[int, Hold]:
    """The live hold of each of these accounts that has one, by the account's key. One query; those without are left
    out. Where there are several, the one that was placed last."""
    at = now or timezone.now()
    found = Hold.objects.filter(live(now=at), account__in=list(account_ids)).select_related("owner").order_by("pk")
    return {each.account_id: each for each in found}


def held_text(hold: Hold) -> str:
    return _("Held by %(name)s: %(why)s") % {"name": hold.owner, "why": hold.reason}


def is_held(*, now: datetime) -> Exists:
    """For querysets of accounts: whether a live hold is on the row."""
    return Exists(Hold.objects.filter(live(now=now), account=OuterRef("pk")))


def place(
    *,
    actor: User,
    account: Account,
    reason: str,
    until: datetime | None,
    now: datetime,
    request: HttpRequest | None = None,
) -> Hold:
    """Hold the account until a moment, or until somebody releases it. Raises `UnableToAsk`."""
    _may(actor, PLACE)
    if not reason.strip():
        raise UnableToAsk(_("Say why. Whoever meets the hold reads it."), field="reason")
    if until is not None and until <= now:
        raise UnableToAsk(_("Choose a moment to come."), field="until")
    with transaction.atomic():
        account = Account.objects.select_for_update().get(pk=account.pk)  # two people at once: one of them is told
        if account.state == AccountState.DELETED:
            raise UnableToAsk(_("The account is deleted. There is nothing to hold."))
        if other := held([account.pk], now=now).get(account.pk):
            raise UnableToAsk(_("%(name)s holds it already. Release that hold first.") % {"name": other.owner})
        hold = Hold.objects.create(
            account=account, owner=actor, reason=reason.strip()[:500], placed_at=now, until=until
        )
        _tell(hold, "hold.placed", actor=actor, reason=reason.strip(), request=request)
    return hold


def release(*, actor: User, hold: Hold, reason: str, now: datetime, request: HttpRequest | None = None) -> None:
    """End a live hold. Whoever may place one may release one: its owner may be on holiday. Raises `UnableToAsk`."""
    _may(actor, RELEASE)
    if not reason.strip():
        raise UnableToAsk(_("A reason is needed. It is kept in the audit log."), field="reason")
    with transaction.atomic():
        if not Hold.objects.filter(live(now=now), pk=hold.pk).update(released_at=now, released_by=actor):
            raise UnableToAsk(_("It does not hold any more."))
        _tell(hold, "hold.released", actor=actor, reason=reason.strip(), request=request)


def _may(actor: User, route: str) -> None:
    if not actor.is_active or not allowed(actor.role, route, "POST"):
        raise UnableToAsk(_("Your role may not do this."))


def _tell(hold: Hold, verb: str, *, actor: User, reason: str, request: HttpRequest | None) -> None:
    facts = {"until": hold.until.isoformat() if hold.until else None, "owner": str(hold.owner)}
    audit.record(
        actor=actor, verb=verb, obj=hold, customer=hold.account.customer, account=hold.account,
        after=facts if verb == "hold.placed" else None, before=None if verb == "hold.placed" else facts,
        reason=reason, request=request,
    )  # fmt: skip
