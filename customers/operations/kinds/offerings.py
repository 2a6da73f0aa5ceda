"""What is changed about an account that exists: offerings, settings, whether it sends, and whether it is there.

All of these can be read back, so an unknown one is settled by reading, and sent again where it did not happen.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext as _

from customers.models import FinalReading, KeySecret, Operation
from customers.models.account import as_offerings, as_rows
from customers.observed import accounts as observed_accounts
from customers.operations import key_secrets
from customers.operations.outcomes import Done, Go, NotDone, Refuse, Wait
from portal.providers import (
    AccountState,
    NotFound,
    NotSent,
    OutcomeUnknown,
    Provider,
    ProviderError,
    RateLimited,
    Unauthorized,
    UsageSource,
)

READ_BACK_EVERY = timedelta(seconds=5)
READINGS_BEFORE_NOT_DONE = 3
READING_TRIES = 3


def _with(done: Done, **columns: Any) -> Done:
    """The same, with what the answer said of the account."""
    return replace(done, account=done.account | columns)


class Offerings:
    """The whole list, overwritten. Compared with the list the person saw before it is sent, and with ours after."""

    def before(self, operation: Operation, provider: Provider, *, now: datetime) -> Go | Done | Refuse:
        wanted = operation.payload["offerings"]
        found = self._found(operation, provider, now)
        if found == wanted:
            return Done(_("The list at the provider is this one already."))
        if found != operation.payload["base"]:
            return self._conflict(operation, found)

        def send() -> Done:
            if as_rows(provider.replace_offerings(operation.account.ref, as_offerings(wanted))) != wanted:
                raise OutcomeUnknown(_("The answer shows another list than the one we sent."))
            return _with(self.recall({}), **observed_accounts.columns_of_offerings(wanted))

        return Go("replace offerings", json.dumps({"offerings": wanted}, indent=1), send)

    def after(self, operation: Operation, provider: Provider, *, now: datetime) -> Done | NotDone | Refuse:
        found = self._found(operation, provider, now)
        if found == operation.payload["offerings"]:
            return self.recall({})
        if found == operation.payload["base"]:
            return NotDone(_("Read back: the list is still the old one."))
        return self._conflict(operation, found)

    def recall(self, result: dict[str, Any]) -> Done:
        return Done(_("The list was replaced and read back."), {"changed_what": _("Offerings changed")})

    def _found(self, operation: Operation, provider: Provider, now: datetime) -> list[dict[str, Any]]:
        offerings = provider.offerings(operation.account.ref)
        observed_accounts.observe_offerings(account_id=operation.account_id, offerings=offerings, now=now)
        return as_rows(offerings)

    def _conflict(self, operation: Operation, found: list[dict[str, Any]]) -> Refuse:
        payload = operation.payload
        return Refuse(
            "conflict",
            _("The list at the provider changed while you were editing. Ours is not in force."),
            {"base": payload["base"], "found": found, "wanted": payload["offerings"]},
        )


class Settings:
    """Name, website and monthly cap. Compared with what the person saw before anything is sent; only what differs is
    sent, because providers refuse an update that changes nothing."""

    def before(self, operation: Operation, provider: Provider, *, now: datetime) -> Go | Done | Refuse:
        found = self._found(operation, provider, now)
        changes = self._missing(operation, found)
        if not changes:
            return Done(_("It is so already at the provider."))
        if any(found[name] != seen for name, seen in operation.payload["base"].items()):
            return self._conflict(operation, found)

        def send() -> Done:
            answer = asdict(provider.update_settings(operation.account.ref, changes))
            if self._missing(operation, answer):
                raise OutcomeUnknown(_("The answer shows other settings than those we sent."))
            return _with(self.recall({}), settings=answer)

        return Go("update settings", json.dumps(changes, indent=1), send)

    def after(self, operation: Operation, provider: Provider, *, now: datetime) -> Done | NotDone | Refuse:
        found = self._found(operation, provider, now)
        if not self._missing(operation, found):
            return self.recall({})
        if all(found[name] == seen for name, seen in operation.payload["base"].items()):
            return NotDone(_("Read back: the settings are still the old ones."))
        return self._conflict(operation, found)

    def recall(self, result: dict[str, Any]) -> Done:
        return Done(_("The settings were changed and read back."), {"changed_what": _("Settings changed")})

    def _found(self, operation: Operation, provider: Provider, now: datetime) -> dict[str, Any]:
        details = provider.details(operation.account.ref)
        observed_accounts.observe_details(account_id=operation.account_id, details=details, now=now)
        return asdict(details.settings)

    def _missing(self, operation: Operation, found: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in operation.payload["changes"].items() if found[name] != value}

    def _conflict(self, operation: Operation, found: dict[str, Any]) -> Refuse:
        payload = operation.payload
        return Refuse(
            "conflict",
            _("The settings at the provider changed while you were editing. Ours are not in force."),
            {"base": payload["base"], "found": found, "wanted": payload["settings"]},
        )


@dataclass(frozen=True)
class Sending:
    """Suspend (off) and unsuspend (on). A state the provider set itself is the provider's to lift."""

    on: bool

    def before(self, operation: Operation, provider: Provider, *, now: datetime) -> Go | Done | Refuse:
        state = observed_accounts.read_state(account=operation.account, provider=provider, now=now).state
        if state == self._wanted:
            return Done(_("It is so already at the provider."))
        if state in (AccountState.STOPPED_BY_PROVIDER, AccountState.BANNED):
            return Refuse(
                "held",
                _("%(provider)s stopped this account itself. Only %(provider)s can lift that.")
                % {"provider": operation.account.provider_label},
            )
        return Go("set state", json.dumps({"sending": self.on}), lambda: self._send(operation, provider))

    def _send(self, operation: Operation, provider: Provider) -> Done:
        """The state that is read back here is written with the conclusion: only that knows the moment of the answer."""
        account = operation.account
        provider.set_sending(account.ref, on=self.on, reason="" if self.on else operation.reason)
        try:
            reading = provider.state(account.ref)
        except ProviderError:  # the change was answered; the account is read again later
            return _with(self.recall({}), state=self._wanted, state_raw="")
        if reading.state != self._wanted:
            raise OutcomeUnknown(
                _("%(provider)s accepted the change, but still says %(state)s.")
                % {"provider": account.provider_label, "state": reading.raw},
            )
        return _with(self.recall({}), state=reading.state, state_raw=reading.raw[:60])

    def after(self, operation: Operation, provider: Provider, *, now: datetime) -> Done | NotDone | Wait:
        if observed_accounts.read_state(account=operation.account, provider=provider, now=now).state == self._wanted:
            return self.recall({})
        if operation.settles < READINGS_BEFORE_NOT_DONE:
            return Wait(now + READ_BACK_EVERY, _("Read back: not so yet. Looking again."))
        return NotDone(_("Read back three times: the state did not change."))

    def recall(self, result: dict[str, Any]) -> Done:
        text = _("Unsuspended") if self.on else _("Suspended")
        return Done(text + ".", {"changed_what": text})

    @property
    def _wanted(self) -> AccountState:
        return AccountState.ACTIVE if self.on else AccountState.STOPPED_BY_US


class Delete:
    """For good. The last usage is read and kept first, because it is gone with the account."""

    def before(self, operation: Operation, provider: Provider, *, now: datetime) -> Go | Done | Wait | Refuse:
        if self._is_gone(operation, provider, now):
            return self._deleted(operation, gone_before=True)
        try:
            self._keep_last_usage(operation, provider, now)
        except (RateLimited, Unauthorized):
            raise
        except ProviderError as error:
            if operation.payload.get("without_reading"):
                return self._go(operation, provider)
            if isinstance(error, NotSent) or operation.tries < READING_TRIES:
                wait = timedelta(seconds=2 ** min(operation.tries + 1, 8))
                return Wait(
                    now + wait, _("The last usage could not be read yet: %(why)s") % {"why": error}, "no_reading"
                )
            return Refuse(
                "no_reading",
                _("The last usage could not be read, so nothing was deleted. It is lost once the account is deleted."),
            )
        return self._go(operation, provider)

    def _go(self, operation: Operation, provider: Provider) -> Go:
        def send() -> Done:
            try:
                provider.delete_account(operation.account.ref)
            except NotFound:
                return self._deleted(operation, gone_before=True)
            return self._deleted(operation)

        return Go("delete account", "", send)

    def after(self, operation: Operation, provider: Provider, *, now: datetime) -> Done | NotDone:
        if self._is_gone(operation, provider, now):
            return self._deleted(operation)
        return NotDone(_("Read back: the account is still there."))

    def recall(self, result: dict[str, Any]) -> None:
        return None  # whether it is there says a reading

    def _deleted(self, operation: Operation, *, gone_before: bool = False) -> Done:
        note = _("It was gone already.") if gone_before else _("Deleted.")
        columns = {"state": AccountState.DELETED, "changed_what": _("Deleted")}
        return Done(note, columns, {"gone_before": True} if gone_before else {}, _all_gone(operation.account_id))

    def _is_gone(self, operation: Operation, provider: Provider, now: datetime) -> bool:
        try:
            observed_accounts.read_state(account=operation.account, provider=provider, now=now)
        except NotFound:
            return True
        return False

    def _keep_last_usage(self, operation: Operation, provider: Provider, now: datetime) -> None:
        source = UsageSource(operation.connection.usage_source)
        usage = provider.usage(operation.account.ref, source)
        FinalReading.objects.create(
            operation=operation,
            account=operation.account,
            source=source,
            taken_at=now,
            usage=json.loads(json.dumps(asdict(usage), default=str)),
        )


def _all_gone(account_id: int) -> Callable[[datetime], None]:
    def write(now: datetime) -> None:
        observed_accounts.observe_all_gone(account_id=account_id, now=now)
        for row in KeySecret.objects.filter(account=account_id).exclude(sealed=""):
            key_secrets.forget_key(account_id=account_id, key_id=row.key_id)

    return write
