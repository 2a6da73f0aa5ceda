"""What a person decides where the portal must not guess: an unknown create, or an operation that needs attention."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from customers import engine, observations
from customers.asking_accounts import identity_of
from customers.clients import client_for
from customers.models import Account, Operation
from customers.models.account import AccountState, as_rows
from customers.operations import PERFORM, UnableToAsk
from customers.poke import poke
from customers.states import ROUTE_OF_KIND, WAITS_FOR_A_PERSON, OperationKind, OperationState
from portal import audit
from portal.access.models import User
from portal.access.permissions import allowed
from portal.providers import AccountRef, Details, Forbidden, NotFound, Provider, ProviderError

S = OperationState


def decide_link(
    *,
    actor: User,
    operation: Operation,
    provider_id: str,
    reason: str,
    now: datetime,
    request: HttpRequest | None = None,
    provider: Provider | None = None,
) -> None:
    """ "This is it": the unknown create made `provider_id`. Looked at live before it is believed; sends no change."""
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
    evidence = _evidence(operation, AccountRef(provider_id), provider)
    result = {"account_id": provider_id, "linked": evidence}
    columns = {"provider_id": provider_id, "state": AccountState.UNKNOWN, "changed_what": _("Linked by hand")}
    try:
        with transaction.atomic():
            engine.take_over(operation)
            engine.succeed(
                operation,
                now=now,
                summary=_("Linked to %(id)s by hand.") % {"id": provider_id},
                account=columns,
                result=result,
                by=actor,
            )
            _audit(operation, "account.linked", actor, reason, request, after=result)
    except engine.LostLease:
        raise UnableToAsk(_("Somebody else decided this meanwhile.")) from None
    except engine.AccountTaken:
        raise UnableToAsk(_("That account was linked elsewhere at this moment."), field="provider_id") from None
    account = Account.objects.select_related("connection").get(pk=operation.account_id)
    try:
        observations.read_account(account=account, now=timezone.now(), provider=provider)
    except ProviderError:
        return  # it was readable a moment ago; it is read again later


def decide_not_created(
    *,
    actor: User,
    operation: Operation,
    reason: str,
    send_again: bool,
    now: datetime,
    request: HttpRequest | None = None,
) -> None:
    """ "Confirmed not created": end it, or put it back to be sent again. The person vouches; the reason is kept."""
    _may_decide(actor, operation, reason)
    if operation.kind != OperationKind.CREATE:
        raise UnableToAsk(_("Only a create can be decided this way."))
    if send_again and operation.error_kind == "too_late":
        raise UnableToAsk(_("Its key is of no use any more. End it as not created, then ask anew."))
    text = _("A person confirmed that it was not created.")
    after = S.QUEUED if send_again else S.FAILED
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


def decide_try_again(
    *, actor: User, operation: Operation, reason: str, now: datetime, request: HttpRequest | None = None
) -> None:
    """Put an operation that needs attention back into the queue. Its reads before sending run again."""
    _may_decide(actor, operation, reason)
    if operation.error_kind == "too_late":
        raise UnableToAsk(_("Its key is of no use any more. End it, then ask anew."))
    looks = operation.connection.capabilities.idempotent_create or operation.error_kind in ("budget", "poison")
    if operation.kind == OperationKind.CREATE and operation.sends and not looks:
        raise UnableToAsk(_("Say first whether the account was created."))
    _decide(
        operation,
        after=S.QUEUED,
        actor=actor,
        reason=reason,
        now=now,
        request=request,
        summary=_("A person put it back."),
        error_kind="",
    )


def decide_give_up(
    *, actor: User, operation: Operation, reason: str, now: datetime, request: HttpRequest | None = None
) -> None:
    """End an operation as failed. What the provider has stays as it is."""
    _may_decide(actor, operation, reason)
    _decide(
        operation,
        after=S.FAILED,
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
    if after == S.QUEUED:
        fields |= {"not_before": now, "lane": ""}
    try:
        with transaction.atomic():
            engine.take_over(operation)
            engine.move(operation, after, now=now, by=actor, **fields)
            _audit(operation, "operation.decided", actor, reason, request, after={"state": after})
            if after == S.QUEUED:
                poke(PERFORM, operation.pk)
    except engine.LostLease:
        raise UnableToAsk(_("Somebody else decided this meanwhile.")) from None


def _may_decide(actor: User, operation: Operation, reason: str) -> None:
    if not actor.is_active or not allowed(actor.role, ROUTE_OF_KIND[OperationKind(operation.kind)], "POST"):
        raise UnableToAsk(_("Your role may not do this."))
    if operation.state not in WAITS_FOR_A_PERSON:
        raise UnableToAsk(_("There is nothing to decide any more."))
    if not reason.strip():
        raise UnableToAsk(_("Say how you know. It is kept in the audit log."), field="reason")


def _evidence(operation: Operation, ref: AccountRef, provider: Provider) -> dict[str, Any]:
    """Look at the account live. Refuses what is not there and what is plainly somebody else's."""
    try:
        if operation.connection.capabilities.settings:
            return _same_settings(operation, provider.details(ref))
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
    if identity.email is not None and identity.email.casefold() != operation.identity:
        raise UnableToAsk(
            _("That account's e-mail is %(found)s, not %(wanted)s.")
            % {"found": identity.email, "wanted": operation.identity},
            field="provider_id",
        )
    return {
        "state": state.raw,
        "email": "same" if identity.email is not None else "not readable",
        "offerings": "same" if offerings == operation.payload["offerings"] else "different",
    }


def _same_settings(operation: Operation, details: Details) -> dict[str, Any]:
    """The account is known by its name and website, as the create was."""
    if identity_of(details.settings) != operation.identity:
        raise UnableToAsk(
            _("That account is %(name)s, %(website)s.")
            % {"name": details.settings.name, "website": details.settings.website},
            field="provider_id",
        )
    cap = details.settings.monthly_cap == operation.payload["settings"]["monthly_cap"]
    return {
        "state": details.state.raw,
        "name": "same",
        "website": "same",
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
