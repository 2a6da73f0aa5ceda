"""Manual resolution where the portal must not guess: an unknown create, or an operation that needs attention."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

from customers.connections.client import client_for
from customers.models import Account, Operation
from customers.models.account import AccountState, as_rows, identity_of
from customers.models.operation_states import ROUTE_OF_KIND, WAITS_FOR_A_PERSON, OperationKind, OperationState
from customers.observed import accounts as observed_accounts
from customers.operations import conclusions, transitions
from customers.operations.commands import PERFORM, UnableToAsk
from portal import audit
from portal.access.models import User
from portal.access.permissions import allowed
from portal.clock import database_now
from portal.email_addresses import domain_key, mailbox_key, same_mailbox
from portal.providers import AccountRef, Details, Forbidden, NotFound, Provider, ProviderError
from portal.queue import enqueue_on_commit


def resolve_link(
    *,
    actor: User,
    operation: Operation,
    provider_id: str,
    reason: str,
    now: datetime,
    although_different: bool = False,
    request: HttpRequest | None = None,
    provider: Provider | None = None,
) -> None:
    """Link the account `provider_id` to the unknown create that made it. The account is read first; nothing is sent.

    An account of another email (or name and website) is linked only where the user confirms it (`although_different`).
    """
    _may_decide(actor, operation, reason)
    if operation.kind != OperationKind.CREATE:
        raise UnableToAsk(_("Only a create can be linked to an account."))
    provider_id = provider_id.strip()
    if not provider_id:
        raise UnableToAsk(_("Type the provider's account id."), field="provider_id")
    taken = Account.objects.filter(
        provider_kind=operation.connection.kind, provider_id=provider_id, duplicate_of=None
    ).select_related("customer")
    if other := taken.first():
        raise UnableToAsk(
            _("That account belongs to %(customer)s already.") % {"customer": other.customer}, field="provider_id"
        )
    provider = provider or client_for(operation.connection, interactive=True)
    evidence = _evidence(operation, AccountRef(provider_id), provider, although_different=although_different)
    result = {"account_id": provider_id, "linked": evidence}
    columns = {"provider_id": provider_id, "state": AccountState.UNKNOWN, "changed_what": _("Linked by hand")}
    try:
        with transaction.atomic():
            transitions.take_over(operation)
            conclusions.succeed(
                operation,
                now=now,
                summary=_("Linked to %(id)s by hand.") % {"id": provider_id},
                account=columns,
                result=result,
                by=actor,
            )
            _audit(operation, "account.linked", actor, reason, request, after=result)
    except transitions.LostLease:
        raise UnableToAsk(_("Somebody else decided this meanwhile.")) from None
    except conclusions.AccountTaken:
        raise UnableToAsk(_("That account was linked elsewhere at this moment."), field="provider_id") from None
    account = Account.objects.select_related("connection").get(pk=operation.account_id)
    try:
        observed_accounts.read_account(account=account, now=database_now(), provider=provider)
    except ProviderError:
        return  # it was readable a moment ago; it is read again later


def resolve_not_created(
    *,
    actor: User,
    operation: Operation,
    reason: str,
    send_again: bool,
    now: datetime,
    request: HttpRequest | None = None,
) -> None:
    """End a create that the user confirmed was not created, or requeue it to be sent again. The reason is stored."""
    _may_decide(actor, operation, reason)
    if operation.kind != OperationKind.CREATE:
        raise UnableToAsk(_("Only a create can be decided this way."))
    if send_again and operation.error_kind == "too_late":
        raise UnableToAsk(_("Its key is of no use any more. End it as not created, then ask anew."))
    text = _("A person confirmed that it was not created.")
    after = OperationState.QUEUED if send_again else OperationState.FAILED
    _decide(
        operation,
        after=after,
        actor=actor,
        reason=reason,
        now=now,
        request=request,
        summary=text,
        error_kind="" if send_again else "not_created",
    )


def resolve_retry(
    *, actor: User, operation: Operation, reason: str, now: datetime, request: HttpRequest | None = None
) -> None:
    """Requeue an operation that needs attention. Its reads before sending run again."""
    _may_decide(actor, operation, reason)
    if operation.error_kind == "too_late":
        raise UnableToAsk(_("Its key is of no use any more. End it, then ask anew."))
    proven = operation.error_kind in ("budget", "poison") and not operation.was_unknown
    looks = operation.connection.capabilities.idempotent_create or proven
    if operation.kind == OperationKind.CREATE and operation.attempt_count and not looks:
        raise UnableToAsk(_("Say first whether the account was created."))
    _decide(
        operation,
        after=OperationState.QUEUED,
        actor=actor,
        reason=reason,
        now=now,
        request=request,
        summary=_("A person put it back."),
        error_kind="",
    )


def resolve_failed(
    *, actor: User, operation: Operation, reason: str, now: datetime, request: HttpRequest | None = None
) -> None:
    """End an operation as failed. The provider's values stay as they are."""
    _may_decide(actor, operation, reason)
    _decide(
        operation,
        after=OperationState.FAILED,
        actor=actor,
        reason=reason,
        now=now,
        request=request,
        summary=_("A person gave it up."),
        error_kind="given_up",
    )


def _decide(
    operation: Operation,
    *,
    after: OperationState,
    actor: User,
    reason: str,
    now: datetime,
    request: HttpRequest | None,
    **fields: Any,
) -> None:
    if after == OperationState.QUEUED:
        fields |= {"not_before": now, "concurrency_key": ""}
    try:
        with transaction.atomic():
            transitions.take_over(operation)
            transitions.move(operation, after, now=now, by=actor, **fields)
            _audit(operation, "operation.decided", actor, reason, request, after={"state": after})
            if after == OperationState.QUEUED:
                enqueue_on_commit(PERFORM, operation.pk)
    except transitions.LostLease:
        raise UnableToAsk(_("Somebody else decided this meanwhile.")) from None


def _may_decide(actor: User, operation: Operation, reason: str) -> None:
    if not actor.is_active or not allowed(actor.role, ROUTE_OF_KIND[OperationKind(operation.kind)], "POST"):
        raise UnableToAsk(_("Your role may not do this."))
    if operation.state not in WAITS_FOR_A_PERSON:
        raise UnableToAsk(_("There is nothing to decide any more."))
    if not reason.strip():
        raise UnableToAsk(_("Say how you know. It is kept in the audit log."), field="reason")


def _evidence(operation: Operation, ref: AccountRef, provider: Provider, *, although_different: bool) -> dict[str, Any]:
    """Read the account and compare it with the request. Refuses an account that does not exist."""
    try:
        if operation.connection.capabilities.settings:
            return _same_settings(operation, provider.details(ref), although_different=although_different)
        state = provider.state(ref)
        offerings = as_rows(provider.offerings(ref))
        identity = provider.identity(ref)
    except NotFound:
        raise UnableToAsk(_("The provider knows no account with this id."), field="provider_id") from None
    except Forbidden:
        raise UnableToAsk(_("The provider does not let us see this account."), field="provider_id") from None
    except ProviderError as error:
        raise UnableToAsk(
            _("The account could not be looked at: %(why)s Nothing was changed.") % {"why": error}, field="provider_id"
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
        raise UnableToAsk(
            _("That account may come of %(code)s for %(customer)s, which is not finished. Resolve that one first.")
            % {"code": other.code, "customer": other.account.customer},
            field="provider_id",
        )


def _need_a_word(what: str, found: str, wanted: str, *, although_different: bool) -> None:
    if not although_different:
        raise UnableToAsk(
            _("The account's %(what)s is %(found)s; %(wanted)s was requested. Confirm that it is the right one.")
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
            _("name and website"), f"{found.name}, {found.website}", f"{wanted['name']}, {wanted['website']}",
            although_different=although_different,
        )  # fmt: skip
    cap = details.settings.monthly_cap == operation.payload["settings"]["monthly_cap"]
    return {
        "state": details.state.raw,
        "name": "same" if found.name.lower() == wanted["name"].lower() else "different",
        "website": "same" if domain_key(found.website) == domain_key(wanted["website"]) else "different",
        "monthly_cap": "same" if cap else "different",
    }


def _audit(
    operation: Operation, verb: str, actor: User, reason: str, request: HttpRequest | None, *, after: dict[str, Any]
) -> None:
    audit.record(
        actor=actor,
        verb=verb,
        obj=operation,
        customer=operation.account.customer,
        account=operation.account,
        after=after,
        reason=reason,
        request=request,
    )
