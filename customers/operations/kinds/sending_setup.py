"""Add a sending domain and send a test message, with a key of the account itself.

The account's own key may be refused where ours is not: it was deleted, or the account is suspended. That is no refusal
of our connection's key, so it never pauses the connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _

from customers.models import Account, Operation, SendingDomain
from customers.models.operation_states import OperationKind
from customers.observed import accounts as observed_accounts
from customers.operations import attempts, idempotency, key_secrets
from customers.operations.outcomes import Failed, NeedsReview, NotApplied, Send, Succeeded
from customers.operations.request import UnableToAsk, permit, request_addition
from customers.operations.submissions import submit_once
from portal.access.models import User
from portal.providers import (
    Domain,
    Forbidden,
    IdempotentBody,
    InProgress,
    KeyRefused,
    KeyReused,
    NotFound,
    Provider,
    RateLimited,
    Rejected,
    ReportedState,
    TestMessage,
    Unauthorized,
)
from portal.providers import Sending as AccountSide


class DomainAdd:
    """Add a domain under an idempotency key, verified by reading: it succeeds when the account has it, whoever added
    it."""

    def prepare(
        self, operation: Operation, provider: Provider, *, now: datetime
    ) -> Send | Succeeded | Failed | NeedsReview:
        side = _side(operation, provider, now)
        if isinstance(side, Failed | NeedsReview):
            return side
        if there := self._there(operation, side):
            return there
        body = operation.body or side.domain_body(operation.payload["domain"])

        def send() -> Succeeded:
            try:
                with as_the_account():
                    domain = side.add_domain(IdempotentBody(str(operation.public_id), body))
            except (InProgress, KeyReused, RateLimited, NotFound):
                raise
            except Rejected:
                if there := self._there(operation, side):
                    return there  # a duplicate is refused: it is ours already
                raise
            return self._added(operation, domain)

        return idempotency.spent(operation, now=now) or Send("add domain", body, send, body)

    def verify(
        self, operation: Operation, provider: Provider, *, now: datetime
    ) -> Succeeded | NotApplied | Failed | NeedsReview:
        side = _side(operation, provider, now)
        if isinstance(side, Failed | NeedsReview):
            return side
        text = _("Read back: the domain is not there. The same is sent again, under the same key.")
        return self._there(operation, side) or idempotency.not_done(operation, text, now=now)

    def from_late_answer(self, result: dict[str, Any]) -> None:
        return None

    def _there(self, operation: Operation, side: AccountSide) -> Succeeded | None:
        try:
            with as_the_account():
                return self._added(operation, side.domain(operation.payload["domain"]))
        except NotFound:
            return None

    def _added(self, operation: Operation, domain: Domain) -> Succeeded:
        return Succeeded(
            _("%(domain)s is there.") % {"domain": domain.name},
            result={"domain": domain.name},
            also=lambda now: observed_accounts.record_domain(account_id=operation.account_id, domain=domain, now=now),
        )


class SendTestMessage:
    """Send a message, always under an idempotency key: only an answer under it shows whether it was sent."""

    def prepare(
        self, operation: Operation, provider: Provider, *, now: datetime
    ) -> Send | Succeeded | Failed | NeedsReview:
        if late := attempts.late_answer(operation):
            return self.from_late_answer(late.result)
        side = _side(operation, provider, now)
        if isinstance(side, Failed | NeedsReview):
            return side
        body = operation.body or side.message_body(_message(operation))

        def send() -> Succeeded:
            with as_the_account():
                created = side.send_message(IdempotentBody(str(operation.public_id), body))
            return self.from_late_answer({"message_id": created.id})

        return idempotency.spent(operation, now=now) or Send("send test message", body, send, body)

    def verify(self, operation: Operation, provider: Provider, *, now: datetime) -> NotApplied:
        text = _("No usable answer came. The same is sent again, under the same key, so that it is sent once.")
        return idempotency.not_done(operation, text, now=now)

    def from_late_answer(self, result: dict[str, Any]) -> Succeeded:
        return Succeeded(_("Accepted as %(id)s.") % {"id": result["message_id"]}, result=result)


@contextmanager
def as_the_account() -> Iterator[None]:
    """Treat a refused key inside the block as the account's own: reported as such, without pausing our connection."""
    try:
        yield
    except (KeyRefused, Unauthorized) as error:
        text = _("The account's own key was refused: it was deleted, or the account is suspended.")
        raise Rejected(text, field_errors=error.field_errors, evidence=error.evidence) from None
    except Forbidden as error:
        text = _("The account's own key may not do this. Edit the key, or keep one that may.")
        raise Rejected(text, field_errors=error.field_errors, evidence=error.evidence) from None


def _side(operation: Operation, provider: Provider, now: datetime) -> AccountSide | Failed | NeedsReview:
    """Return a client that uses the account's stored key, or why there is none. Where a send may have been applied
    already, that needs a review: it can be neither read back nor repeated."""
    verdict = NeedsReview if attempts.has_possible_effect(operation) else Failed
    reading = observed_accounts.read_state(account=operation.account, provider=provider, now=now)
    if reading.state != ReportedState.ACTIVE:
        return verdict("held", _("The account is not active, and its own keys don't work while it is not."))
    secret = key_secrets.secret_for_sending(operation.account)
    if secret is None:
        return verdict("no_key", _("No key of the account is kept any more. Make or rotate one and keep it."))
    return provider.sending(operation.account.ref, secret.open())


def _message(operation: Operation) -> TestMessage:
    payload = operation.payload
    return TestMessage(payload["sender"], payload["recipient"], payload["subject"], payload["text"])


def request_domain(
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
    """Request to add a sending domain, with the account's stored key."""
    permit(actor, account.connection, OperationKind.DOMAIN_ADD)
    name = name.strip().casefold()
    if not name:
        raise UnableToAsk(_("Which domain will the customer send from?"), field="name")

    def make() -> Operation:
        _can_send(account)
        if SendingDomain.objects.filter(account=account, name=name, gone_at=None).exists():
            raise UnableToAsk(_("The account has this domain already."), field="name")
        return request_addition(
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


def request_test_message(
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
    """Request to send one message from an address at a verified domain of the account, with its stored key."""
    permit(actor, account.connection, OperationKind.TEST_MESSAGE)

    def make() -> Operation:
        _can_send(account)
        host = sender.rpartition("@")[2].casefold()
        domain = SendingDomain.objects.filter(account=account, name=host, gone_at=None).first()
        if domain is None:
            raise UnableToAsk(_("The address must be at a sending domain of the account."), field="sender")
        if not domain.valid:
            raise UnableToAsk(_("%(domain)s is not verified yet. Check its DNS records first.") % {"domain": host})
        return request_addition(
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


def _can_send(account: Account) -> None:
    """Refuse an account that is not active: the keys of a suspended account don't work."""
    if account.state in (ReportedState.STOPPED_BY_US, ReportedState.STOPPED_BY_PROVIDER):
        raise UnableToAsk(_("The account is suspended, and its own keys don't work while it is. Unsuspend it first."))
    if key_secrets.secret_for_sending(account) is None:
        raise UnableToAsk(
            _("This needs a key of the account whose secret is kept here. Make or rotate one and keep it.")
        )
