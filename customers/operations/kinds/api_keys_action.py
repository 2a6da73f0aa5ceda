"""The API keys of an account. A key's secret comes once, in the answer of its create, so a create whose answer is lost
leaves an orphan: it is found by its label, which carries the operation's code, and made anew.

    nothing of our label          -> send (again), same key, same bytes: it executes, or replays the stored answer
    one, its answer just got lost -> send once more at once, expecting the replay
    otherwise                     -> delete the orphans, one in a send, then create under the next generation's key

A *generation* is the number of deletes of orphans so far that happened or may have; each has an idempotency key of its
own, because the stored answer of an earlier one would speak of a key that is gone.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext as _

from customers.models import Attempt, KeySecret, Operation
from customers.observed import accounts as observed_accounts
from customers.operations import idempotency, key_secrets, transitions
from customers.operations.outcomes import Done, Go, NotDone, Person, Prepared, Refuse
from portal.providers import (
    ApiKey,
    CreatedKey,
    NewKey,
    NotFound,
    Once,
    OutcomeUnknown,
    Provider,
    ProviderError,
)

# Providers keep the answer that holds a secret for five minutes (documented); a minute less, for two clocks.
REPLAYS_FOR = timedelta(minutes=4)
DELETE_ORPHAN = "delete orphan key"


class KeyCreate:
    """In the end exactly one living key, whose secret was sealed in the transaction that recorded it."""

    def before(self, operation: Operation, provider: Provider, *, now: datetime) -> Go | Done | Refuse | Person:
        body = operation.body or provider.key_body(new_key(operation))
        if not transitions.left_a_trace(operation):
            return self._create(operation, provider, body, twins=[])
        try:
            ours = self._ours(operation, provider)
        except NotFound:
            return Refuse("gone", _("The account is not at the provider any more, and its keys went with it."))
        if len(ours) == 1 and KeySecret.objects.filter(operation=operation, key_id=ours[0].id).exists():
            return self._made(operation, ours[0], _("The key is there, and its secret was kept when it arrived."))
        if ours and not self._may_replay(operation, ours, now):
            return self._clean_up(operation, provider, ours[0], body)
        return idempotency.too_late(operation, now=now) or self._create(operation, provider, body, twins=ours)

    def after(self, operation: Operation, provider: Provider, *, now: datetime) -> NotDone:
        """What to send next is decided by `before`. Even where the provider has said no by now, an earlier send may
        have left an orphan."""
        try:
            left = bool(self._ours(operation, provider))
        except NotFound:
            left = True  # `before` says what that means
        text = _("No usable answer came. The account's keys are looked at before anything is sent again.")
        return replace(idempotency.not_done(operation, text, now=now), more_to_do=left)

    def recall(self, result: dict[str, Any]) -> None:
        return None  # a key that came late may have been deleted since as an orphan: `before` looks

    def _ours(self, operation: Operation, provider: Provider) -> list[ApiKey]:
        return [key for key in provider.keys(operation.account.ref) if key.label == label_of(operation)]

    def _create(self, operation: Operation, provider: Provider, body: str, *, twins: list[ApiKey]) -> Go:
        once = Once(f"{operation.public_id}-{len(_deletes(operation))}", body)
        alone = not transitions.left_a_trace(operation)

        def send() -> Done:
            created = provider.create_key(operation.account.ref, once)
            if not alone:
                self._refuse_twins(operation, provider, created, twins)
            return self._made(operation, created.key, _("The key was made."), secret=created.secret)

        return Go("create key", body, send, body)

    def _refuse_twins(self, operation: Operation, provider: Provider, created: CreatedKey, twins: list[ApiKey]) -> None:
        """A second key of our label came to be, or may have: then nobody knows which one stays."""
        try:
            ours = {key.id for key in self._ours(operation, provider)}
        except ProviderError as error:
            raise OutcomeUnknown(
                _("The key was made, but whether it is the only one could not be read."), evidence=error.evidence
            ) from None
        if ours != {created.key.id} or any(twin.id != created.key.id for twin in twins):
            raise OutcomeUnknown(_("The key was made, but it is not the only one of this operation."))

    def _made(self, operation: Operation, key: ApiKey, note: str, *, secret: str = "") -> Done:
        def write(now: datetime) -> None:
            observed_accounts.observe_key(account_id=operation.account_id, key=key, now=now)
            if secret:
                key_secrets.keep(operation=operation, key_id=key.id, secret=secret, now=now)
            key_secrets.forget_others(operation=operation, key_id=key.id)

        return Done(note, result={"key_id": key.id}, also=write)

    def _clean_up(self, operation: Operation, provider: Provider, orphan: ApiKey, body: str) -> Go:
        def send() -> Prepared:
            with suppress(NotFound):  # gone is what we want
                provider.delete_key(operation.account.ref, orphan.id)
            return Prepared(_("Deleted the key %(id)s, whose secret was lost.") % {"id": orphan.id})

        return Go(DELETE_ORPHAN, json.dumps({"key_id": orphan.id}), send, body)

    def _may_replay(self, operation: Operation, ours: list[ApiKey], now: datetime) -> bool:
        """Whether the provider should still have the answer that got lost: one key, one send of this generation, no
        answer to it at all, a moment ago. Any answer says that there is nothing to replay."""
        deletes = _deletes(operation)
        sends = list(transitions.sent(operation).filter(n__gt=deletes[-1].n if deletes else 0))
        return (
            len(ours) == 1
            and len(sends) == 1
            and sends[0].outcome in transitions.UNCERTAIN
            and sends[0].status is None
            and now < sends[0].intended_at + REPLAYS_FOR
        )


class KeyUpdate:
    """Only what differs is sent: providers refuse an update that changes nothing."""

    def before(self, operation: Operation, provider: Provider, *, now: datetime) -> Go | Done | Refuse:
        key = _read(operation, provider, now)
        if key is None:
            return Refuse("gone", _("The account has no such key any more."))
        changes = _missing(operation, key)
        if not changes:
            return self._changed(operation, key, _("It is so already at the provider."))

        def send() -> Done:
            answer = provider.update_key(operation.account.ref, key.id, changes)
            if _missing(operation, answer):
                raise OutcomeUnknown(_("The answer shows another key than the one we sent."))
            return self._changed(operation, answer, _("The key was changed."))

        return Go("update key", json.dumps(changes, indent=1), send)

    def after(self, operation: Operation, provider: Provider, *, now: datetime) -> Done | NotDone | Refuse:
        key = _read(operation, provider, now)
        if key is None:
            return Refuse("gone", _("The account has no such key any more."))
        if _missing(operation, key):
            return NotDone(_("Read back: the key is still the old one."))
        return self._changed(operation, key, _("The key was changed and read back."))

    def recall(self, result: dict[str, Any]) -> None:
        return None

    def _changed(self, operation: Operation, key: ApiKey, note: str) -> Done:
        return Done(
            note,
            result={"key_id": key.id},
            also=lambda now: observed_accounts.observe_key(account_id=operation.account_id, key=key, now=now),
        )


class KeyDelete:
    """Gone is done, whoever did it."""

    def before(self, operation: Operation, provider: Provider, *, now: datetime) -> Go | Done:
        if self._is_gone(operation, provider, now):
            return self._deleted(operation, _("It was gone already."))

        def send() -> Done:
            try:
                provider.delete_key(operation.account.ref, operation.payload["key_id"])
            except NotFound:
                return self._deleted(operation, _("It was gone already."))
            return self._deleted(operation, _("The key was deleted."))

        return Go("delete key", "", send)

    def after(self, operation: Operation, provider: Provider, *, now: datetime) -> Done | NotDone:
        if self._is_gone(operation, provider, now):
            return self._deleted(operation, _("Read back: the key is gone."))
        return NotDone(_("Read back: the key is still there."))

    def recall(self, result: dict[str, Any]) -> None:
        return None

    def _is_gone(self, operation: Operation, provider: Provider, now: datetime) -> bool:
        try:
            return _read(operation, provider, now) is None
        except NotFound:
            return True  # the account itself is gone

    def _deleted(self, operation: Operation, note: str) -> Done:
        key_id = operation.payload["key_id"]

        def write(now: datetime) -> None:
            observed_accounts.observe_key_gone(account_id=operation.account_id, key_id=key_id, now=now)
            key_secrets.forget_key(account_id=operation.account_id, key_id=key_id)

        return Done(note, result={"key_id": key_id}, also=write)


def label_of(operation: Operation) -> str:
    """What people typed, and the operation's code, by which an orphan is found."""
    return f"{operation.payload['key']['label']} · {operation.code}"


def new_key(operation: Operation) -> NewKey:
    key = operation.payload["key"]
    return NewKey(label_of(operation), tuple(key["scopes"]), tuple(key["ip_allow_list"]))


def _deletes(operation: Operation) -> list[Attempt]:
    """Deletes of orphans that happened or may have, oldest first."""
    perhaps = (Attempt.Outcome.PREPARED, *transitions.UNCERTAIN)
    return list(operation.attempts.filter(call=DELETE_ORPHAN, outcome__in=perhaps).order_by("n"))


def _read(operation: Operation, provider: Provider, now: datetime) -> ApiKey | None:
    keys = observed_accounts.read_keys(account=operation.account, now=now, provider=provider)
    return next((key for key in keys if key.id == operation.payload["key_id"]), None)


def _missing(operation: Operation, key: ApiKey) -> dict[str, Any]:
    """What of the change is not so yet. Scopes and networks are sets, networks in their canonical form."""
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
