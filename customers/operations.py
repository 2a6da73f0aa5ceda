"""Commands: what staff may ask of a provider. Each is one transaction (desire, operation, audit) and a poke on commit.

Every refusal is an `UnableToAsk` whose text is a sentence for the person who asked. The same `client_token` asked twice
by the same person is one operation: the first one is returned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils.translation import gettext as _

from customers import engine
from customers.models import Account, Connection, Customer, Operation, Step
from customers.models.account import AccountState, as_rows
from customers.poke import poke
from customers.states import FINAL, OPEN, ROUTE_OF_KIND, OperationKind, OperationState
from portal import audit
from portal.access.models import User
from portal.access.permissions import allowed
from portal.providers import Offering, Profile

K = OperationKind
S = OperationState
PERFORM = "customers.perform"


class UnableToAsk(Exception):
    """A refusal people read. `field` names the form field it belongs to, "" for the form as a whole."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class StaleVersion(UnableToAsk):
    """The account changed since the form was opened. `current` is the account as it is now."""

    def __init__(self, current: Account) -> None:
        super().__init__(_("The account changed while you were editing. Nothing was sent."))
        self.current = current


class AlreadyAsked(UnableToAsk):
    """The same form arrived twice, the other one first. `operation` is what it made."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(_("This form was sent already."))
        self.operation = operation


def ask_create(
    *,
    actor: User,
    customer: Customer,
    connection: Connection,
    profile: Profile,
    offerings: list[Offering],
    is_test: bool,
    client_token: str,
    now: datetime,
    request: HttpRequest | None = None,
    retry_of: Operation | None = None,
) -> Operation:
    """Ask for a new (paid) account. Raises `AlreadyAsked` when the token made an account for another customer row."""
    _permit(actor, K.CREATE)
    if not profile.email:
        raise UnableToAsk(_("An e-mail is needed: it proves later whose account it is."), field="email")
    _check_offerings(offerings)
    if connection.paused:
        raise UnableToAsk(_("%(name)s is paused. Resume the connection first.") % {"name": connection.name})
    is_test = is_test or connection.test_accounts_only
    rows = as_rows(offerings)
    identity = profile.email.casefold()
    open_one = _open_create(connection, identity)

    def make() -> Operation:
        if open_one:
            raise UnableToAsk(_open_create_text(open_one), field="email")
        account = retry_of.account if retry_of else None
        if account is None:
            account = Account.objects.create(
                customer=customer,
                connection=connection,
                email=profile.email,
                is_test=is_test,
                changed_at=now,
                changed_what=_("Create, asked"),
                desired_offerings=rows,
                package=_package(rows),
            )
            Customer.objects.filter(pk=customer.pk, may_be_bare=True).update(may_be_bare=False)
        else:
            Account.objects.filter(pk=account.pk).update(
                email=profile.email,
                is_test=is_test,
                desired_offerings=rows,
                package=_package(rows),
                version=F("version") + 1,
                changed_at=now,
                changed_what=_("Create, asked again"),
            )
            account.refresh_from_db()
        desire = {"desired_state": "active", "desired_offerings": rows}
        return _ask(
            K.CREATE,
            account,
            actor=actor,
            client_token=client_token,
            now=now,
            request=request,
            identity=identity,
            payload={"profile": asdict(profile), "offerings": rows, "is_test": is_test, "desire": desire},
            retry_of=retry_of,
            verb="account.create_asked",
        )

    operation = _once(actor, client_token, make)
    if operation.account.customer_id != customer.pk:
        raise AlreadyAsked(operation)
    return operation


def ask_offerings(
    *,
    actor: User,
    account: Account,
    base: list[Offering],
    version: int,
    offerings: list[Offering],
    reason: str,
    client_token: str,
    now: datetime,
    request: HttpRequest | None = None,
    retry_of: Operation | None = None,
) -> Operation:
    """Ask to replace the account's whole list. `base` is the list the person saw; where the provider's differs at the
    time of sending, the operation ends as a conflict and nothing is sent. Raises `StaleVersion`."""
    _permit(actor, K.OFFERINGS)
    _check_offerings(offerings)
    if as_rows(base) == as_rows(offerings):
        raise UnableToAsk(_("Nothing is different from the list the account has."))
    rows = as_rows(offerings)
    return _once(
        actor,
        client_token,
        lambda: _change(
            K.OFFERINGS,
            account,
            desire={"desired_offerings": rows},
            payload={"offerings": rows, "base": as_rows(base)},
            version=version,
            actor=actor,
            reason=reason,
            client_token=client_token,
            now=now,
            request=request,
            verb="account.offerings_asked",
            retry_of=retry_of,
        ),
    )


def ask_suspend(**asked: Any) -> Operation:
    """Ask that the account stops sending. Takes actor, account, reason, client_token, now, request."""
    return _ask_state(K.SUSPEND, "stopped_by_us", "account.suspend_asked", **asked)


def ask_unsuspend(**asked: Any) -> Operation:
    """Ask that the account sends again. Takes actor, account, reason, client_token, now, request."""
    return _ask_state(K.UNSUSPEND, "active", "account.unsuspend_asked", **asked)


def ask_delete(*, without_reading: bool = False, **asked: Any) -> Operation:
    """Ask to delete for good. The last usage is read first; `without_reading` goes on where it cannot be."""
    return _ask_state(
        K.DELETE, "deleted", "account.delete_asked", payload={"without_reading": without_reading}, **asked
    )


def cancel(*, actor: User, operation: Operation, now: datetime, request: HttpRequest | None = None) -> None:
    """Cancel what is still queued. Loses politely when a worker has taken it."""
    _permit(actor, OperationKind(operation.kind))
    try:
        with transaction.atomic():
            engine.take_over(operation, only=S.QUEUED)
            engine.move(operation, S.CANCELLED, now=now, by=actor, summary=_("Cancelled before anything was sent."))
            _audit(operation, "operation.cancelled", actor=actor, request=request)
    except engine.LostLease:
        raise UnableToAsk(_("It has started already and can't be cancelled any more.")) from None


def retry(
    *, actor: User, operation: Operation, client_token: str, now: datetime, request: HttpRequest | None = None
) -> Operation:
    """Ask a failed operation again, as a new one that links back. A conflict is redone in the editor instead."""
    if operation.state != S.FAILED or operation.error_kind == "conflict":
        raise UnableToAsk(_("Only an operation that failed can be sent again."))
    account = operation.account
    again: dict[str, Any] = {
        "actor": actor,
        "client_token": client_token,
        "now": now,
        "request": request,
        "retry_of": operation,
    }
    if operation.kind == K.CREATE:
        if account.provider_id:
            raise UnableToAsk(_("The account exists by now."))
        return ask_create(
            customer=account.customer,
            connection=operation.connection,
            is_test=operation.payload["is_test"],
            profile=Profile(**operation.payload["profile"]),
            offerings=_offerings(operation),
            **again,
        )
    again |= {"account": account, "reason": operation.reason}
    if operation.kind == K.OFFERINGS:
        base = [Offering(**row) for row in operation.payload["base"]]
        return ask_offerings(base=base, version=account.version, offerings=_offerings(operation), **again)
    if operation.kind == K.DELETE:
        return ask_delete(without_reading=operation.payload.get("without_reading", False), **again)
    return (ask_suspend if operation.kind == K.SUSPEND else ask_unsuspend)(**again)


def _ask_state(
    kind: OperationKind,
    wanted: str,
    verb: str,
    *,
    actor: User,
    account: Account,
    reason: str,
    client_token: str,
    now: datetime,
    request: HttpRequest | None = None,
    payload: dict[str, Any] | None = None,
    retry_of: Operation | None = None,
) -> Operation:
    _permit(actor, kind)
    if not reason.strip():
        raise UnableToAsk(_("A reason is needed. It is kept in the audit log."), field="reason")

    def make() -> Operation:
        account.refresh_from_db()
        if account.desired_state == wanted and account.state == wanted:
            raise UnableToAsk(_("It is so already. Nothing was sent."))
        return _change(
            kind,
            account,
            desire={"desired_state": wanted},
            payload=payload or {},
            version=account.version,
            actor=actor,
            reason=reason,
            client_token=client_token,
            now=now,
            request=request,
            verb=verb,
            retry_of=retry_of,
        )

    return _once(actor, client_token, make)


def _change(
    kind: OperationKind,
    account: Account,
    *,
    desire: dict[str, Any],
    payload: dict[str, Any],
    version: int,
    actor: User,
    now: datetime,
    **rest: Any,
) -> Operation:
    """Change an existing account's desire and queue the operation that carries it out."""
    if not account.provider_id:
        raise UnableToAsk(_("The account does not exist at the provider yet."))
    if account.state == AccountState.DELETED:
        raise UnableToAsk(_("The account is deleted. Nothing can be changed any more."))
    waiting = list(Operation.objects.filter(account=account, state__in=OPEN).order_by("pk"))
    if any(each.kind == K.DELETE for each in waiting):
        raise UnableToAsk(_("A delete of this account is under way."))
    if any(each.kind == kind for each in waiting):
        raise UnableToAsk(_("The same is under way already: %(code)s.") % {"code": waiting[0].code})
    before = {name: getattr(account, name) for name in desire}
    chain = [each for each in waiting if set(each.before) & set(desire)]
    if chain:  # what waits in front has not succeeded yet: its "before" is the last value that did
        before = {name: chain[0].before.get(name, before[name]) for name in before}
    changed = Account.objects.filter(pk=account.pk, version=version).update(
        **desire, version=F("version") + 1, changed_at=now, changed_what=f"{kind.label}, {_('asked')}"
    )
    account.refresh_from_db()
    if changed != 1:
        raise StaleVersion(account)
    return _ask(kind, account, actor=actor, now=now, payload=payload | {"desire": desire}, before=before, **rest)


def _ask(
    kind: OperationKind,
    account: Account,
    *,
    actor: User,
    now: datetime,
    verb: str,
    request: HttpRequest | None,
    **fields: Any,
) -> Operation:
    operation = Operation.objects.create(
        kind=kind,
        account=account,
        connection=account.connection,
        requested_by=actor,
        version=account.version,
        not_before=now,
        created_at=now,
        **fields,
    )
    Step.objects.create(operation=operation, n=1, before="", after=S.QUEUED, at=now, by=actor)
    _audit(operation, verb, actor=actor, request=request)
    poke(PERFORM, operation.pk)
    return operation


def _once(actor: User, client_token: str, make: Callable[[], Operation]) -> Operation:
    """Run `make` in a transaction unless this person's token made an operation before, or does so at this moment."""
    asked = Operation.objects.filter(requested_by=actor, client_token=client_token)
    if existing := asked.first():
        return existing
    try:
        with transaction.atomic():
            return make()
    except IntegrityError:
        if existing := asked.first():
            return existing
        raise UnableToAsk(_("Somebody asked the same at this moment. Look at the account's operations.")) from None


def _open_create(connection: Connection, identity: str) -> Operation | None:
    return (
        Operation.objects.filter(connection=connection, identity=identity, kind=K.CREATE)
        .exclude(state__in=FINAL)
        .select_related("account__customer")
        .first()
    )


def _open_create_text(operation: Operation) -> str:
    return _(
        "A create for this e-mail is not finished at this connection: %(code)s for %(customer)s. Settle that one first."
    ) % {"code": operation.code, "customer": operation.account.customer}


def _permit(actor: User, kind: OperationKind) -> None:
    if not actor.is_active or not allowed(actor.role, ROUTE_OF_KIND[kind], "POST"):
        raise UnableToAsk(_("Your role may not do this."))


def _check_offerings(offerings: list[Offering]) -> None:
    packages = [each for each in offerings if each.type == "package"]
    if len(packages) != 1:
        raise UnableToAsk(_("Choose exactly one package."), field="package")
    if packages[0].quantity != 1:
        raise UnableToAsk(_("A package has the quantity 1."), field="package")
    if any(each.quantity < 1 for each in offerings) or len({each.name for each in offerings}) != len(offerings):
        raise UnableToAsk(_("Every offering stands once, with a quantity of at least 1."))


def _offerings(operation: Operation) -> list[Offering]:
    return [Offering(**row) for row in operation.payload["offerings"]]


def _package(rows: list[dict[str, Any]]) -> str:
    return next((row["name"] for row in rows if row["type"] == "package"), "")


def _audit(operation: Operation, verb: str, *, actor: User, request: HttpRequest | None) -> None:
    after = {
        key: value for key, value in operation.payload.items() if key in ("offerings", "is_test", "without_reading")
    }
    audit.record(
        actor=actor,
        verb=verb,
        obj=operation,
        customer=operation.account.customer,
        account=operation.account,
        before=operation.before,
        after=after,
        reason=operation.reason,
        request=request,
    )
