"""What each kind of operation reads before, sends once, and reads back. No state of an operation is written here."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from django.utils.translation import gettext as _

from customers import observations
from customers.models import FinalReading, Operation
from customers.models.account import as_offerings, as_rows
from customers.states import OperationKind
from portal.providers import (
    AccountState,
    NewAccount,
    NotFound,
    NotSent,
    Once,
    OutcomeUnknown,
    Profile,
    Provider,
    ProviderError,
    RateLimited,
    Unauthorized,
    UsageSource,
)

READ_BACK_EVERY = timedelta(seconds=5)
READINGS_BEFORE_NOT_DONE = 3
READING_TRIES = 3


@dataclass(frozen=True)
class Go:
    """Nothing speaks against sending."""


@dataclass(frozen=True)
class Done:
    """It is so. `account` are columns to write on the account, `result` is kept on the operation and the attempt."""

    note: str = ""
    account: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NotDone:
    """Read back: the change did not happen, so it may be sent again."""

    summary: str


@dataclass(frozen=True)
class Wait:
    until: datetime
    summary: str
    error_kind: str = ""


@dataclass(frozen=True)
class Refuse:
    """It ends here, and nothing was (or will be) sent. `error_kind` as in docs/decisions/operations.md."""

    error_kind: str
    summary: str
    result: dict[str, Any] = field(default_factory=dict)


class Action(Protocol):
    """`before` and `after` only read. `send` makes exactly one change. All raise `ProviderError`."""

    def call(self, operation: Operation) -> str: ...
    def request(self, operation: Operation) -> str: ...
    def before(self, operation: Operation, provider: Provider, *, now: datetime) -> Go | Done | Wait | Refuse: ...
    def send(self, operation: Operation, provider: Provider) -> Done: ...
    def after(self, operation: Operation, provider: Provider, *, now: datetime) -> Done | NotDone | Wait | Refuse: ...
    def recall(self, result: dict[str, Any]) -> Done:
        """The verdict of an answer that came late, from what the attempt kept of it."""
        ...


class Create:
    """A paid account. Without an idempotency key an unknown create is never sent again by itself: a person decides."""

    def call(self, operation: Operation) -> str:
        return "create account"

    def request(self, operation: Operation) -> str:
        body = {"profile": {key: value for key, value in operation.payload["profile"].items() if value}}
        return json.dumps(body | {"offerings": operation.payload["offerings"]}, indent=1)

    def before(self, operation: Operation, provider: Provider, *, now: datetime) -> Go | Done:
        if operation.account.provider_id:
            return Done(_("The account exists already."))
        return Go()

    def send(self, operation: Operation, provider: Provider) -> Done:
        payload = operation.payload
        new = NewAccount(
            Profile(**payload["profile"]), tuple(as_offerings(payload["offerings"])), test=payload["is_test"]
        )
        created = provider.create_account(new, Once(str(operation.public_id), provider.create_body(new)))
        return self.recall({"account_id": created.id})

    def after(self, operation: Operation, provider: Provider, *, now: datetime) -> Wait:
        return Wait(now + timedelta(hours=1), operation.summary)

    def recall(self, result: dict[str, Any]) -> Done:
        account_id = result["account_id"]
        columns = {"provider_id": account_id, "state": AccountState.UNKNOWN, "changed_what": _("Created")}
        return Done(_("Created as %(id)s.") % {"id": account_id}, columns, result)


class Offerings:
    """The whole list, overwritten. Compared with the list the person saw before it is sent, and with ours after."""

    def call(self, operation: Operation) -> str:
        return "replace offerings"

    def request(self, operation: Operation) -> str:
        return json.dumps({"offerings": operation.payload["offerings"]}, indent=1)

    def before(self, operation: Operation, provider: Provider, *, now: datetime) -> Go | Done | Refuse:
        found = self._found(operation, provider, now)
        if found == operation.payload["offerings"]:
            return Done(_("The list at the provider is this one already."))
        if found != operation.payload["base"]:
            return self._conflict(operation, found)
        return Go()

    def send(self, operation: Operation, provider: Provider) -> Done:
        wanted = operation.payload["offerings"]
        if as_rows(provider.replace_offerings(operation.account.ref, as_offerings(wanted))) != wanted:
            raise OutcomeUnknown(_("The answer shows another list than the one we sent."))
        return self.recall({})

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
        observations.observe_offerings(account_id=operation.account_id, offerings=offerings, now=now)
        return as_rows(offerings)

    def _conflict(self, operation: Operation, found: list[dict[str, Any]]) -> Refuse:
        payload = operation.payload
        return Refuse(
            "conflict",
            _("The list at the provider changed while you were editing. Ours is not in force."),
            {"base": payload["base"], "found": found, "wanted": payload["offerings"]},
        )


@dataclass(frozen=True)
class Sending:
    """Suspend (off) and unsuspend (on). A state the provider set itself is the provider's to lift."""

    on: bool

    def call(self, operation: Operation) -> str:
        return "set state"

    def request(self, operation: Operation) -> str:
        return json.dumps({"sending": self.on})

    def before(self, operation: Operation, provider: Provider, *, now: datetime) -> Go | Done | Refuse:
        state = self._state(operation, provider, now)
        if state == self._wanted:
            return Done(_("It is so already at the provider."))
        if state in (AccountState.STOPPED_BY_PROVIDER, AccountState.BANNED):
            return Refuse(
                "held",
                _("%(provider)s stopped this account itself. Only %(provider)s can lift that.")
                % {"provider": operation.account.provider_label},
            )
        return Go()

    def send(self, operation: Operation, provider: Provider) -> Done:
        provider.set_sending(operation.account.ref, on=self.on)
        try:
            reading = provider.state(operation.account.ref)
        except ProviderError:
            return self.recall({})  # the change was answered; the account is read again later
        if reading.state != self._wanted:
            raise OutcomeUnknown(
                _("%(provider)s accepted the change, but still says %(state)s.")
                % {"provider": operation.account.provider_label, "state": reading.raw},
            )
        done = self.recall({})
        return replace(done, account=done.account | {"state": reading.state, "state_raw": reading.raw})

    def after(self, operation: Operation, provider: Provider, *, now: datetime) -> Done | NotDone | Wait:
        if self._state(operation, provider, now) == self._wanted:
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

    def _state(self, operation: Operation, provider: Provider, now: datetime) -> AccountState:
        reading = provider.state(operation.account.ref)
        observations.observe_state(account_id=operation.account_id, reading=reading, now=now)
        return reading.state


class Delete:
    """For good. The last usage is read and kept first, because it is gone with the account."""

    def call(self, operation: Operation) -> str:
        return "delete account"

    def request(self, operation: Operation) -> str:
        return ""

    def before(self, operation: Operation, provider: Provider, *, now: datetime) -> Go | Done | Wait | Refuse:
        if self._is_gone(operation, provider):
            return self.recall({"gone_before": True})
        try:
            self._keep_last_usage(operation, provider, now)
        except (RateLimited, Unauthorized):
            raise
        except ProviderError as error:
            if operation.payload.get("without_reading"):
                return Go()
            if isinstance(error, NotSent) or operation.tries < READING_TRIES:
                wait = timedelta(seconds=2 ** min(operation.tries + 1, 8))
                return Wait(
                    now + wait, _("The last usage could not be read yet: %(why)s") % {"why": error}, "no_reading"
                )
            return Refuse(
                "no_reading",
                _("The last usage could not be read, so nothing was deleted. It is lost once the account is deleted."),
            )
        return Go()

    def send(self, operation: Operation, provider: Provider) -> Done:
        try:
            provider.delete_account(operation.account.ref)
        except NotFound:
            return self.recall({"gone_before": True})
        return self.recall({})

    def after(self, operation: Operation, provider: Provider, *, now: datetime) -> Done | NotDone:
        if self._is_gone(operation, provider):
            return self.recall({})
        return NotDone(_("Read back: the account is still there."))

    def recall(self, result: dict[str, Any]) -> Done:
        note = _("It was gone already.") if result.get("gone_before") else _("Deleted.")
        return Done(note, {"state": AccountState.DELETED, "changed_what": _("Deleted")}, result)

    def _is_gone(self, operation: Operation, provider: Provider) -> bool:
        try:
            provider.state(operation.account.ref)
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


ACTIONS: dict[OperationKind, Action] = {
    OperationKind.CREATE: Create(),
    OperationKind.OFFERINGS: Offerings(),
    OperationKind.SUSPEND: Sending(on=False),
    OperationKind.UNSUSPEND: Sending(on=True),
    OperationKind.DELETE: Delete(),
}
