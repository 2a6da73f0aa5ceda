"""Link an account that exists at the provider to a customer, with its present state as the desired one.

Nothing is changed at the provider. The account's state, and its offerings or settings, are read live.
"""

from __future__ import annotations

from copy import copy
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from customers.models import Account, Customer, Operation, RemoteAccount
from customers.models.account import AccountState, as_rows
from customers.models.operation_states import OPEN, OperationKind
from customers.observed import accounts as observed_accounts
from customers.observed import spans
from customers.observed.matching import identities_of, possible_creates
from customers.operations.request import lock_customer
from customers.reconcile import link_proof
from portal.access.permissions import Permission, require
from portal.commands import Command
from portal.providers import (
    AccountRef,
    NotFound,
    NotSent,
    Provider,
    ProviderError,
    RateLimited,
    Unreadable,
)
from portal.refusals import Refusal


class NotNow(Refusal):
    """The provider can't be called at the moment; it may be tried again from `retry_at` on."""

    def __init__(self, message: str, *, retry_at: datetime) -> None:
        super().__init__(message)
        self.retry_at = retry_at


def link_account(command: Command, *, remote_account: RemoteAccount, customer: Customer, provider: Provider) -> Account:
    """Make `remote_account` an account of `customer`. Raises `Refusal`: not there, taken, not readable now, or
    perhaps made by a create that is not done."""
    require(command.person, Permission.LINK_ACCOUNT)
    columns = _read(remote_account, provider, now=command.now)
    try:
        with transaction.atomic():
            lock_customer(customer)
            _refuse_what_a_create_may_have_made(remote_account, columns)
            told = link_proof.check_link(command, remote_account, customer, email=columns["email"])
            account = Account.objects.create(
                customer=customer,
                connection=remote_account.connection,
                provider_id=remote_account.provider_id,
                changed_at=command.now,
                changed_what=_("Linked to customer"),
                **columns,
            )
            spans.record_linked(account, made_at=remote_account.made_at, now=command.now)
            Customer.objects.filter(pk=customer.pk, may_be_bare=True).update(may_be_bare=False)
            RemoteAccount.objects.filter(pk=remote_account.pk).update(ignored_at=None, ignored_by=None, ignored_why="")
            command.record(
                verb="account.adopted",
                obj=account,
                customer=customer,
                after={"provider_id": remote_account.provider_id, "state": columns["state"]} | told,
            )
    except IntegrityError:
        raise Refusal(_("This account is already linked to a customer.")) from None
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
    fresh = copy(remote_account)  # with the values read just now; not to be saved
    fresh.email = columns["email"] or remote_account.email
    fresh.name = known.get("name", remote_account.name)
    fresh.website = known.get("website", remote_account.website)
    if create := possible_creates([fresh]).get(remote_account.pk) or _open_elsewhere(fresh):
        raise Refusal(
            _(
                "%(code)s may have created this account and isn't finished. Wait for it to finish, or resolve "
                "it on its page."
            )
            % {"code": create.code}
        )


def _read(remote_account: RemoteAccount, provider: Provider, *, now: datetime) -> dict[str, Any]:
    """Return the account's columns as the provider has them at this moment, also as its desire."""
    ref = AccountRef(remote_account.provider_id)
    try:
        if provider.capabilities.settings:
            details = provider.details(ref)
            state, email = details.state, ""
            columns = observed_accounts.columns_of_details(details) | {"settings_read_at": now}
            columns["desired_settings"] = columns["settings"]
        else:
            state, rows = provider.state(ref), as_rows(provider.offerings(ref))
            identity = provider.identity(ref)
            email = identity.email or remote_account.email
            columns = observed_accounts.columns_of_offerings(rows) | {
                "desired_offerings": rows,
                "offerings_read_at": now,
                "v2_username": observed_accounts.storable_username(identity),
            }
    except NotFound:
        raise Refusal(_("This account no longer exists at the provider.")) from None
    except (NotSent, RateLimited, Unreadable) as error:
        again = getattr(error, "retry_at", None) or now + timedelta(seconds=30)
        raise NotNow(
            _("The account can't be loaded from the provider right now: %(why)s") % {"why": error}, retry_at=again
        ) from None
    except ProviderError as error:
        raise Refusal(_("The account couldn't be loaded: %(why)s Nothing was changed.") % {"why": error}) from None
    stopped = str(state.state) == AccountState.STOPPED_BY_US
    return columns | {
        **observed_accounts.columns_of_state(state),
        "email": email,
        "state_read_at": now,
        "read_tried_at": now,
        "desired_state": Account.Desired.STOPPED if stopped else Account.Desired.ACTIVE,
    }


def ignore_account(command: Command, *, remote_account: RemoteAccount) -> None:
    """Ignore an account that is not ours to manage; the reason is stored. Raises `Refusal`."""
    require(command.person, Permission.LINK_ACCOUNT)
    if not command.reason.strip():
        raise Refusal(_("Enter a reason. It's recorded in the audit log."), field="reason")
    with transaction.atomic():
        RemoteAccount.objects.filter(pk=remote_account.pk).update(
            ignored_at=command.now, ignored_by=command.person, ignored_why=command.reason[:500]
        )
        command.record(verb="orphan.ignored", obj=remote_account)


def stop_ignoring_account(command: Command, *, remote_account: RemoteAccount) -> None:
    with transaction.atomic():
        changed = RemoteAccount.objects.filter(pk=remote_account.pk, ignored_at__isnull=False).update(
            ignored_at=None, ignored_by=None, ignored_why=""
        )
        if changed:
            command.record(verb="orphan.watched", obj=remote_account)
