"""Change and delete an account's API keys."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from customers.models import Account, AccountKey, Operation
from customers.models.operation_states import OperationKind
from customers.observed import accounts as observed_accounts
from customers.operations import key_secrets
from customers.operations.outcomes import Action, Failed, NotApplied, Send, Succeeded
from customers.operations.request import need_reason, permit, request_addition
from customers.operations.submissions import submit_once
from portal.commands import Command
from portal.providers import ApiKey, NewKey, NotFound, OutcomeUnknown, Provider
from portal.refusals import Refusal
from portal.texts import say


def request_key_update(command: Command, *, account: Account, key_id: str, changes: dict[str, Any]) -> Operation:
    """Request a change of a key. `changes` holds only what is to be different: label (whole, with its code), scopes,
    ip_allow_list (canonical; empty = any address)."""
    permit(command.person, account.connection, OperationKind.KEY_UPDATE)
    key = living_key(account, key_id)
    if not changes:
        raise Refusal(_("You made no changes, so nothing was sent."))
    if changes.keys() - {"label", "scopes", "ip_allow_list"}:
        raise TypeError(f"not a field of an API key: {sorted(changes)}")
    changes = {name: list(value) if isinstance(value, list | tuple) else value for name, value in changes.items()}
    return submit_once(
        command,
        Operation,
        kind=OperationKind.KEY_UPDATE,
        target=account,
        content={"key": key_id, "changes": changes},
        make=lambda: request_addition(
            command,
            OperationKind.KEY_UPDATE,
            account,
            payload={"key_id": key_id, "label": key.label, "changes": changes},
            same=("key_id",),
            verb="key.update_asked",
        ),
    )


def request_key_delete(command: Command, *, account: Account, key_id: str) -> Operation:
    """Request to delete a key permanently. Whatever uses it stops; its stored secret is deleted with it."""
    permit(command.person, account.connection, OperationKind.KEY_DELETE)
    need_reason(account.connection, command.reason)
    key = living_key(account, key_id)
    return submit_once(
        command,
        Operation,
        kind=OperationKind.KEY_DELETE,
        target=account,
        content={"key": key_id},
        make=lambda: request_addition(
            command,
            OperationKind.KEY_DELETE,
            account,
            payload={"key_id": key_id, "label": key.label},
            same=("key_id",),
            verb="key.delete_asked",
        ),
    )


def living_key(account: Account, key_id: str) -> AccountKey:
    key = AccountKey.objects.filter(account=account, key_id=key_id, gone_at=None).first()
    if key is None:
        raise Refusal(_("The account no longer has this key."))
    return key


def requested_key(operation: Operation) -> NewKey:
    key = operation.payload["key"]
    return NewKey(key["label"], tuple(key["scopes"]), tuple(key["ip_allow_list"]))


class KeyUpdate(Action):
    """Update a key. Only what differs is sent: providers refuse an update that changes nothing."""

    def prepare(self, operation: Operation, provider: Provider, *, now: datetime) -> Send | Succeeded | Failed:
        key = _read(operation, provider, now)
        if key is None:
            return Failed("gone", say("api_key.gone"))
        changes = _missing(operation, key)
        if not changes:
            return self._changed(operation, key, say("already_so"))

        def send() -> Succeeded:
            answer = provider.update_key(operation.account.ref, key.id, changes)
            if _missing(operation, answer):
                raise OutcomeUnknown(say("api_key.other_answer"))
            return self._changed(operation, answer, say("api_key.changed"))

        return Send("update key", json.dumps(changes, indent=1), send)

    def verify(self, operation: Operation, provider: Provider, *, now: datetime) -> Succeeded | NotApplied | Failed:
        key = _read(operation, provider, now)
        if key is None:
            return Failed("gone", say("api_key.gone"))
        if _missing(operation, key):
            return NotApplied(say("api_key.unchanged"))
        return self._changed(operation, key, say("api_key.changed_as_read"))

    def _changed(self, operation: Operation, key: ApiKey, note: str) -> Succeeded:
        return Succeeded(
            note,
            result={"key_id": key.id},
            also=lambda now: observed_accounts.record_key(account_id=operation.account_id, key=key, now=now),
        )


class KeyDelete(Action):
    """Delete a key. It succeeds when the key no longer exists, whoever deleted it."""

    def prepare(self, operation: Operation, provider: Provider, *, now: datetime) -> Send | Succeeded:
        if self._is_gone(operation, provider, now):
            return self._deleted(operation, say("already_gone"))

        def send() -> Succeeded:
            try:
                provider.delete_key(operation.account.ref, operation.payload["key_id"])
            except NotFound:
                return self._deleted(operation, say("already_gone"))
            return self._deleted(operation, say("api_key.deleted"))

        return Send("delete key", "", send)

    def verify(self, operation: Operation, provider: Provider, *, now: datetime) -> Succeeded | NotApplied:
        if self._is_gone(operation, provider, now):
            return self._deleted(operation, say("api_key.deleted_as_read"))
        return NotApplied(say("api_key.not_deleted"))

    def _is_gone(self, operation: Operation, provider: Provider, now: datetime) -> bool:
        try:
            return _read(operation, provider, now) is None
        except NotFound:
            return True  # the account itself no longer exists

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
