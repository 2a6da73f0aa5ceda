"""Change and delete an account's API keys."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _

from customers.models import Account, AccountKey, Operation
from customers.models.operation_states import OperationKind
from customers.observed import accounts as observed_accounts
from customers.operations import key_secrets
from customers.operations.outcomes import Failed, NotApplied, Send, Succeeded
from customers.operations.request import UnableToAsk, need_reason, permit, request_addition
from customers.operations.submissions import submit_once
from portal.access.models import User
from portal.providers import ApiKey, NewKey, NotFound, OutcomeUnknown, Provider


def request_key_update(
    *,
    actor: User,
    account: Account,
    key_id: str,
    changes: dict[str, Any],
    client_token: str,
    now: datetime,
    reason: str = "",
    request: HttpRequest | None = None,
    retry_of: Operation | None = None,
) -> Operation:
    """Request a change of a key. `changes` holds only what is to be different: label (whole, with its code), scopes,
    ip_allow_list (canonical; empty = any address)."""
    permit(actor, account.connection, OperationKind.KEY_UPDATE)
    key = living_key(account, key_id)
    if not changes:
        raise UnableToAsk(_("Nothing is different. Nothing was sent."))
    if changes.keys() - {"label", "scopes", "ip_allow_list"}:
        raise TypeError(f"not a part of a key: {sorted(changes)}")
    changes = {name: list(value) if isinstance(value, list | tuple) else value for name, value in changes.items()}
    return submit_once(
        Operation,
        actor=actor,
        client_token=client_token,
        kind=OperationKind.KEY_UPDATE,
        target=account,
        content={"key": key_id, "changes": changes, "reason": reason, "retry_of": retry_of},
        now=now,
        make=lambda: request_addition(
            OperationKind.KEY_UPDATE,
            account,
            payload={"key_id": key_id, "label": key.label, "changes": changes},
            same=("key_id",),
            actor=actor,
            reason=reason,
            client_token=client_token,
            now=now,
            request=request,
            retry_of=retry_of,
            verb="key.update_asked",
        ),
    )


def request_key_delete(
    *,
    actor: User,
    account: Account,
    key_id: str,
    reason: str,
    client_token: str,
    now: datetime,
    request: HttpRequest | None = None,
    retry_of: Operation | None = None,
) -> Operation:
    """Request to delete a key permanently. Whatever uses it stops; its stored secret is deleted with it."""
    permit(actor, account.connection, OperationKind.KEY_DELETE)
    need_reason(account.connection, reason)
    key = living_key(account, key_id)
    return submit_once(
        Operation,
        actor=actor,
        client_token=client_token,
        kind=OperationKind.KEY_DELETE,
        target=account,
        content={"key": key_id, "reason": reason, "retry_of": retry_of},
        now=now,
        make=lambda: request_addition(
            OperationKind.KEY_DELETE,
            account,
            payload={"key_id": key_id, "label": key.label},
            same=("key_id",),
            actor=actor,
            reason=reason,
            client_token=client_token,
            now=now,
            request=request,
            retry_of=retry_of,
            verb="key.delete_asked",
        ),
    )


def living_key(account: Account, key_id: str) -> AccountKey:
    key = AccountKey.objects.filter(account=account, key_id=key_id, gone_at=None).first()
    if key is None:
        raise UnableToAsk(_("The account has no such key any more."))
    return key


def requested_key(operation: Operation) -> NewKey:
    key = operation.payload["key"]
    return NewKey(key["label"], tuple(key["scopes"]), tuple(key["ip_allow_list"]))


class KeyUpdate:
    """Update a key. Only what differs is sent: providers refuse an update that changes nothing."""

    def prepare(self, operation: Operation, provider: Provider, *, now: datetime) -> Send | Succeeded | Failed:
        key = _read(operation, provider, now)
        if key is None:
            return Failed("gone", _("The account has no such key any more."))
        changes = _missing(operation, key)
        if not changes:
            return self._changed(operation, key, _("It is so already at the provider."))

        def send() -> Succeeded:
            answer = provider.update_key(operation.account.ref, key.id, changes)
            if _missing(operation, answer):
                raise OutcomeUnknown(_("The answer shows another key than the one we sent."))
            return self._changed(operation, answer, _("The key was changed."))

        return Send("update key", json.dumps(changes, indent=1), send)

    def verify(self, operation: Operation, provider: Provider, *, now: datetime) -> Succeeded | NotApplied | Failed:
        key = _read(operation, provider, now)
        if key is None:
            return Failed("gone", _("The account has no such key any more."))
        if _missing(operation, key):
            return NotApplied(_("Read back: the key is still the old one."))
        return self._changed(operation, key, _("The key was changed and read back."))

    def from_late_answer(self, result: dict[str, Any]) -> None:
        return None

    def _changed(self, operation: Operation, key: ApiKey, note: str) -> Succeeded:
        return Succeeded(
            note,
            result={"key_id": key.id},
            also=lambda now: observed_accounts.record_key(account_id=operation.account_id, key=key, now=now),
        )


class KeyDelete:
    """Delete a key. It succeeds when the key is gone, whoever deleted it."""

    def prepare(self, operation: Operation, provider: Provider, *, now: datetime) -> Send | Succeeded:
        if self._is_gone(operation, provider, now):
            return self._deleted(operation, _("It was gone already."))

        def send() -> Succeeded:
            try:
                provider.delete_key(operation.account.ref, operation.payload["key_id"])
            except NotFound:
                return self._deleted(operation, _("It was gone already."))
            return self._deleted(operation, _("The key was deleted."))

        return Send("delete key", "", send)

    def verify(self, operation: Operation, provider: Provider, *, now: datetime) -> Succeeded | NotApplied:
        if self._is_gone(operation, provider, now):
            return self._deleted(operation, _("Read back: the key is gone."))
        return NotApplied(_("Read back: the key is still there."))

    def from_late_answer(self, result: dict[str, Any]) -> None:
        return None

    def _is_gone(self, operation: Operation, provider: Provider, now: datetime) -> bool:
        try:
            return _read(operation, provider, now) is None
        except NotFound:
            return True  # the account itself is gone

    def _deleted(self, operation: Operation, note: str) -> Succeeded:
        key_id = operation.payload["key_id"]

        def write(now: datetime) -> None:
            observed_accounts.record_key_gone(account_id=operation.account_id, key_id=key_id, now=now)
            key_secrets.forget_key(account_id=operation.account_id, key_id=key_id)

        return Succeeded(note, result={"key_id": key_id}, also=write)


def _read(operation: Operation, provider: Provider, now: datetime) -> ApiKey | None:
    keys = observed_accounts.read_keys(account=operation.account, now=now, provider=provider)
    return next((key for key in keys if key.id == operation.payload["key_id"]), None)


def _missing(operation: Operation, key: ApiKey) -> dict[str, Any]:
    """Return what of the change is not applied yet. Scopes and networks are sets, networks in their canonical form."""
    changes = operation.payload["changes"]
    missing: dict[str, Any] = {}
    if "label" in changes and changes["label"] != key.label:
        missing["label"] = changes["label"]
    if "scopes" in changes and set(changes["scopes"]) != set(key.scopes):
        missing["scopes"] = changes["scopes"]
    if "ip_allow_list" in changes and _networks(changes["ip_allow_list"]) != _networks(key.ip_allow_list):
        missing["ip_allow_list"] = changes["ip_allow_list"]
    return missing


def _networks(rows: Iterable[str]) -> set[str]:
    return {str(ipaddress.ip_network(row, strict=False)) for row in rows}
