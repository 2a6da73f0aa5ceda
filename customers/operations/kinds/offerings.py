"""Replace the offerings of an existing account.

The list can be read back: an unknown replacement is resolved by reading, and sent again where it was not applied.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _

from customers.models import Account, Operation
from customers.models.account import as_offerings, as_rows
from customers.models.operation_states import OperationKind
from customers.observed import accounts as observed_accounts
from customers.operations.outcomes import Failed, NotApplied, Send, Succeeded, with_columns
from customers.operations.request import UnableToAsk, permit, request_change
from customers.operations.submissions import submit_once
from portal.access.models import User
from portal.providers import OutcomeUnknown, Provider, ProviderOffering


class Offerings:
    """Replace the whole list. Compared with the list the requester saw before it is sent, and with the requested one
    after."""

    def prepare(self, operation: Operation, provider: Provider, *, now: datetime) -> Send | Succeeded | Failed:
        wanted = operation.payload["offerings"]
        found = self._found(operation, provider, now)
        if found == wanted:
            return Succeeded(_("The list at the provider is this one already."))
        if found != operation.payload["base"]:
            return self._conflict(operation, found)

        def send() -> Succeeded:
            if as_rows(provider.replace_offerings(operation.account.ref, as_offerings(wanted))) != wanted:
                raise OutcomeUnknown(_("The answer shows another list than the one we sent."))
            return with_columns(self.from_late_answer({}), **observed_accounts.columns_of_offerings(wanted))

        return Send("replace offerings", json.dumps({"offerings": wanted}, indent=1), send)

    def verify(self, operation: Operation, provider: Provider, *, now: datetime) -> Succeeded | NotApplied | Failed:
        found = self._found(operation, provider, now)
        if found == operation.payload["offerings"]:
            return self.from_late_answer({})
        if found == operation.payload["base"]:
            return NotApplied(_("Read back: the list is still the old one."))
        return self._conflict(operation, found)

    def from_late_answer(self, result: dict[str, Any]) -> Succeeded:
        return Succeeded(_("The list was replaced and read back."), {"changed_what": _("Offerings changed")})

    def _found(self, operation: Operation, provider: Provider, now: datetime) -> list[dict[str, Any]]:
        offerings = provider.offerings(operation.account.ref)
        observed_accounts.record_offerings(account_id=operation.account_id, offerings=offerings, now=now)
        return as_rows(offerings)

    def _conflict(self, operation: Operation, found: list[dict[str, Any]]) -> Failed:
        payload = operation.payload
        return Failed(
            "conflict",
            _("The list at the provider changed while you were editing. Ours is not in force."),
            {"base": payload["base"], "found": found, "wanted": payload["offerings"]},
        )


def request_offerings(
    *,
    actor: User,
    account: Account,
    base: list[ProviderOffering],
    version: int,
    offerings: list[ProviderOffering],
    reason: str,
    client_token: str,
    now: datetime,
    request: HttpRequest | None = None,
    retry_of: Operation | None = None,
) -> Operation:
    """Request to replace the account's whole list. `base` is the list the requester saw; where the provider's differs
    at the time of sending, the operation ends as a conflict and nothing is sent. Raises `StaleVersion`."""
    permit(actor, account.connection, OperationKind.OFFERINGS)
    check_offerings(offerings)
    if as_rows(base) == as_rows(offerings):
        raise UnableToAsk(_("Nothing is different from the list the account has."))
    rows = as_rows(offerings)
    return submit_once(
        Operation,
        actor=actor,
        client_token=client_token,
        kind=OperationKind.OFFERINGS,
        target=account,
        content={"base": base, "offerings": offerings, "reason": reason, "retry_of": retry_of},
        now=now,
        make=lambda: request_change(
            OperationKind.OFFERINGS,
            account,
            desire={"desired_offerings": rows},
            payload={"offerings": rows, "base": as_rows(base)},
            version=version,
            actor=actor,
            reason=reason,
            client_token=client_token,
            now=now,
            request=request,
            verb="account.offerings_asked",
            retry_of=retry_of,
        ),
    )


def retry_offerings(operation: Operation, again: dict[str, Any]) -> Operation:
    payload, account = operation.payload, operation.account
    return request_offerings(
        account=account,
        base=offerings_of_rows(payload["base"]),
        version=account.version,
        offerings=offerings_of_rows(payload["offerings"]),
        reason=operation.reason,
        **again,
    )


def offerings_of_rows(rows: list[dict[str, Any]]) -> list[ProviderOffering]:
    return [ProviderOffering(**row) for row in rows]


def check_offerings(offerings: list[ProviderOffering]) -> None:
    packages = [each for each in offerings if each.type == "package"]
    if len(packages) != 1:
        raise UnableToAsk(_("Choose exactly one package."), field="package")
    if packages[0].quantity != 1:
        raise UnableToAsk(_("A package has the quantity 1."), field="package")
    if any(each.quantity < 1 for each in offerings) or len({each.name for each in offerings}) != len(offerings):
        raise UnableToAsk(_("Every offering stands once, with a quantity of at least 1."))
