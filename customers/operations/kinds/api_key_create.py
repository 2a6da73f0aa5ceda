"""Create an API key; a key whose secret was lost is found by its label and replaced.

    no key with our label         -> send (again), same key, same bytes: it executes, or replays the stored answer
    one, its answer just got lost -> send once more at once, expecting the replay
    otherwise                     -> delete the orphans, one in a send, then create under the next generation's key

A *generation* is the number of deletes of orphans so far that happened or may have; each has an idempotency key of its
own, because the stored answer of an earlier one would be about a key that no longer exists.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from django.utils.translation import gettext as _

from customers.models import Account, AccountKey, Attempt, Connection, KeySecret, Operation
from customers.models.operation_states import OperationKind
from customers.observed import accounts as observed_accounts
from customers.operations import attempts, idempotency, key_secrets
from customers.operations.kinds.api_keys import living_key, requested_key
from customers.operations.outcomes import Action, Failed, NeedsReview, NotApplied, Send, StepDone, Succeeded
from customers.operations.request import permit, queue_operation, request_addition, token_of_follower
from customers.operations.submissions import submit_once
from portal.commands import Command
from portal.providers import (
    ApiKey,
    CreatedKey,
    IdempotentBody,
    NewKey,
    NotFound,
    OutcomeUnknown,
    Provider,
    ProviderError,
)
from portal.refusals import Refusal
from portal.texts import say

# Providers store the answer that holds a secret for five minutes (documented); a minute less, for two clocks.
REPLAYS_FOR = timedelta(minutes=4)
DELETE_ORPHAN = "delete orphan key"

LABEL_MAX = 240  # the operation's code is added to it


def retry_key_create(operation: Operation, command: Command) -> Operation:
    payload = operation.payload
    old = AccountKey.objects.filter(account=operation.account, key_id=payload["replaces"], gone_at=None)
    return request_key_create(
        command,
        account=operation.account,
        new=requested_key(operation),
        keep=payload["keep"],
        replaces=payload["replaces"] if old.exists() else "",
    )


def request_key_create(command: Command, *, account: Account, new: NewKey, keep: bool, replaces: str = "") -> Operation:
    """Request a further key. `keep`: its secret is stored here, encrypted, for setting up sending. `replaces`: the key
    that is deleted as soon as the new one exists, by an operation of its own that follows this one."""
    permit(
        command.person, account.connection, OperationKind.KEY_CREATE, *([OperationKind.KEY_DELETE] if replaces else [])
    )
    refuse_key(account.connection, new, keep=keep)

    def make() -> Operation:
        account.lock()
        old = _key_to_replace(account, replaces) if replaces else None
        operation = request_addition(
            command,
            OperationKind.KEY_CREATE,
            account,
            payload=_payload(new, keep=keep) | {"replaces": replaces},
            same=("key",),
            verb="key.create_asked",
        )
        if old:
            queue_operation(
                replace(
                    command,
                    reason=command.reason or _("Replaced by the key created in %(code)s.") % {"code": operation.code},
                    token=token_of_follower(command.token, "old"),
                    retry_of=None,
                ),
                OperationKind.KEY_DELETE,
                account,
                number=account.next_operation_number(),
                payload={"key_id": old.key_id, "label": old.label},
                follows=operation,
                verb="key.delete_asked",
            )
        return operation

    return submit_once(
        command,
        Operation,
        kind=OperationKind.KEY_CREATE,
        target=account,
        content={"new": new, "keep": keep, "replaces": replaces},
        make=make,
    )


def follow_with_key(
    leader: Operation, new: NewKey, *, keep: bool, now: datetime, request: HttpRequest | None
) -> Operation:
    """Queue the first key of an account that is being created, behind its create."""
    return queue_operation(
        Command(leader.requested_by, now, token=token_of_follower(leader.client_token, "key"), request=request),
        OperationKind.KEY_CREATE,
        leader.account,
        number=leader.account.next_operation_number(),
        payload=_payload(new, keep=keep) | {"replaces": ""},
        follows=leader,
        verb="key.create_asked",
    )


def refuse_key(connection: Connection, new: NewKey, *, keep: bool) -> None:
    """Refuse a key that the provider would never accept, naming the form field."""
    if not connection.capabilities.keys:
        raise Refusal(_("The portal can't create API keys at %(provider)s.") % {"provider": connection.provider_label})
    if not new.label.strip():
        raise Refusal(_("Enter a label."), field="label")
    if len(new.label.strip()) > LABEL_MAX:
        raise Refusal(_("Use %(n)d characters or fewer for the label.") % {"n": LABEL_MAX}, field="label")
    if not new.scopes:
        raise Refusal(_("Select at least one scope."), field="scopes")
    if keep and not (connection.keep_keys and connection.capabilities.sending_setup):
        raise Refusal(_("%(name)s doesn't store API key secrets.") % {"name": connection.name}, field="keep")


def _payload(new: NewKey, *, keep: bool) -> dict[str, Any]:
    key = asdict(new) | {"scopes": list(new.scopes), "ip_allow_list": list(new.ip_allow_list)}
    return {"key": key | {"label": new.label.strip()}, "keep": keep}


def _key_to_replace(account: Account, key_id: str) -> AccountKey:
    refuse_if_ending(account, key_id)
    return living_key(account, key_id)


def refuse_if_ending(account: Account, key_id: str) -> None:
    """Refuse a key whose delete is in progress: two rotations would leave two new keys."""
    ends = Q(kind=OperationKind.KEY_CREATE, payload__replaces=key_id) | Q(
        kind=OperationKind.KEY_DELETE, payload__key_id=key_id
    )
    if other := Operation.objects.open().filter(ends, account=account).order_by("pk").first():
        raise Refusal(
            _(
                "%(code)s, requested by %(who)s, already replaces or deletes this key. Wait for it to finish "
                "or cancel it first."
            )
            % {"code": other.code, "who": other.requested_by}
        )


class KeyCreate(Action):
    """Create a key, so that in the end one living key exists whose secret was encrypted in the transaction that
    recorded it. One whose answer came late may have been deleted since as an orphan: `prepare` checks."""

    def prepare(
        self, operation: Operation, provider: Provider, *, now: datetime
    ) -> Send | Succeeded | Failed | NeedsReview:
        body = operation.body or provider.key_body(new_key(operation))
        if not attempts.has_possible_effect(operation):
            return self._create(operation, provider, body, twins=[])
        try:
            ours = self._ours(operation, provider)
        except NotFound:
            return Failed("gone", say("api_key.account_gone"))
        if len(ours) == 1 and KeySecret.objects.filter(operation=operation, key_id=ours[0].id).exists():
            return self._made(operation, ours[0], say("api_key.secret_kept"))
        if ours and attempts.sent_before_restore(operation):  # its secret may have been revealed, and be in use
            return NeedsReview("restored", say("api_key.made_before_restore", id=ours[0].id), operation.result)
        if ours and (_too_often(operation) or not self._may_replay(operation, ours, now)):
            return self._clean_up(operation, provider, ours[0], body)
        stop = idempotency.too_late(operation, now=now) or _too_often(operation)
        return stop or self._create(operation, provider, body, twins=ours)

    def verify(self, operation: Operation, provider: Provider, *, now: datetime) -> NotApplied:
        """Decide that the create was not applied; `prepare` decides what to send next. Even where the provider has
        refused by now, or after too many sends, an orphan is deleted first."""
        try:
            left = bool(self._ours(operation, provider))
        except NotFound:
            left = True  # `prepare` decides what that means
        verdict = idempotency.not_done(operation, say("api_key.no_answer"), now=now)
        at_most = idempotency.sends_at_most(operation) + (idempotency.DELETES_MORE if left else 0)
        return replace(verdict, sends_at_most=at_most, more_to_do=left)

    def _ours(self, operation: Operation, provider: Provider) -> list[ApiKey]:
        return [key for key in provider.keys(operation.account.ref) if key.label == key_label(operation)]

    def _create(self, operation: Operation, provider: Provider, body: str, *, twins: list[ApiKey]) -> Send:
        once = IdempotentBody(f"{operation.public_id}-{len(_deletes(operation))}", body)
        alone = not attempts.has_possible_effect(operation)

        def send() -> Succeeded:
            created = provider.create_key(operation.account.ref, once)
            if not alone:
                self._refuse_twins(operation, provider, created, twins)
            return self._made(operation, created.key, say("api_key.created"), secret=created.secret)

        return Send("create key", body, send, body)

    def _refuse_twins(self, operation: Operation, provider: Provider, created: CreatedKey, twins: list[ApiKey]) -> None:
        """Refuse the result where a second key with our label exists, or may: which one remains is then unknown."""
        try:
            ours = {key.id for key in self._ours(operation, provider)}
        except ProviderError as error:
            raise OutcomeUnknown(say("api_key.twins_unread"), evidence=error.evidence) from None
        if ours != {created.key.id} or any(twin.id != created.key.id for twin in twins):
            raise OutcomeUnknown(say("api_key.twins"))

    def _made(self, operation: Operation, key: ApiKey, note: str, *, secret: str = "") -> Succeeded:
        def write(now: datetime) -> None:
            observed_accounts.record_key(account_id=operation.account_id, key=key, now=now)
            if secret:
                key_secrets.store(operation=operation, key_id=key.id, secret=secret, now=now)
            key_secrets.forget_others(operation=operation, key_id=key.id)

        return Succeeded(note, result={"key_id": key.id}, also=write)

    def _clean_up(self, operation: Operation, provider: Provider, orphan: ApiKey, body: str) -> Send:
        def send() -> StepDone:
            with suppress(NotFound):  # gone is the goal
                provider.delete_key(operation.account.ref, orphan.id)
            return StepDone(say("api_key.orphan_deleted", id=orphan.id))

        return Send(DELETE_ORPHAN, json.dumps({"key_id": orphan.id}), send, body)

    def _may_replay(self, operation: Operation, ours: list[ApiKey], now: datetime) -> bool:
        """Return whether the provider should still have the lost answer: one key, one send of this generation, no
        answer to it at all, a moment ago. Any answer means that there is nothing to replay."""
        deletes = _deletes(operation)
        sends = list(attempts.attempts_sent(operation).filter(n__gt=deletes[-1].n if deletes else 0))
        return (
            len(ours) == 1
            and len(sends) == 1
            and sends[0].outcome in attempts.UNCERTAIN
            and sends[0].status is None
            and now < sends[0].intended_at + REPLAYS_FOR
        )


def key_label(operation: Operation) -> str:
    """Return the label the user typed and the operation's code, by which an orphan is found."""
    return f"{operation.payload['key']['label']} · {operation.code}"


def new_key(operation: Operation) -> NewKey:
    key = operation.payload["key"]
    return NewKey(key_label(operation), tuple(key["scopes"]), tuple(key["ip_allow_list"]))


def _too_often(operation: Operation) -> NeedsReview | None:
    """Return a review where a further create would be one too many. A review that retries allows one."""
    count = attempts.count_unsuccessful(operation)
    created = operation.attempts.exclude(call=DELETE_ORPHAN).last()
    is_retried = created and operation.steps.filter(idempotency.RETRIED, at__gte=created.intended_at).exists()
    if is_retried or count < idempotency.sends_at_most(operation):
        return None
    return NeedsReview("unknown", say("api_key.sent_often", n=count), operation.result)


def _deletes(operation: Operation) -> list[Attempt]:
    """Return the deletes of orphans that happened or may have, oldest first."""
    perhaps = (Attempt.Outcome.PREPARED, *attempts.UNCERTAIN)
    return list(operation.attempts.filter(call=DELETE_ORPHAN, outcome__in=perhaps).order_by("n"))
