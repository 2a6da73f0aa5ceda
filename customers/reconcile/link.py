"""Link an account that exists at the provider to a customer, with its present state as the desired one.

Nothing is changed at the provider. The account's state, and its offerings or settings, are read live.
"""

from __future__ import annotations

from copy import copy
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

from customers.models import Account, Customer, Operation, RemoteAccount
from customers.models.account import AccountState, as_rows
from customers.models.operation_states import OPEN, OperationKind
from customers.observed.matching import identities_of, possible_creates
from customers.operations.commands import UnableToAsk
from customers.operations.request import lock_customer
from portal import audit
from portal.access.models import User
from portal.access.permissions import allowed
from portal.providers import (
    AccountRef,
    NotFound,
    NotSent,
    Provider,
    ProviderError,
    RateLimited,
    Unreadable,
)

ROUTE = "customers:orphan-adopt"


class NotNow(UnableToAsk):
    """The provider can't be called at the moment; it may be tried again from `retry_at` on."""

    def __init__(self, message: str, *, retry_at: datetime) -> None:
        super().__init__(message)
        self.retry_at = retry_at


def link_account(
    *,
    actor: User,
    remote_account: RemoteAccount,
    customer: Customer,
    provider: Provider,
    now: datetime,
    reason: str = "",
    request: HttpRequest | None = None,
) -> Account:
    """Make `remote_account` an account of `customer`. Raises `UnableToAsk`: not there, taken, not readable now, or
    perhaps made by a create that is not done."""
    if not actor.is_active or not allowed(actor.role, ROUTE, "POST"):
        raise UnableToAsk(_("Your role may not do this."))
    columns = _read(remote_account, provider, now=now)
    try:
        with transaction.atomic():
            lock_customer(customer)
            _refuse_what_a_create_may_have_made(remote_account, columns)
            account = Account.objects.create(
                customer=customer,
                connection=remote_account.connection,
                provider_id=remote_account.provider_id,
                changed_at=now,
                changed_what=_("Taken over"),
                **columns,
            )
            Customer.objects.filter(pk=customer.pk, may_be_bare=True).update(may_be_bare=False)
            RemoteAccount.objects.filter(pk=remote_account.pk).update(ignored_at=None, ignored_by=None, ignored_why="")
            audit.record(
                actor=actor,
                verb="account.adopted",
                obj=account,
                customer=customer,
                account=account,
                after={"provider_id": remote_account.provider_id, "state": columns["state"]},
                reason=reason,
                request=request,
            )
    except IntegrityError:
        raise UnableToAsk(_("This account is a customer's already.")) from None
    return account


def _open_elsewhere(remote_account: RemoteAccount) -> Operation | None:
    """Return an open create that may have made this account, at another connection of the provider: two connections may
    be two keys of one reseller."""
    creates = Operation.objects.filter(
        kind=OperationKind.CREATE, state__in=OPEN, connection__kind=remote_account.connection.kind
    ).exclude(connection=remote_account.connection)
    identities = identities_of(remote_account)
    return (creates.filter(identity__in=identities) if identities else creates).first()


def _refuse_what_a_create_may_have_made(remote_account: RemoteAccount, columns: dict[str, Any]) -> None:
    """Refuse an account that an open create may have made, as the create would miss it and make another."""
    known: dict[str, str] = columns.get("settings") or {}
    fresh = _with(
        remote_account, email=columns["email"] or remote_account.email, name=known.get("name", remote_account.name),
        website=known.get("website", remote_account.website),
    )  # fmt: skip
    if create := possible_creates([fresh]).get(remote_account.pk) or _open_elsewhere(fresh):
        raise UnableToAsk(
            _("%(code)s may have made this account and is not done. Wait for it, or decide on its page.")
            % {"code": create.code}
        )


def _with(remote_account: RemoteAccount, **fields: str) -> RemoteAccount:
    """Return a copy with the values read just now; not to be saved."""
    fresh = copy(remote_account)
    for name, value in fields.items():
        setattr(fresh, name, value)
    return fresh


def _read(remote_account: RemoteAccount, provider: Provider, *, now: datetime) -> dict[str, Any]:
    """Return the account's columns as the provider has them at this moment, also as its desire."""
    ref = AccountRef(remote_account.provider_id)
    try:
        if provider.capabilities.settings:
            details = provider.details(ref)
            settings = asdict(details.settings)
            state, email = details.state, ""
            columns: dict[str, Any] = {
                "settings": settings, "desired_settings": settings, "settings_read_at": now,
                "domain_count": details.domains, "member_count": details.members,
                "last_activity_at": details.last_activity_at,
            }  # fmt: skip
        else:
            state, rows = provider.state(ref), as_rows(provider.offerings(ref))
            identity = provider.identity(ref)
            email = identity.email or remote_account.email
            columns = {
                "offerings": rows, "desired_offerings": rows, "offerings_read_at": now,
                "package": next((row["name"] for row in rows if row["type"] == "package"), ""),
                "v2_username": (identity.username or "")[:120],
            }  # fmt: skip
    except NotFound:
        raise UnableToAsk(_("The provider does not know this account any more.")) from None
    except (NotSent, RateLimited, Unreadable) as error:
        again = getattr(error, "retry_at", None) or now + timedelta(seconds=30)
        raise NotNow(_("The provider can't be read at the moment: %(why)s") % {"why": error}, retry_at=again) from None
    except ProviderError as error:
        raise UnableToAsk(_("The account could not be read: %(why)s Nothing was changed.") % {"why": error}) from None
    stopped = str(state.state) == AccountState.STOPPED_BY_US
    return columns | {
        "email": email, "state": state.state, "state_raw": state.raw[:60], "state_read_at": now, "read_tried_at": now,
        "desired_state": Account.Desired.STOPPED if stopped else Account.Desired.ACTIVE,
    }  # fmt: skip


def ignore_account(
    *, actor: User, remote_account: RemoteAccount, reason: str, now: datetime, request: HttpRequest | None = None
) -> None:
    """Ignore an account that is not ours to manage; the reason is stored. Raises `UnableToAsk`."""
    if not actor.is_active or not allowed(actor.role, ROUTE, "POST"):
        raise UnableToAsk(_("Your role may not do this."))
    if not reason.strip():
        raise UnableToAsk(_("A reason is needed. It is kept in the audit log."), field="reason")
    with transaction.atomic():
        RemoteAccount.objects.filter(pk=remote_account.pk).update(
            ignored_at=now, ignored_by=actor, ignored_why=reason[:500]
        )
        audit.record(actor=actor, verb="orphan.ignored", obj=remote_account, reason=reason, request=request)


def stop_ignoring_account(*, actor: User, remote_account: RemoteAccount, request: HttpRequest | None = None) -> None:
    with transaction.atomic():
        changed = RemoteAccount.objects.filter(pk=remote_account.pk, ignored_at__isnull=False).update(
            ignored_at=None, ignored_by=None, ignored_why=""
        )
        if changed:
            audit.record(actor=actor, verb="orphan.watched", obj=remote_account, request=request)
