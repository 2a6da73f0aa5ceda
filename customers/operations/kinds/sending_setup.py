"""Add a sending domain and send a test message, with a key of the account itself.

The account's own key may be refused where ours is not: it was deleted, or the account is suspended. That is no refusal
of our connection's key, so it never pauses the connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from customers.models import Account, Operation, SendingDomain
from customers.models.operation_states import OperationKind
from customers.observed import accounts as observed_accounts
from customers.operations import attempts, idempotency, key_secrets
from customers.operations.outcomes import Action, Failed, NeedsReview, NotApplied, Send, Succeeded
from customers.operations.request import permit, request_addition
from customers.operations.submissions import submit_once
from portal.commands import Command
from portal.email_addresses import domain_key
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
from portal.refusals import Refusal
from portal.texts import say


class DomainAdd(Action):
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
        return self._there(operation, side) or idempotency.not_done(operation, say("domain.absent"), now=now)

    def _there(self, operation: Operation, side: AccountSide) -> Succeeded | None:
        try:
            with as_the_account():
                return self._added(operation, side.domain(operation.payload["domain"]))
        except NotFound:
            return None

    def _added(self, operation: Operation, domain: Domain) -> Succeeded:
        return Succeeded(
            say("domain.added", domain=domain.name),
            result={"domain": domain.name},
            also=lambda now: observed_accounts.record_domain(account_id=operation.account_id, domain=domain, now=now),
        )


class SendTestMessage(Action):
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
            return replace(self.from_late_answer({"message_id": created.id}), is_read=True)

        return idempotency.spent(operation, now=now) or Send("send test message", body, send, body)

    def verify(self, operation: Operation, provider: Provider, *, now: datetime) -> NotApplied:
        return idempotency.not_done(operation, say("message.no_answer"), now=now)

    def from_late_answer(self, result: dict[str, Any]) -> Succeeded:
        return Succeeded(say("message.accepted", id=result["message_id"]), result=result)


@contextmanager
def as_the_account() -> Iterator[None]:
    """Treat a refused key inside the block as the account's own: reported as such, without pausing our connection."""
    try:
        yield
    except (KeyRefused, Unauthorized) as error:
        text = say("own_key.refused")
        raise Rejected(text, field_errors=error.field_errors, evidence=error.evidence) from None
    except Forbidden as error:
        text = say("own_key.not_permitted")
        raise Rejected(text, field_errors=error.field_errors, evidence=error.evidence) from None


def _side(operation: Operation, provider: Provider, now: datetime) -> AccountSide | Failed | NeedsReview:
    """Return a client that uses the account's stored key, or why there is none. Where a send may have been applied
    already, that needs a review: it can be neither read back nor repeated."""
    verdict = NeedsReview if attempts.has_possible_effect(operation) else Failed
    reading = observed_accounts.read_state(account=operation.account, provider=provider, now=now)
    if reading.state != ReportedState.ACTIVE:
        return verdict("held", say("own_key.account_not_active"))
    secret = key_secrets.secret_for_sending(operation.account)
    if secret is None:
        return verdict("no_key", say("own_key.none"))
    return provider.sending(operation.account.ref, secret.open())


def _message(operation: Operation) -> TestMessage:
    payload = operation.payload
    return TestMessage(payload["sender"], payload["recipient"], payload["subject"], payload["text"])


def request_domain(command: Command, *, account: Account, name: str) -> Operation:
    """Request to add a sending domain, with the account's stored key."""
    permit(command.person, account.connection, OperationKind.DOMAIN_ADD)
    name = domain_key(name)
    if not name:
        raise Refusal(_("Enter the domain the customer will send from."), field="name")

    def make() -> Operation:
        _can_send(account)
        if SendingDomain.objects.filter(account=account, name=name, gone_at=None).exists():
            raise Refusal(_("The account already has this domain."), field="name")
        return request_addition(
            command,
            OperationKind.DOMAIN_ADD,
            account,
            payload={"domain": name},
            same=("domain",),
            verb="domain.add_asked",
        )

    return submit_once(
        command,
        Operation,
        kind=OperationKind.DOMAIN_ADD,
        target=account,
        content={"domain": name},
        make=make,
    )


def request_test_message(command: Command, *, account: Account, sender: str, recipient: str) -> Operation:
    """Request to send one message from an address at a verified domain of the account, with its stored key."""
    permit(command.person, account.connection, OperationKind.TEST_MESSAGE)
    local, _at, host = sender.rpartition("@")

    def make() -> Operation:
        _can_send(account)
        domains = SendingDomain.objects.filter(account=account, gone_at=None)
        domain = next((each for each in domains if domain_key(each.name) == domain_key(host)), None)
        if domain is None:
            raise Refusal(_("The address must use one of the account's sending domains."), field="sender")
        if not domain.valid:
            raise Refusal(_("%(domain)s is not verified yet. Check its DNS records first.") % {"domain": domain.name})
        return request_addition(
            command,
            OperationKind.TEST_MESSAGE,
            account,
            payload={
                "sender": f"{local}@{domain.name}",
                "recipient": recipient,
                "subject": _("Test message from %(domain)s") % {"domain": domain.name},
                "text": _("This test message confirms that %(domain)s can send email.") % {"domain": domain.name},
            },
            same=("sender", "recipient"),
            verb="message.test_asked",
        )

    return submit_once(
        command,
        Operation,
        kind=OperationKind.TEST_MESSAGE,
        target=account,
        content={"sender": sender, "recipient": recipient},
        make=make,
    )


def _can_send(account: Account) -> None:
    """Refuse an account that is not active: the keys of a suspended account don't work."""
    if account.state in (ReportedState.STOPPED_BY_US, ReportedState.STOPPED_BY_PROVIDER):
        raise Refusal(_("The account is suspended, so its API keys don't work. Unsuspend it first."))
    if key_secrets.secret_for_sending(account) is None:
        raise Refusal(
            _(
                "This requires an API key whose secret is stored in the portal. Create or rotate a key and store "
                "its secret."
            )
        )
