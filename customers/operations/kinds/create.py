"""Asking for a new account, and with it for its first API key."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db.models import F, Q
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext as _

from customers.models import Account, Connection, Customer, Operation
from customers.models.account import AccountState, as_rows, identity_of
from customers.models.operation import never_made
from customers.models.operation_states import FINAL, OperationKind, OperationState
from customers.operations.kinds.api_keys import follow_with_key, refuse_key
from customers.operations.request import UnableToAsk, lock_customer, permit, queue
from customers.operations.submissions import submit_once
from portal.access.models import User
from portal.email_addresses import mailbox_key
from portal.formats import at_text
from portal.providers import AccountSettings, NewKey, Offering, Profile


class AlreadyCorrected(UnableToAsk):
    """The refused create was requested again since the person looked at it. `newer` is what was requested. `typed`:
    the person corrects it in a form, and does not just retry it."""

    def __init__(self, newer: Operation, *, typed: bool) -> None:
        text = _("{name} already corrected this create {when} ({request}). Nothing was sent. {next}")
        link = format_html('<a href="{}">{}</a>', newer.get_absolute_url(), newer.code)
        after = _("Follow that request, or cancel it before you correct the create again.")
        if newer.state == OperationState.FAILED and not typed:
            after = _("That one failed too. Open it, then correct or retry that one.")
        elif newer.state == OperationState.FAILED:
            after = _("That one failed too. Check its result, then submit again to send what you typed.")
        elif newer.state == OperationState.CANCELLED:
            after = _("That one was cancelled. Submit again to send what you typed.")
        super().__init__(
            format_html(text, name=newer.requested_by, when=at_text(newer.created_at), request=link, next=after)
        )
        self.newer = newer


@dataclass(frozen=True)
class FirstKey:
    """The key a new account starts with. `keep`: its secret stays here, sealed, for setting up sending."""

    new: NewKey
    keep: bool = False


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
    settings: AccountSettings | None = None,
    first_key: FirstKey | None = None,
    request: HttpRequest | None = None,
    retry_of: Operation | None = None,
    version: int | None = None,
    same_form: dict[str, Any] | None = None,
) -> Operation:
    """Ask for a new (paid) account: with offerings or with settings, as the connection's capabilities say.

    `first_key` is an operation of its own that follows this one. `retry_of`: the refused create that is requested
    again, and `version` that of its account as the person saw it; where the connection is the same, the account's row
    is used again. `same_form`: what else the form said. Raises `AlreadyCorrected`.
    """
    permit(actor, connection, OperationKind.CREATE, *([OperationKind.KEY_CREATE] if first_key else []))
    settings = _clean(settings)
    _check(connection, profile, offerings, settings)
    if first_key:
        refuse_key(connection, first_key.new, keep=first_key.keep)
    if connection.paused:
        raise UnableToAsk(_("%(name)s is paused. Resume the connection first.") % {"name": connection.name})
    is_test = connection.capabilities.test_accounts and (is_test or connection.test_accounts_only)
    rows = as_rows(offerings)
    identity = identity_of(settings) if settings else mailbox_key(profile.email)
    desire: dict[str, Any] = {"desired_state": "active", "desired_offerings": rows}
    if settings:
        desire["desired_settings"] = asdict(settings)

    def make() -> Operation:
        lock_customer(customer)
        if retry_of:
            _take_refused(retry_of, version=version)
        _refuse_twice(connection, identity, settings)
        wanted = {name: value for name, value in desire.items() if name != "desired_state"}
        columns = wanted | {"email": profile.email, "is_test": is_test, "package": _package(rows), "changed_at": now}
        account = _account(customer, connection, retry_of, columns)
        operation = queue(
            OperationKind.CREATE,
            account,
            number=account.next_operation_number(),
            actor=actor,
            client_token=client_token,
            now=now,
            request=request,
            identity=identity,
            payload={
                "profile": asdict(profile),
                "offerings": rows,
                "is_test": is_test,
                "settings": asdict(settings) if settings else None,
                "desire": desire,
            },
            retry_of=retry_of,
            verb="account.create_asked",
        )
        if first_key:
            follow_with_key(operation, first_key.new, keep=first_key.keep, now=now, request=request)
        return operation

    return submit_once(
        Operation,
        actor=actor,
        client_token=client_token,
        kind=OperationKind.CREATE,
        target=[customer, connection],
        content={
            "profile": profile,
            "offerings": offerings,
            "is_test": is_test,
            "settings": settings,
            "first_key": first_key,
            "retry_of": retry_of,
            "same_form": same_form,
        },
        now=now,
        make=make,
    )


def refuse_same_settings(
    connection: Connection, settings: AccountSettings, *, apart_from: Account | None = None
) -> None:
    """Our own uniqueness: the provider may allow two accounts of the same name and website, and then nobody could tell
    which one an unknown create made. The connection's row is held from here until the transaction ends: whoever
    requests the same at this moment comes after that and sees it. An account's row is locked before this, not after."""
    Connection.objects.select_for_update(no_key=True).only("pk").get(pk=connection.pk)
    alike = Q(desired_settings__website__iexact=settings.website) | Q(settings__website__iexact=settings.website)
    living = Account.objects.filter(alike, connection=connection).exclude(state=AccountState.DELETED)
    if apart_from:
        living = living.exclude(pk=apart_from.pk)
    for account in living.exclude(pk__in=_came_to_nothing(connection)).select_related("customer"):
        for known in (account.desired_settings, account.settings or {}):
            if known and identity_of(AccountSettings(**known)) == identity_of(settings):
                raise UnableToAsk(
                    _("%(customer)s has an account with this name and website already at %(connection)s.")
                    % {"customer": account.customer, "connection": connection.name},
                    field="name",
                )


def _came_to_nothing(connection: Connection) -> Any:
    """Accounts whose create was refused: there is nothing at the provider."""
    return Account.objects.filter(never_made(), connection=connection).values("pk")


def _clean(settings: AccountSettings | None) -> AccountSettings | None:
    if settings is None:
        return None
    return AccountSettings(settings.name.strip(), settings.website.strip().lower(), settings.monthly_cap)


def _check(
    connection: Connection, profile: Profile, offerings: list[Offering], settings: AccountSettings | None
) -> None:
    if connection.capabilities.settings:
        check_settings(settings)
        return
    if not profile.email:
        raise UnableToAsk(_("An e-mail is needed: it proves later whose account it is."), field="email")
    check_offerings(offerings)


def check_settings(settings: AccountSettings | None) -> None:
    if settings is None or not settings.name:
        raise UnableToAsk(_("A name is needed."), field="name")
    if not settings.website:
        raise UnableToAsk(_("A website is needed."), field="website")
    if settings.monthly_cap < 0:
        raise UnableToAsk(_("A cap is a number of e-mails a month, or no cap."), field="monthly_cap")


def check_offerings(offerings: list[Offering]) -> None:
    packages = [each for each in offerings if each.type == "package"]
    if len(packages) != 1:
        raise UnableToAsk(_("Choose exactly one package."), field="package")
    if packages[0].quantity != 1:
        raise UnableToAsk(_("A package has the quantity 1."), field="package")
    if any(each.quantity < 1 for each in offerings) or len({each.name for each in offerings}) != len(offerings):
        raise UnableToAsk(_("Every offering stands once, with a quantity of at least 1."))


def _refuse_twice(connection: Connection, identity: str, settings: AccountSettings | None) -> None:
    open_one = (
        Operation.objects.filter(connection=connection, identity=identity, kind=OperationKind.CREATE)
        .exclude(state__in=FINAL)
        .select_related("account__customer")
        .first()
    )
    if open_one and settings:
        text = _("A create with this name and website is not finished at this connection: %(code)s for %(customer)s. "
                 "Settle that one first.")  # fmt: skip
    elif open_one:
        text = _("A create for this e-mail is not finished at this connection: %(code)s for %(customer)s. Settle that "
                 "one first.")  # fmt: skip
    if open_one:
        named = {"code": open_one.code, "customer": open_one.account.customer}
        raise UnableToAsk(text % named, field="name" if settings else "email")
    if settings:
        refuse_same_settings(connection, settings)


def _take_refused(refused: Operation, *, version: int | None) -> None:
    """Hold the account of a refused create and raise its version, so that this create is requested again once.

    Raises `AlreadyCorrected` where somebody did so since the person looked.
    """
    account = refused.account
    account.lock()
    later = Q(account=account, number__gt=refused.number) | Q(retry_of=refused)
    newer = (
        Operation.objects.filter(later, kind=OperationKind.CREATE).select_related("requested_by").order_by("pk").last()
    )
    if newer and (newer.state != OperationState.CANCELLED or version not in (None, account.version)):
        raise AlreadyCorrected(newer, typed=version is not None)
    if account.provider_id or refused.state != OperationState.FAILED:
        raise UnableToAsk(_("This create did not fail. Open the account to see how it stands. Nothing was sent."))
    Account.objects.filter(pk=account.pk).update(version=F("version") + 1)


def _account(
    customer: Customer, connection: Connection, retry_of: Operation | None, columns: dict[str, Any]
) -> Account:
    """The row of the new account: a fresh one, or that of the refused create which is asked again."""
    if retry_of is None or retry_of.connection_id != connection.pk:
        Customer.objects.filter(pk=customer.pk, may_be_bare=True).update(may_be_bare=False)
        return Account.objects.create(
            customer=customer, connection=connection, **columns, changed_what=_("Create, asked")
        )
    account = retry_of.account
    Account.objects.filter(pk=account.pk).update(**columns, changed_what=_("Create, asked again"))
    account.refresh_from_db()
    return account


def _package(rows: list[dict[str, Any]]) -> str:
    return next((row["name"] for row in rows if row["type"] == "package"), "")
