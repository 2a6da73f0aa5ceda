"""Commands: what staff may ask of a provider. Each is one transaction (desire, operation, audit) and a poke on commit.

Every refusal is an `UnableToAsk` whose text is a sentence for the person who asked. The same form submitted twice by
the same person is one operation: the first one is returned (`customers.operations.submissions`). What is common to all
stands in `customers.operations.request`; the create and the commands about keys have files of their own and are named
here for whoever asks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

from customers.models import Account, AccountKey, Hold, Operation
from customers.models.account import as_rows
from customers.models.operation_states import OperationKind, OperationState
from customers.operations import transitions
from customers.operations.kinds.api_keys import (
    ask_domain,
    ask_key_create,
    ask_key_delete,
    ask_key_update,
    ask_test_message,
)
from customers.operations.kinds.create import (
    AlreadyCorrected,
    FirstKey,
    ask_create,
    check_offerings,
    check_settings,
    refuse_same_settings,
)
from customers.operations.request import (
    PERFORM,
    StaleVersion,
    UnableToAsk,
    change,
    need_reason,
    permit,
    permit_role,
    tell,
)
from customers.operations.submissions import AlreadySubmitted, submit_once
from portal.access.models import User
from portal.providers import AccountSettings, NewKey, Offering, Profile

__all__ = [
    "PERFORM",
    "AlreadyCorrected",
    "AlreadySubmitted",
    "FirstKey",
    "StaleVersion",
    "UnableToAsk",
    "ask_create",
    "ask_delete",
    "ask_domain",
    "ask_key_create",
    "ask_key_delete",
    "ask_key_update",
    "ask_offerings",
    "ask_settings",
    "ask_suspend",
    "ask_test_message",
    "ask_unsuspend",
    "cancel",
    "retry",
]


def ask_offerings(
    *,
    actor: User,
    account: Account,
    base: list[Offering],
    version: int,
    offerings: list[Offering],
    reason: str,
    client_token: str,
    now: datetime,
    request: HttpRequest | None = None,
    retry_of: Operation | None = None,
) -> Operation:
    """Ask to replace the account's whole list. `base` is the list the person saw; where the provider's differs at the
    time of sending, the operation ends as a conflict and nothing is sent. Raises `StaleVersion`."""
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
        make=lambda: change(
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


def ask_settings(
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
    """Ask to change name, website or monthly cap (0 = no cap). `base` is what the person saw, whole; `changes` only
    what is to be different. Where the provider's differ from `base` at the time of sending, the operation ends as a
    conflict and nothing is sent. Raises `StaleVersion`."""
    permit(actor, account.connection, OperationKind.SETTINGS)
    if changes.keys() - {"name", "website", "monthly_cap"}:
        raise TypeError(f"not a setting: {sorted(changes)}")
    changes = {name: value for name, value in changes.items() if value != base.get(name)}
    if not changes:
        raise UnableToAsk(_("Nothing is different from what the account has."))

    def make() -> Operation:
        account.lock()
        wanted = (account.desired_settings or base) | changes
        check_settings(AccountSettings(**wanted))
        if changes.keys() & {"name", "website"}:
            refuse_same_settings(account.connection, AccountSettings(**wanted), apart_from=account)
        return change(
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


def ask_suspend(**asked: Any) -> Operation:
    """Ask that the account stops sending. Takes actor, account, reason, client_token, now, request."""
    return _ask_state(OperationKind.SUSPEND, "stopped_by_us", "account.suspend_asked", **asked)


def ask_unsuspend(**asked: Any) -> Operation:
    """Ask that the account sends again. Takes actor, account, reason, client_token, now, request."""
    return _ask_state(OperationKind.UNSUSPEND, "active", "account.unsuspend_asked", **asked)


def ask_delete(*, without_reading: bool = False, **asked: Any) -> Operation:
    """Ask to delete for good. The last usage is read first; `without_reading` goes on where it cannot be."""
    return _ask_state(
        OperationKind.DELETE, "deleted", "account.delete_asked", payload={"without_reading": without_reading}, **asked
    )


def cancel(*, actor: User, operation: Operation, now: datetime, request: HttpRequest | None = None) -> None:
    """Cancel what is still queued and was never sent with an outcome that nobody knows. Loses politely when a worker
    has taken it."""
    permit_role(actor, OperationKind(operation.kind))
    try:
        with transaction.atomic():
            transitions.take_over(operation, only=OperationState.QUEUED)
            if transitions.left_a_trace(operation):
                raise UnableToAsk(
                    _("It was sent before, and what became of that is not known yet. It can't be cancelled.")
                )
            transitions.move(
                operation, OperationState.CANCELLED, now=now, by=actor, summary=_("Cancelled before anything was sent.")
            )
            tell(operation, "operation.cancelled", actor=actor, request=request)
    except transitions.LostLease:
        raise UnableToAsk(_("It has started already and can't be cancelled any more.")) from None


def retry(
    *, actor: User, operation: Operation, client_token: str, now: datetime, request: HttpRequest | None = None
) -> Operation:
    """Ask a failed operation again, as a new one that links back (and, where a key is used, under a new one). A
    conflict is redone in the editor instead, a delete asked anew on its page."""
    if operation.state != OperationState.FAILED or operation.error_kind == "conflict":
        raise UnableToAsk(_("Only an operation that failed can be sent again."))
    if (
        operation.kind == OperationKind.DELETE
    ):  # its page asks for the password, and for a second person where one is needed
        raise UnableToAsk(_("A delete is asked anew on the account's page."))
    again: dict[str, Any] = {
        "actor": actor,
        "client_token": client_token,
        "now": now,
        "request": request,
        "retry_of": operation,
    }
    return _AGAIN[OperationKind(operation.kind)](operation, again)


def _create_again(operation: Operation, again: dict[str, Any]) -> Operation:
    payload, account = operation.payload, operation.account
    if account.provider_id:
        raise UnableToAsk(_("The account exists by now."))
    key = operation.followers.filter(kind=OperationKind.KEY_CREATE).first()
    return ask_create(
        customer=account.customer,
        connection=operation.connection,
        is_test=payload["is_test"],
        profile=Profile(**payload["profile"]),
        offerings=_offerings(payload["offerings"]),
        settings=AccountSettings(**payload["settings"]) if payload.get("settings") else None,
        first_key=FirstKey(_new_key(key), key.payload["keep"]) if key else None,
        **again,
    )


def _offerings_again(operation: Operation, again: dict[str, Any]) -> Operation:
    payload, account = operation.payload, operation.account
    return ask_offerings(
        account=account,
        base=_offerings(payload["base"]),
        version=account.version,
        offerings=_offerings(payload["offerings"]),
        reason=operation.reason,
        **again,
    )


def _settings_again(operation: Operation, again: dict[str, Any]) -> Operation:
    payload, account = operation.payload, operation.account
    return ask_settings(
        account=account,
        base=payload["base"],
        version=account.version,
        changes=payload["changes"],
        reason=operation.reason,
        **again,
    )


def _key_again(operation: Operation, again: dict[str, Any]) -> Operation:
    payload = operation.payload
    old = AccountKey.objects.filter(account=operation.account, key_id=payload["replaces"], gone_at=None)
    return ask_key_create(
        account=operation.account,
        new=_new_key(operation),
        keep=payload["keep"],
        replaces=payload["replaces"] if old.exists() else "",
        reason=operation.reason,
        **again,
    )


def _plain_again(ask: Callable[..., Operation], *parts: str) -> Callable[[Operation, dict[str, Any]], Operation]:
    """Ask again with the same account and reason, and the named parts of the payload."""

    def again_asked(operation: Operation, again: dict[str, Any]) -> Operation:
        same = {part: operation.payload[part] for part in parts if part in operation.payload}
        return ask(account=operation.account, reason=operation.reason, **same, **again)

    return again_asked


_AGAIN: dict[OperationKind, Callable[[Operation, dict[str, Any]], Operation]] = {
    OperationKind.CREATE: _create_again,
    OperationKind.OFFERINGS: _offerings_again,
    OperationKind.SETTINGS: _settings_again,
    OperationKind.SUSPEND: _plain_again(ask_suspend),
    OperationKind.UNSUSPEND: _plain_again(ask_unsuspend),
    OperationKind.KEY_CREATE: _key_again,
    OperationKind.KEY_UPDATE: _plain_again(ask_key_update, "key_id", "changes"),
    OperationKind.KEY_DELETE: _plain_again(ask_key_delete, "key_id"),
    OperationKind.DOMAIN_ADD: lambda operation, again: ask_domain(
        account=operation.account, name=operation.payload["domain"], reason=operation.reason, **again
    ),
    OperationKind.TEST_MESSAGE: _plain_again(ask_test_message, "sender", "recipient"),
}


def _ask_state(
    kind: OperationKind,
    wanted: str,
    verb: str,
    *,
    actor: User,
    account: Account,
    reason: str,
    client_token: str,
    now: datetime,
    request: HttpRequest | None = None,
    payload: dict[str, Any] | None = None,
    retry_of: Operation | None = None,
    version: int | None = None,
) -> Operation:
    """`version`: of the account as the person saw it, where what they saw is the reason they ask."""
    permit(actor, account.connection, kind)
    need_reason(account.connection, reason, shown=kind == OperationKind.SUSPEND)

    def make() -> Operation:
        account.lock()
        if account.desired_state == wanted and account.state == wanted:
            raise UnableToAsk(_("It is so already. Nothing was sent."))
        if kind == OperationKind.SUSPEND:
            _refuse_held(account, payload or {}, now=now)
        return change(
            kind,
            account,
            desire={"desired_state": wanted},
            payload=payload or {},
            version=account.version if version is None else version,
            actor=actor,
            reason=reason,
            client_token=client_token,
            now=now,
            request=request,
            verb=verb,
            retry_of=retry_of,
        )

    return submit_once(
        Operation,
        actor=actor,
        client_token=client_token,
        kind=kind,
        target=account,
        content={"reason": reason, "payload": payload, "retry_of": retry_of},
        now=now,
        make=make,
    )


def _refuse_held(account: Account, payload: dict[str, Any], *, now: datetime) -> None:
    """A suspend goes past a hold only where the person was shown that very hold and confirmed it."""
    hold = Hold.objects.of(account.pk, now=now)
    if hold and payload.get("despite_hold") != str(hold.public_id):
        raise UnableToAsk(
            _("%(hold)s. Nothing was sent. To suspend it all the same, confirm that on the account's page.")
            % {"hold": hold.text.rstrip(".")}
        )


def _offerings(rows: list[dict[str, Any]]) -> list[Offering]:
    return [Offering(**row) for row in rows]


def _new_key(operation: Operation) -> NewKey:
    key = operation.payload["key"]
    return NewKey(key["label"], tuple(key["scopes"]), tuple(key["ip_allow_list"]))
