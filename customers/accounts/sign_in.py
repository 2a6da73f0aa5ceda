"""Actions of staff on an account that need no operation: store its v2 username, and sign in as it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from customers.connections.client import client_for, config_of
from customers.models import Account, SignInRequest
from customers.models.account import AccountState
from customers.operations.request import why_unavailable
from portal.access.models import User
from portal.commands import Command
from portal.edits import refuse_stale
from portal.encryption import DecryptionError
from portal.providers import Forbidden, NotFound, ProviderError, SignIn
from portal.refusals import Refusal

SIGN_INS_PER_HOUR = 10
SIGNED_IN_AS = "account.signed_in_as"


class SignInRefused(Refusal):
    """A refusal shown to users. `at_provider` is True when the provider was called and returned no link."""

    def __init__(self, message: str, *, at_provider: bool = False, too_often: bool = False) -> None:
        super().__init__(message)
        self.at_provider = at_provider
        self.too_often = too_often


def edit_username(command: Command, *, account: Account, username: str, seen: Mapping[str, Any] | None = None) -> bool:
    """Store the account's v2 username, which identifies it in the v2 overview. False when nothing changed. `seen`: the
    values that the form was opened with. Raises `EditConflict` where another name was stored since."""
    username = username.strip()
    with transaction.atomic():
        before = Account.objects.select_for_update(no_key=True).get(pk=account.pk).v2_username
        refuse_stale({"username": before}, {"username": username}, seen)
        if before == username:
            return False
        Account.objects.filter(pk=account.pk).update(v2_username=username)
        command.record(
            verb="account.username_edited",
            obj=account,
            before={"v2_username": before},
            after={"v2_username": username},
        )
    account.v2_username = username
    return True


def why_no_sign_in(account: Account) -> str:
    """Return why sign-in as this account is not possible now; "" when it may be tried."""
    provider = {"provider": account.provider_label}
    if not account.connection.capabilities.sign_in_as:
        return _("%(provider)s doesn't support signing in as a customer.") % provider
    if account.state == AccountState.BANNED:
        return _("%(provider)s banned this account. No one can sign in.") % provider
    return why_unavailable(account)


def sign_in_link(command: Command, *, account: Account) -> SignIn:
    """Return a one-time URL, recorded in the audit log first. It is never stored, logged or repeated.

    Raises `SignInRefused`.
    """
    if refusal := why_no_sign_in(account):
        raise SignInRefused(refusal)
    place = _take_place(command.person, command.now)
    try:
        link = client_for(account.connection, interactive=True).sign_in_url(account.ref)
    except (ProviderError, DecryptionError) as error:
        place.delete()
        raise SignInRefused(_explained(account, error), at_provider=True) from None
    command.record(verb=SIGNED_IN_AS, obj=account)
    return link


def _take_place(actor: User, now: datetime) -> SignInRequest:
    """Count a sign-in before it happens. The user's row is locked meanwhile, so that requests at the same moment are
    counted one after the other (SQLite: the transaction holds the one write lock)."""
    hour_ago = now - timedelta(hours=1)
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=actor.pk)
        mine = SignInRequest.objects.filter(requested_by=actor)
        mine.filter(requested_at__lte=hour_ago).delete()
        if mine.count() >= SIGN_INS_PER_HOUR:
            raise SignInRefused(
                _("You've reached the limit of %(n)d customer sign-ins per hour. Try again later.")
                % {"n": SIGN_INS_PER_HOUR},
                too_often=True,
            )
        return SignInRequest.objects.create(requested_by=actor, requested_at=now)


def _explained(account: Account, error: Exception) -> str:
    provider = {"provider": account.provider_label, "why": str(error)}
    if isinstance(error, NotFound):
        return (
            _("%(provider)s couldn't find this account. Refresh the account to see whether it still exists.") % provider
        )
    if isinstance(error, Forbidden):
        return _("%(provider)s doesn't allow sign-in in the account's current state. Refresh the account.") % provider
    return _("%(provider)s didn't return a sign-in link. %(why)s") % provider


def sign_in_targets(account: Account) -> list[str]:
    """Return where the link may lead, as sources of a content policy: browsers apply `form-action` to a form's
    redirect."""
    base = urlsplit(account.connection.base_url)
    hosts = [host for host in config_of(account.connection).sign_in_hosts if host != base.hostname]
    own = [] if settings.PRODUCTION else [f"{base.scheme}://{base.netloc}"]
    return [f"https://{name}" for host in hosts for name in (host, f"*.{host}")] + own
