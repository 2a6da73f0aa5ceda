"""Change an account's name, website and monthly cap."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Any

from django.db.models import Q
from django.utils.translation import gettext as _

from customers.models import Account, Connection, Operation
from customers.models.account import AccountState, identity_of
from customers.models.operation import never_made
from customers.models.operation_states import OperationKind
from customers.observed import accounts as observed_accounts
from customers.operations.outcomes import Action, Failed, NotApplied, Send, Succeeded, with_columns
from customers.operations.request import permit, request_change
from customers.operations.submissions import submit_once
from portal.commands import Command
from portal.email_addresses import spellings
from portal.providers import AccountSettings, Details, OutcomeUnknown, Provider
from portal.refusals import Refusal
from portal.texts import say


def request_settings(
    command: Command, *, account: Account, base: dict[str, Any], version: int, changes: dict[str, Any]
) -> Operation:
    """Request a change of name, website or monthly cap (0 = no cap). `base` is all that the requester saw; `changes`
    only what is to be different. Where the provider's differ from `base` at the time of sending, the operation ends as
    a conflict and nothing is sent. Raises `StaleVersion`."""
    permit(command.person, account.connection, OperationKind.SETTINGS)
    if changes.keys() - {"name", "website", "monthly_cap"}:
        raise TypeError(f"not a setting: {sorted(changes)}")
    changes = {name: value for name, value in changes.items() if value != base.get(name)}
    if not changes:
        raise Refusal(_("You made no changes to the settings."))

    def make() -> Operation:
        account.lock()
        wanted = (account.desired_settings or base) | changes
        validate_settings(changes)
        if changes.keys() & {"name", "website"}:
            refuse_same_settings(account.connection, AccountSettings(**wanted), apart_from=account)
        return request_change(
            command,
            OperationKind.SETTINGS,
            account,
            desire={"desired_settings": wanted},
            payload={"settings": base | changes, "changes": changes, "base": base},
            version=version,
            verb="account.settings_asked",
        )

    return submit_once(
        command,
        Operation,
        kind=OperationKind.SETTINGS,
        target=account,
        content={"base": base, "changes": changes},
        make=make,
    )


def retry_settings(operation: Operation, command: Command) -> Operation:
    payload, account = operation.payload, operation.account
    return request_settings(
        command,
        account=account,
        base=payload["base"],
        version=account.version,
        changes=payload["changes"],
    )


class Settings(Action):
    """Change name, website and monthly cap. Compared with what the requester saw before anything is sent; only what
    differs is sent, because providers refuse an update that changes nothing."""

    def prepare(self, operation: Operation, provider: Provider, *, now: datetime) -> Send | Succeeded | Failed:
        details = provider.details(operation.account.ref)
        found, record_seen = asdict(details.settings), self._record(operation, details, now)
        changes = self._missing(operation, found)
        if not changes:
            record_seen()
            return Succeeded(say("already_so"), is_read=True)
        if any(found[name] != seen for name, seen in operation.payload["base"].items()):
            record_seen()
            return self._conflict(operation, found)

        def send() -> Succeeded:
            answer = asdict(provider.update_settings(operation.account.ref, changes))
            if self._missing(operation, answer):
                raise OutcomeUnknown(say("settings.other_answer"))
            return with_columns(self.from_late_answer({}), settings=answer)

        return Send("update settings", json.dumps(changes, indent=1), send, record_seen=record_seen)

    def verify(self, operation: Operation, provider: Provider, *, now: datetime) -> Succeeded | NotApplied | Failed:
        details = provider.details(operation.account.ref)
        self._record(operation, details, now)()
        found = asdict(details.settings)
        if not self._missing(operation, found):
            return with_columns(self.from_late_answer({}))
        if all(found[name] == seen for name, seen in operation.payload["base"].items()):
            return NotApplied(say("settings.unchanged"))
        return self._conflict(operation, found)

    def from_late_answer(self, result: dict[str, Any]) -> Succeeded:
        return Succeeded(say("settings.changed"), {"changed_what": _("Settings changed")})

    def _record(self, operation: Operation, details: Details, now: datetime) -> Callable[[], bool]:
        return partial(observed_accounts.record_details, account_id=operation.account_id, details=details, now=now)

    def _missing(self, operation: Operation, found: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in operation.payload["changes"].items() if found[name] != value}

    def _conflict(self, operation: Operation, found: dict[str, Any]) -> Failed:
        payload = operation.payload
        return Failed(
            "conflict",
            say("settings.conflict"),
            {"base": payload["base"], "found": found, "wanted": payload["settings"]},
        )


def refuse_same_settings(
    connection: Connection, settings: AccountSettings, *, apart_from: Account | None = None
) -> None:
    """Refuse a name and website that another account has: the provider may allow two, and then an unknown create could
    not be matched to one. The connection's row is locked from here until the transaction ends: the next request for the
    same comes after that and sees it. An account's row is locked before this, not after."""
    Connection.objects.select_for_update(no_key=True).only("pk").get(pk=connection.pk)
    alike = Q(pk__in=[])
    for website in spellings(settings.website):
        alike |= Q(desired_settings__website__iexact=website) | Q(settings__website__iexact=website)
    living = Account.objects.filter(alike, connection=connection).exclude(state=AccountState.DELETED)
    if apart_from:
        living = living.exclude(pk=apart_from.pk)
    for account in living.exclude(pk__in=_came_to_nothing(connection)).select_related("customer"):
        for known in (account.desired_settings, account.settings or {}):
            if known and identity_of(AccountSettings(**known)) == identity_of(settings):
                raise Refusal(
                    _("%(customer)s already has an account with this name and website on %(connection)s.")
                    % {"customer": account.customer, "connection": connection.name},
                    field="name",
                )


def _came_to_nothing(connection: Connection) -> Any:
    """Match accounts whose create was refused: there is nothing at the provider."""
    return Account.objects.filter(never_made(), connection=connection).values("pk")


def validate_settings(wanted: Mapping[str, Any]) -> None:
    """Refuse invalid values among those that are wanted: all of a new account, or only the changed ones."""
    if not wanted.get("name", "-"):
        raise Refusal(_("Enter a name."), field="name")
    if not wanted.get("website", "-"):
        raise Refusal(_("Enter a website."), field="website")
    if wanted.get("monthly_cap", 0) < 0:
        raise Refusal(_("The cap must be a number of emails per month, or no cap."), field="monthly_cap")
