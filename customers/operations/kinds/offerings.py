"""Replace the offerings of an existing account.

The list can be read back: an unknown replacement is resolved by reading, and sent again where it was not applied.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from customers.models import Account, Operation
from customers.models.account import as_offerings, as_rows
from customers.models.operation_states import OperationKind
from customers.observed import accounts as observed_accounts
from customers.operations.outcomes import Action, Failed, NotApplied, Send, Succeeded, with_columns
from customers.operations.request import permit, request_change
from customers.operations.submissions import submit_once
from portal.commands import Command
from portal.providers import OutcomeUnknown, Provider, ProviderOffering
from portal.refusals import Refusal
from portal.texts import say


class Offerings(Action):
    """Replace the whole list. Compared with the list the requester saw before it is sent, and with the requested one
    after."""

    def prepare(self, operation: Operation, provider: Provider, *, now: datetime) -> Send | Succeeded | Failed:
        wanted = operation.payload["offerings"]
        seen = observed_accounts.see_offerings(account=operation.account, provider=provider, now=now)
        found = seen.value
        if found == wanted:
            seen.record()
            return Succeeded(say("offerings.already_so"), is_read=True)
        if found != operation.payload["base"]:
            seen.record()
            return self._conflict(operation, found)

        def send() -> Succeeded:
            if as_rows(provider.replace_offerings(operation.account.ref, as_offerings(wanted))) != wanted:
                raise OutcomeUnknown(say("offerings.other_answer"))
            return with_columns(self.from_late_answer({}), **observed_accounts.columns_of_offerings(wanted))

        request = json.dumps({"offerings": wanted}, indent=1)
        return Send("replace offerings", request, send, record_seen=seen.record)

    def verify(self, operation: Operation, provider: Provider, *, now: datetime) -> Succeeded | NotApplied | Failed:
        seen = observed_accounts.see_offerings(
            account=operation.account, provider=provider, now=now, operation=operation
        )
        seen.record()
        found = seen.value
        if found == operation.payload["offerings"]:
            return with_columns(self.from_late_answer({}))
        if found == operation.payload["base"]:
            return NotApplied(say("offerings.unchanged"))
        return self._conflict(operation, found)

    def from_late_answer(self, result: dict[str, Any]) -> Succeeded:
        return Succeeded(say("offerings.replaced"), {"changed_what": _("Offerings changed")})

    def _conflict(self, operation: Operation, found: list[dict[str, Any]]) -> Failed:
        payload = operation.payload
        return Failed(
            "conflict",
            say("offerings.conflict"),
            {"base": payload["base"], "found": found, "wanted": payload["offerings"]},
        )


def request_offerings(
    command: Command, *, account: Account, base: list[ProviderOffering], version: int, offerings: list[ProviderOffering]
) -> Operation:
    """Request to replace the account's whole list. `base` is the list the requester saw; where the provider's differs
    at the time of sending, the operation ends as a conflict and nothing is sent. Raises `StaleVersion`."""
    permit(command.person, account.connection, OperationKind.OFFERINGS)
    check_offerings(offerings)
    if as_rows(base) == as_rows(offerings):
        raise Refusal(_("You made no changes to the offerings."))
    rows = as_rows(offerings)
    return submit_once(
        command,
        Operation,
        kind=OperationKind.OFFERINGS,
        target=account,
        content={"base": base, "offerings": offerings},
        make=lambda: request_change(
            command,
            OperationKind.OFFERINGS,
            account,
            desire={"desired_offerings": rows},
            payload={"offerings": rows, "base": as_rows(base)},
            version=version,
            verb="account.offerings_asked",
        ),
    )


def retry_offerings(operation: Operation, command: Command) -> Operation:
    payload, account = operation.payload, operation.account
    return request_offerings(
        command,
        account=account,
        base=offerings_of_rows(payload["base"]),
        version=account.version,
        offerings=offerings_of_rows(payload["offerings"]),
    )


def offerings_of_rows(rows: list[dict[str, Any]]) -> list[ProviderOffering]:
    return [ProviderOffering(**row) for row in rows]


def check_offerings(offerings: list[ProviderOffering]) -> None:
    packages = [each for each in offerings if each.type == "package"]
    if len(packages) != 1:
        raise Refusal(_("Select exactly one package."), field="package")
    if packages[0].quantity != 1:
        raise Refusal(_("The package quantity must be 1."), field="package")
    if any(each.quantity < 1 for each in offerings) or len({each.name for each in offerings}) != len(offerings):
        raise Refusal(_("Each offering can appear only once, with a quantity of at least 1."))
