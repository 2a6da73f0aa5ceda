"""Change an account's name, website and monthly cap."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from django.utils.translation import gettext as _

from customers.models import Account, Connection, Operation
from customers.models.account import AccountState, identity_of
from customers.models.operation import never_made
from customers.models.operation_states import OperationKind
from customers.observed import accounts as observed_accounts
from customers.operations.outcomes import Failed, NotApplied, Send, Succeeded, with_columns
from customers.operations.request import UnableToAsk, permit, request_change
from customers.operations.submissions import submit_once
from portal.access.models import User
from portal.providers import AccountSettings, OutcomeUnknown, Provider


def request_settings(
    *,
    actor: User,
    account: Account,
    base: dict[str, Any],
    version: int,
    changes: dict[str, Any],
    reason: str,
    client_token: str,
    now: datetime,
    request: HttpRequest | None = None,
    retry_of: Operation | None = None,
) -> Operation:
    """Request a change of name, website or monthly cap (0 = no cap). `base` is all that the requester saw; `changes`
    only what is to be different. Where the provider's differ from `base` at the time of sending, the operation ends as
    a conflict and nothing is sent. Raises `StaleVersion`."""
    permit(actor, account.connection, OperationKind.SETTINGS)
    if changes.keys() - {"name", "website", "monthly_cap"}:
        raise TypeError(f"not a setting: {sorted(changes)}")
    changes = {name: value for name, value in changes.items() if value != base.get(name)}
    if not changes:
        raise UnableToAsk(_("Nothing is different from what the account has."))

    def make() -> Operation:
        account.lock()
        wanted = (account.desired_settings or base) | changes
        validate_settings(AccountSettings(**wanted))
        if changes.keys() & {"name", "website"}:
            refuse_same_settings(account.connection, AccountSettings(**wanted), apart_from=account)
        return request_change(
            OperationKind.SETTINGS,
            account,
            desire={"desired_settings": wanted},
            payload={"settings": base | changes, "changes": changes, "base": base},
            version=version,
            actor=actor,
            reason=reason,
            client_token=client_token,
            now=now,
            request=request,
            verb="account.settings_asked",
            retry_of=retry_of,
        )

    return submit_once(
        Operation,
        actor=actor,
        client_token=client_token,
        kind=OperationKind.SETTINGS,
        target=account,
        content={"base": base, "changes": changes, "reason": reason, "retry_of": retry_of},
        now=now,
        make=make,
    )


def retry_settings(operation: Operation, again: dict[str, Any]) -> Operation:
    payload, account = operation.payload, operation.account
    return request_settings(
        account=account,
        base=payload["base"],
        version=account.version,
        changes=payload["changes"],
        reason=operation.reason,
        **again,
    )


class Settings:
    """Change name, website and monthly cap. Compared with what the requester saw before anything is sent; only what
    differs is sent, because providers refuse an update that changes nothing."""

    def prepare(self, operation: Operation, provider: Provider, *, now: datetime) -> Send | Succeeded | Failed:
        found = self._found(operation, provider, now)
        changes = self._missing(operation, found)
        if not changes:
            return Succeeded(_("It is so already at the provider."))
        if any(found[name] != seen for name, seen in operation.payload["base"].items()):
            return self._conflict(operation, found)

        def send() -> Succeeded:
            answer = asdict(provider.update_settings(operation.account.ref, changes))
            if self._missing(operation, answer):
                raise OutcomeUnknown(_("The answer shows other settings than those we sent."))
            return with_columns(self.from_late_answer({}), settings=answer)

        return Send("update settings", json.dumps(changes, indent=1), send)

    def verify(self, operation: Operation, provider: Provider, *, now: datetime) -> Succeeded | NotApplied | Failed:
        found = self._found(operation, provider, now)
        if not self._missing(operation, found):
            return self.from_late_answer({})
        if all(found[name] == seen for name, seen in operation.payload["base"].items()):
            return NotApplied(_("Read back: the settings are still the old ones."))
        return self._conflict(operation, found)

    def from_late_answer(self, result: dict[str, Any]) -> Succeeded:
        return Succeeded(_("The settings were changed and read back."), {"changed_what": _("Settings changed")})

    def _found(self, operation: Operation, provider: Provider, now: datetime) -> dict[str, Any]:
        details = provider.details(operation.account.ref)
        observed_accounts.record_details(account_id=operation.account_id, details=details, now=now)
        return asdict(details.settings)

    def _missing(self, operation: Operation, found: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in operation.payload["changes"].items() if found[name] != value}

    def _conflict(self, operation: Operation, found: dict[str, Any]) -> Failed:
        payload = operation.payload
        return Failed(
            "conflict",
            _("The settings at the provider changed while you were editing. Ours are not in force."),
            {"base": payload["base"], "found": found, "wanted": payload["settings"]},
        )


def refuse_same_settings(
    connection: Connection, settings: AccountSettings, *, apart_from: Account | None = None
) -> None:
    """Refuse a name and website that another account has: the provider may allow two, and then an unknown create could
    not be matched to one. The connection's row is locked from here until the transaction ends: the next request for the
    same comes after that and sees it. An account's row is locked before this, not after."""
    Connection.objects.select_for_update(no_key=True).only("pk").get(pk=connection.pk)
    alike = Q(desired_settings__website__iexact=settings.website) | Q(settings__website__iexact=settings.website)
    living = Account.objects.filter(alike, connection=connection).exclude(state=AccountState.DELETED)
    if apart_from:
        living = living.exclude(pk=apart_from.pk)
    for account in living.exclude(pk__in=_came_to_nothing(connection)).select_related("customer"):
        for known in (account.desired_settings, account.settings or {}):
            if known and identity_of(AccountSettings(**known)) == identity_of(settings):
                raise UnableToAsk(
                    _("%(customer)s has an account with this name and website already at %(connection)s.")
                    % {"customer": account.customer, "connection": connection.name},
                    field="name",
                )


def _came_to_nothing(connection: Connection) -> Any:
    """Match accounts whose create was refused: there is nothing at the provider."""
    return Account.objects.filter(never_made(), connection=connection).values("pk")


def validate_settings(settings: AccountSettings | None) -> None:
    if settings is None or not settings.name:
        raise UnableToAsk(_("A name is needed."), field="name")
    if not settings.website:
        raise UnableToAsk(_("A website is needed."), field="website")
    if settings.monthly_cap < 0:
        raise UnableToAsk(_("A cap is a number of e-mails a month, or no cap."), field="monthly_cap")
