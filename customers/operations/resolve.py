"""Manual resolution of operations that need review: a create with an unknown outcome, or any other one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from customers.connections.client import client_for
from customers.models import Account, Operation, RemoteAccount
from customers.models.account import AccountState, as_rows, identity_of
from customers.models.operation_states import PERMISSION_OF_KIND, WAITS_FOR_A_PERSON, OperationKind, OperationState
from customers.observed import accounts as observed_accounts
from customers.operations import conclusions, transitions
from customers.operations.commands import PERFORM
from portal.access.models import User
from portal.access.permissions import require
from portal.clock import database_now
from portal.commands import Command
from portal.email_addresses import domain_key, mailbox_key, same_mailbox
from portal.leases import LostLease
from portal.providers import AccountRef, Details, Forbidden, NotFound, Provider, ProviderError
from portal.queue import enqueue_on_commit
from portal.refusals import Refusal
from portal.texts import say


def resolve_link(
    command: Command,
    *,
    operation: Operation,
    provider_id: str,
    although_different: bool = False,
    provider: Provider | None = None,
) -> None:
    """Link the account `provider_id` to the unknown create that made it. The account is read first; nothing is sent.

    An account of another email (or name and website) is linked only where the user confirms it (`although_different`).
    """
    _may_decide(command.person, operation, command.reason)
    if operation.kind != OperationKind.CREATE:
        raise Refusal(_("Only an account creation can be linked to an account."))
    provider_id = provider_id.strip()
    if not provider_id:
        raise Refusal(_("Enter the provider account ID."), field="provider_id")
    taken = Account.objects.filter(
        provider_kind=operation.connection.kind, provider_id=provider_id, duplicate_of=None
    ).select_related("customer")
    if other := taken.first():
        raise Refusal(
            _("This account already belongs to %(customer)s.") % {"customer": other.customer}, field="provider_id"
        )
    provider = provider or client_for(operation.connection, interactive=True)
    evidence = _evidence(operation, AccountRef(provider_id), provider, although_different=although_different)
    others = [row["provider_id"] for row in operation.result.get("candidates", []) if row["provider_id"] != provider_id]
    result = {"account_id": provider_id, "linked": evidence} | ({"others": others} if others else {})
    columns = {"provider_id": provider_id, "state": AccountState.UNKNOWN, "changed_what": _("Linked manually")}
    try:
        with _decision(operation, "account.linked", command, after=result):
            conclusions.succeed(
                operation,
                now=command.now,
                summary=say("decided.linked", id=provider_id),
                account=columns,
                result=result,
                by=command.person,
            )
            unlinked = RemoteAccount.objects.filter(connection=operation.connection, provider_id__in=others)
            unlinked.update(possible_duplicate_of=operation)
    except conclusions.AccountTaken:
        raise Refusal(_("This account was just linked elsewhere."), field="provider_id") from None
    account = Account.objects.select_related("connection").get(pk=operation.account_id)
    try:
        observed_accounts.read_account(account=account, now=database_now(), provider=provider)
    except ProviderError:
        return  # it was readable a moment ago; it is read again later


def resolve_not_created(command: Command, *, operation: Operation, send_again: bool) -> None:
    """End a create that the user confirmed was not created, or requeue it to be sent again. The reason is stored."""
    _may_decide(command.person, operation, command.reason)
    if operation.kind != OperationKind.CREATE:
        raise Refusal(_("Only an account creation can be resolved this way."))
    if send_again and operation.error_kind == "too_late":
        raise Refusal(
            _(
                "The idempotency key can no longer be used. Select “The account does not exist: cancel”, then "
                "submit a new request."
            )
        )
    after = OperationState.QUEUED if send_again else OperationState.FAILED
    error_kind = "" if send_again else "not_created"
    _decide(command, operation, after=after, summary=say("decided.not_created"), error_kind=error_kind)


def resolve_retry(command: Command, *, operation: Operation) -> None:
    """Requeue an operation that needs attention. Its reads before sending run again."""
    _may_decide(command.person, operation, command.reason)
    if operation.error_kind == "too_late":
        raise Refusal(
            _("The idempotency key can no longer be used. Mark this operation as failed, then submit a new request.")
        )
    proven = operation.error_kind in ("budget", "poison") and not operation.was_unknown
    looks = operation.connection.capabilities.idempotent_create or proven
    if operation.kind == OperationKind.CREATE and operation.attempt_count and not looks:
        raise Refusal(_("First select whether the account was created."))
    _decide(command, operation, after=OperationState.QUEUED, summary=say("decided.retry"), error_kind="")


def resolve_failed(command: Command, *, operation: Operation) -> None:
    """End an operation as failed. The provider's values stay as they are."""
    _may_decide(command.person, operation, command.reason)
    _decide(command, operation, after=OperationState.FAILED, summary=say("decided.failed"), error_kind="given_up")


def _decide(
    command: Command,
    operation: Operation,
    *,
    after: OperationState,
    **fields: Any,
) -> None:
    if after == OperationState.QUEUED:
        fields |= {"not_before": command.now, "concurrency_key": ""}
    with _decision(operation, "operation.decided", command, after={"state": after}):
        transitions.move(operation, after, now=command.now, by=command.person, **fields)
        if after == OperationState.QUEUED:
            enqueue_on_commit(PERFORM, operation.pk)


@contextmanager
def _decision(operation: Operation, verb: str, command: Command, *, after: dict[str, Any]) -> Iterator[None]:
    """Write a decision and its audit event in one transaction, as the only one who decides now: no worker's late answer
    can move the operation anymore."""
    try:
        with transaction.atomic():
            operation.take_over()
            yield
            command.record(verb=verb, obj=operation, after=after)
    except LostLease:
        raise Refusal(_("Someone else already resolved this operation.")) from None


def _may_decide(actor: User, operation: Operation, reason: str) -> None:
    require(actor, PERMISSION_OF_KIND[operation.kind])
    if operation.state not in WAITS_FOR_A_PERSON:
        raise Refusal(_("This operation no longer needs review."))
    if not reason.strip():
        raise Refusal(_("Enter your evidence. It's recorded in the audit log."), field="reason")


def _evidence(operation: Operation, ref: AccountRef, provider: Provider, *, although_different: bool) -> dict[str, Any]:
    """Read the account and compare it with the request. Refuses an account that does not exist."""
    try:
        if operation.connection.capabilities.settings:
            return _same_settings(operation, provider.details(ref), although_different=although_different)
        state = provider.state(ref)
        offerings = as_rows(provider.offerings(ref))
        identity = provider.identity(ref)
    except NotFound:
        raise Refusal(_("The provider has no account with this ID."), field="provider_id") from None
    except Forbidden:
        raise Refusal(_("The provider denied access to this account."), field="provider_id") from None
    except ProviderError as error:
        raise Refusal(
            _("The account could not be checked: %(why)s Nothing was changed.") % {"why": error}, field="provider_id"
        ) from None
    wanted = operation.payload["profile"]["email"]
    email, found = "not readable", identity.email
    if found is not None:
        email = "same" if same_mailbox(found, wanted) else "different"
    if found is not None and email == "different":
        _refuse_one_of_another_create(operation, mailbox_key(found))
        _need_a_word(_("email"), found or _("empty"), wanted, although_different=although_different)
    return {
        "state": state.raw,
        "email": email,
        **({"found_email": found} if email == "different" else {}),
        "offerings": "same" if offerings == operation.payload["offerings"] else "different",
    }


def _refuse_one_of_another_create(operation: Operation, identity: str) -> None:
    open_ones = Operation.objects.open().filter(
        kind=OperationKind.CREATE, connection=operation.connection, identity=identity
    )
    if other := open_ones.exclude(pk=operation.pk).select_related("account__customer").first():
        raise Refusal(
            _(
                "This account may have been created by %(code)s for %(customer)s, which is not finished. "
                "Resolve that operation first."
            )
            % {"code": other.code, "customer": other.account.customer},
            field="provider_id",
        )


def _need_a_word(what: str, found: str, wanted: str, *, although_different: bool) -> None:
    if not although_different:
        raise Refusal(
            _(
                "The account's %(what)s is %(found)s, but %(wanted)s was requested. Confirm that this is the "
                "right account."
            )
            % {"what": what, "found": found, "wanted": wanted},
            field="although_different",
        )


def _same_settings(operation: Operation, details: Details, *, although_different: bool) -> dict[str, Any]:
    """Return whether the account has the name and website of the create."""
    found, wanted = details.settings, operation.payload["settings"]
    is_same = identity_of(found) == operation.identity
    if not is_same:
        _refuse_one_of_another_create(operation, identity_of(found))
        _need_a_word(
            _("name and website"),
            f"{found.name}, {found.website}",
            f"{wanted['name']}, {wanted['website']}",
            although_different=although_different,
        )
    cap = details.settings.monthly_cap == operation.payload["settings"]["monthly_cap"]
    return {
        "state": details.state.raw,
        "name": "same" if found.name.lower() == wanted["name"].lower() else "different",
        "website": "same" if domain_key(found.website) == domain_key(wanted["website"]) else "different",
        "monthly_cap": "same" if cap else "different",
    }
