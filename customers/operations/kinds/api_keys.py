"""Asking about an account's API keys, and for what is set up with one: a sending domain, a test message."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from django.utils.translation import gettext as _

from customers.models import Account, AccountKey, Connection, Operation, SendingDomain
from customers.models.account import AccountState
from customers.models.operation_states import OperationKind
from customers.operations import key_secrets
from customers.operations.request import UnableToAsk, add, need_reason, permit, queue, token_of_follower
from customers.operations.submissions import submit_once
from portal.access.models import User
from portal.providers import NewKey

LABEL_MAX = 240  # the operation's code is added to it


def ask_key_create(
    *,
    actor: User,
    account: Account,
    new: NewKey,
    keep: bool,
    client_token: str,
    now: datetime,
    replaces: str = "",
    reason: str = "",
    request: HttpRequest | None = None,
    retry_of: Operation | None = None,
) -> Operation:
    """Ask for a further key. `keep`: its secret stays here, sealed, for setting up sending. `replaces`: the key that is
    deleted as soon as the new one exists, by an operation of its own that follows this one."""
    permit(actor, account.connection, OperationKind.KEY_CREATE, *([OperationKind.KEY_DELETE] if replaces else []))
    refuse_key(account.connection, new, keep=keep)

    def make() -> Operation:
        account.lock()
        old = _key_to_replace(account, replaces) if replaces else None
        operation = add(
            OperationKind.KEY_CREATE,
            account,
            payload=_payload(new, keep=keep) | {"replaces": replaces},
            same=("key",),
            actor=actor,
            reason=reason,
            client_token=client_token,
            now=now,
            request=request,
            retry_of=retry_of,
            verb="key.create_asked",
        )
        if old:
            queue(
                OperationKind.KEY_DELETE,
                account,
                number=account.next_operation_number(),
                payload={"key_id": old.key_id, "label": old.label},
                follows=operation,
                actor=actor,
                reason=reason or _("Replaced by the key of %(code)s.") % {"code": operation.code},
                client_token=token_of_follower(client_token, "old"),
                now=now,
                request=request,
                verb="key.delete_asked",
            )
        return operation

    return submit_once(
        Operation,
        actor=actor,
        client_token=client_token,
        kind=OperationKind.KEY_CREATE,
        target=account,
        content={"new": new, "keep": keep, "replaces": replaces, "reason": reason, "retry_of": retry_of},
        now=now,
        make=make,
    )


def ask_key_update(
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
    """Ask to change a key. `changes` holds only what is to be different: label (whole, with its code), scopes,
    ip_allow_list (canonical; empty = any address)."""
    permit(actor, account.connection, OperationKind.KEY_UPDATE)
    key = _key(account, key_id)
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
        make=lambda: add(
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


def ask_key_delete(
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
    """Ask to delete a key for good. What uses it stops; a kept secret of it goes with it."""
    permit(actor, account.connection, OperationKind.KEY_DELETE)
    need_reason(account.connection, reason)
    key = _key(account, key_id)
    return submit_once(
        Operation,
        actor=actor,
        client_token=client_token,
        kind=OperationKind.KEY_DELETE,
        target=account,
        content={"key": key_id, "reason": reason, "retry_of": retry_of},
        now=now,
        make=lambda: add(
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


def ask_domain(
    *,
    actor: User,
    account: Account,
    name: str,
    client_token: str,
    now: datetime,
    reason: str = "",
    request: HttpRequest | None = None,
    retry_of: Operation | None = None,
) -> Operation:
    """Ask to add a sending domain, with the account's kept key."""
    permit(actor, account.connection, OperationKind.DOMAIN_ADD)
    name = name.strip().casefold()
    if not name:
        raise UnableToAsk(_("Which domain will the customer send from?"), field="name")

    def make() -> Operation:
        _can_send(account)
        if SendingDomain.objects.filter(account=account, name=name, gone_at=None).exists():
            raise UnableToAsk(_("The account has this domain already."), field="name")
        return add(
            OperationKind.DOMAIN_ADD,
            account,
            payload={"domain": name},
            same=("domain",),
            actor=actor,
            reason=reason,
            client_token=client_token,
            now=now,
            request=request,
            retry_of=retry_of,
            verb="domain.add_asked",
        )

    return submit_once(
        Operation,
        actor=actor,
        client_token=client_token,
        kind=OperationKind.DOMAIN_ADD,
        target=account,
        content={"domain": name, "reason": reason, "retry_of": retry_of},
        now=now,
        make=make,
    )


def ask_test_message(
    *,
    actor: User,
    account: Account,
    sender: str,
    recipient: str,
    client_token: str,
    now: datetime,
    reason: str = "",
    request: HttpRequest | None = None,
    retry_of: Operation | None = None,
) -> Operation:
    """Ask to send one message from an address at a verified domain of the account, with its kept key."""
    permit(actor, account.connection, OperationKind.TEST_MESSAGE)

    def make() -> Operation:
        _can_send(account)
        host = sender.rpartition("@")[2].casefold()
        domain = SendingDomain.objects.filter(account=account, name=host, gone_at=None).first()
        if domain is None:
            raise UnableToAsk(_("The address must be at a sending domain of the account."), field="sender")
        if not domain.valid:
            raise UnableToAsk(_("%(domain)s is not verified yet. Check its DNS records first.") % {"domain": host})
        return add(
            OperationKind.TEST_MESSAGE,
            account,
            payload={
                "sender": sender,
                "recipient": recipient,
                "subject": _("Test message from %(domain)s") % {"domain": host},
                "text": _("This message shows that %(domain)s can send.") % {"domain": host},
            },
            same=("sender", "recipient"),
            actor=actor,
            reason=reason,
            client_token=client_token,
            now=now,
            request=request,
            retry_of=retry_of,
            verb="message.test_asked",
        )

    return submit_once(
        Operation,
        actor=actor,
        client_token=client_token,
        kind=OperationKind.TEST_MESSAGE,
        target=account,
        content={"sender": sender, "recipient": recipient, "reason": reason, "retry_of": retry_of},
        now=now,
        make=make,
    )


def follow_with_key(
    leader: Operation, new: NewKey, *, keep: bool, now: datetime, request: HttpRequest | None
) -> Operation:
    """Queue the first key of an account that is being created, behind its create."""
    return queue(
        OperationKind.KEY_CREATE,
        leader.account,
        number=leader.account.next_operation_number(),
        payload=_payload(new, keep=keep) | {"replaces": ""},
        follows=leader,
        actor=leader.requested_by,
        client_token=token_of_follower(leader.client_token, "key"),
        now=now,
        request=request,
        verb="key.create_asked",
    )


def refuse_key(connection: Connection, new: NewKey, *, keep: bool) -> None:
    """What could never be accepted, said beside the field."""
    if not connection.capabilities.keys:
        raise UnableToAsk(_("%(provider)s has no API keys we could make.") % {"provider": connection.provider_label})
    if not new.label.strip():
        raise UnableToAsk(_("A label is needed."), field="label")
    if len(new.label.strip()) > LABEL_MAX:
        raise UnableToAsk(_("A label has at most %(n)d characters.") % {"n": LABEL_MAX}, field="label")
    if not new.scopes:
        raise UnableToAsk(_("Tick at least one scope."), field="scopes")
    if keep and not (connection.keep_keys and connection.capabilities.sending_setup):
        raise UnableToAsk(_("Keys of %(name)s are not kept.") % {"name": connection.name}, field="keep")


def _payload(new: NewKey, *, keep: bool) -> dict[str, Any]:
    key = asdict(new) | {"scopes": list(new.scopes), "ip_allow_list": list(new.ip_allow_list)}
    return {"key": key | {"label": new.label.strip()}, "keep": keep}


def _key(account: Account, key_id: str) -> AccountKey:
    key = AccountKey.objects.filter(account=account, key_id=key_id, gone_at=None).first()
    if key is None:
        raise UnableToAsk(_("The account has no such key any more."))
    return key


def _key_to_replace(account: Account, key_id: str) -> AccountKey:
    """Refuses a key that is on its way out already: two people who rotate it would leave two new keys."""
    ends = Q(kind=OperationKind.KEY_CREATE, payload__replaces=key_id) | Q(
        kind=OperationKind.KEY_DELETE, payload__key_id=key_id
    )
    if other := Operation.objects.open().filter(ends, account=account).order_by("pk").first():
        raise UnableToAsk(
            _("%(code)s of %(who)s replaces or deletes this key already. Wait for it or cancel it first.")
            % {"code": other.code, "who": other.requested_by}
        )
    return _key(account, key_id)


def _can_send(account: Account) -> None:
    """With the account's own key only an active account can be worked on: those of a suspended one are refused."""
    if account.state in (AccountState.STOPPED_BY_US, AccountState.STOPPED_BY_PROVIDER):
        raise UnableToAsk(_("The account is suspended, and its own keys don't work while it is. Unsuspend it first."))
    if key_secrets.secret_for_sending(account) is None:
        raise UnableToAsk(
            _("This needs a key of the account whose secret is kept here. Make or rotate one and keep it.")
        )
