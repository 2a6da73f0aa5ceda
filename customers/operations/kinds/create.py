"""Create an account, and request its first API key with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db.models import F, Q
from django.utils.html import format_html
from django.utils.translation import gettext as _

from customers.models import Account, Connection, Customer, Operation, Recovery, RemoteAccount
from customers.models.account import AccountState, as_offerings, as_rows, identity_of, package_name_of
from customers.models.operation_states import FINAL, OperationKind, OperationState
from customers.observed import matching
from customers.operations import attempts, create_search
from customers.operations.kinds.api_key_create import follow_with_key, refuse_key
from customers.operations.kinds.api_keys import requested_key
from customers.operations.kinds.offerings import check_offerings, offerings_of_rows
from customers.operations.kinds.settings import refuse_same_settings, validate_settings
from customers.operations.outcomes import Action, Failed, NeedsReview, NotApplied, RetryAt, Send, StepDone, Succeeded
from customers.operations.request import lock_customer, permit, queue_operation
from customers.operations.submissions import submit_once
from portal.commands import Command
from portal.email_addresses import mailbox_key
from portal.formats import at_text
from portal.providers import (
    AccountRef,
    AccountSettings,
    Created,
    IdempotentBody,
    NewAccount,
    NewKey,
    NotFound,
    OutcomeUnknown,
    Profile,
    Provider,
    ProviderError,
    ProviderOffering,
)
from portal.refusals import Refusal
from portal.texts import say


class AlreadyCorrected(Refusal):
    """The refused create was requested again since the user saw it. `newer` is that request. `typed`: the user corrects
    it in a form, and does not just retry it."""

    def __init__(self, newer: Operation, *, typed: bool) -> None:
        text = _("{name} already retried this account creation {when} ({request}). Nothing was sent. {next}")
        link = format_html('<a href="{}">{}</a>', newer.get_absolute_url(), newer.code)
        after = _("Follow that operation, or cancel it before you submit again.")
        if newer.state == OperationState.FAILED and not typed:
            after = _("It also failed. Open it, then correct or retry it.")
        elif newer.state == OperationState.FAILED:
            after = _("It also failed. Check its result, then submit again to send what you entered.")
        elif newer.state == OperationState.CANCELLED:
            after = _("It was canceled. Submit again to send what you entered.")
        super().__init__(
            format_html(text, name=newer.requested_by, when=at_text(newer.created_at), request=link, next=after)
        )
        self.newer = newer


@dataclass(frozen=True)
class FirstKey:
    """The key a new account starts with. `keep`: its secret is stored here, encrypted, for setting up sending."""

    new: NewKey
    keep: bool = False


def request_create(
    command: Command,
    *,
    customer: Customer,
    connection: Connection,
    profile: Profile,
    offerings: list[ProviderOffering],
    is_test: bool,
    settings: AccountSettings | None = None,
    first_key: FirstKey | None = None,
    version: int | None = None,
    same_form: dict[str, Any] | None = None,
) -> Operation:
    """Request a new (paid) account: with offerings or with settings, as the connection's capabilities say.

    `first_key` becomes an operation of its own that follows this one. `retry_of`: the refused create that is requested
    again, and `version` that of its account as the user saw it; where the connection is the same, the account's row is
    used again. `same_form`: the other contents of the form. Raises `AlreadyCorrected`.
    """
    permit(command.person, connection, OperationKind.CREATE, *([OperationKind.KEY_CREATE] if first_key else []))
    settings = _clean(settings)
    _check(connection, profile, offerings, settings)
    if first_key:
        refuse_key(connection, first_key.new, keep=first_key.keep)
    if connection.paused:
        raise Refusal(_("%(name)s is paused. Resume the connection first.") % {"name": connection.name})
    is_test = connection.capabilities.test_accounts and (is_test or connection.test_accounts_only)
    rows = as_rows(offerings)
    identity = identity_of(settings) if settings else mailbox_key(profile.email)
    desire: dict[str, Any] = {"desired_state": "active", "desired_offerings": rows}
    if settings:
        desire["desired_settings"] = asdict(settings)

    def make() -> Operation:
        lock_customer(customer)
        if command.retry_of:
            _take_refused(command.retry_of, version=version)
        _refuse_twice(connection, identity, settings)
        wanted = {name: value for name, value in desire.items() if name != "desired_state"}
        columns = wanted | {
            "email": profile.email,
            "is_test": is_test,
            "package": package_name_of(rows),
            "changed_at": command.now,
        }
        account = _account(customer, connection, command.retry_of, columns)
        operation = queue_operation(
            command,
            OperationKind.CREATE,
            account,
            number=account.next_operation_number(),
            identity=identity,
            payload={
                "profile": asdict(profile),
                "offerings": rows,
                "is_test": is_test,
                "settings": asdict(settings) if settings else None,
                "desire": desire,
            },
            verb="account.create_asked",
        )
        if first_key:
            follow_with_key(operation, first_key.new, keep=first_key.keep, now=command.now, request=command.request)
        return operation

    return submit_once(
        command,
        Operation,
        kind=OperationKind.CREATE,
        target=[customer, connection],
        content={
            "profile": profile,
            "offerings": offerings,
            "is_test": is_test,
            "settings": settings,
            "first_key": first_key,
            "same_form": same_form,
        },
        make=make,
    )


def _clean(settings: AccountSettings | None) -> AccountSettings | None:
    if settings is None:
        return None
    return AccountSettings(settings.name.strip(), settings.website.strip().lower(), settings.monthly_cap)


def _check(
    connection: Connection, profile: Profile, offerings: list[ProviderOffering], settings: AccountSettings | None
) -> None:
    if connection.capabilities.settings:
        validate_settings(asdict(settings) if settings else {"name": ""})
        return
    if not profile.email:
        raise Refusal(_("Enter an email address. It's used as the login email."), field="email")
    check_offerings(offerings)


def _refuse_twice(connection: Connection, identity: str, settings: AccountSettings | None) -> None:
    open_one = (
        Operation.objects.filter(connection=connection, identity=identity, kind=OperationKind.CREATE)
        .exclude(state__in=FINAL)
        .select_related("account__customer")
        .first()
    )
    if open_one and settings:
        text = _(
            "An account with this name and website is already being created on this connection: %(code)s for "
            "%(customer)s. Resolve that operation first."
        )
    elif open_one:
        text = _(
            "An account with this email is already being created on this connection: %(code)s for "
            "%(customer)s. Resolve that operation first."
        )
    if open_one:
        named = {"code": open_one.code, "customer": open_one.account.customer}
        raise Refusal(text % named, field="name" if settings else "email")
    if settings:
        refuse_same_settings(connection, settings)
    _refuse_unlinked(connection, identity, settings)


def _refuse_unlinked(connection: Connection, identity: str, settings: AccountSettings | None) -> None:
    """After a restore, refuse to make a second account where one of this identity was made since the backup and has no
    customer: the request that made it is lost."""
    recovery = Recovery.objects.filter(connection=connection).order_by("-epoch").first()
    if recovery is None:
        return
    since = RemoteAccount.objects.filter(connection=connection, pk__gt=recovery.remote_account_mark)
    unlinked = since.orphans()
    if settings:
        alike = unlinked.filter(name__iexact=settings.name)
    else:
        alike = unlinked.filter(Q(email__iexact=identity) | Q(first_email__iexact=identity))
    if found := next((each for each in alike if identity in matching.identities_of(each)), None):
        raise Refusal(
            _("%(id)s at %(connection)s is such an account and has no customer. Link it under Unlinked accounts.")
            % {"id": found.provider_id, "connection": connection.name},
            field="name" if settings else "email",
        )


def _take_refused(refused: Operation, *, version: int | None) -> None:
    """Lock the account of a refused create and raise its version, so that this create is requested again once.

    Raises `AlreadyCorrected` where it was requested again since the user saw it.
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
        raise Refusal(_("This request did not fail, so nothing was sent. Open the account to see its state."))
    Account.objects.filter(pk=account.pk).update(version=F("version") + 1)


def _account(
    customer: Customer, connection: Connection, retry_of: Operation | None, columns: dict[str, Any]
) -> Account:
    """Return the row of the new account: a fresh one, or that of the refused create which is requested again."""
    if retry_of is None or retry_of.connection_id != connection.pk:
        Customer.objects.filter(pk=customer.pk, may_be_bare=True).update(may_be_bare=False)
        return Account.objects.create(
            customer=customer, connection=connection, **columns, changed_what=_("Creation requested")
        )
    account = retry_of.account
    Account.objects.filter(pk=account.pk).update(**columns, changed_what=_("Creation requested again"))
    account.refresh_from_db()
    return account


def retry_create(operation: Operation, command: Command) -> Operation:
    payload, account = operation.payload, operation.account
    if account.provider_id:
        raise Refusal(_("The account already exists."))
    key = operation.followers.filter(kind=OperationKind.KEY_CREATE).first()
    return request_create(
        command,
        customer=account.customer,
        connection=operation.connection,
        is_test=payload["is_test"],
        profile=Profile(**payload["profile"]),
        offerings=offerings_of_rows(payload["offerings"]),
        settings=AccountSettings(**payload["settings"]) if payload.get("settings") else None,
        first_key=FirstKey(requested_key(key), key.payload["keep"]) if key else None,
    )


class Create(Action):
    """Create an account. An unknown create is linked, or sent again, by proof alone; what can't be proven is left for
    review. Where the provider takes an idempotency key the operation's ID is the key."""

    def prepare(
        self, operation: Operation, provider: Provider, *, now: datetime
    ) -> Send | Succeeded | RetryAt | NeedsReview:
        if known := self._known(operation):
            return known
        repeated = attempts.attempts_unknown(operation).exists()
        found = (
            create_search.search_before_resend(operation, provider, now=now, recall=self.from_late_answer)
            if repeated
            else None
        )
        return found or self._go(operation, provider)

    def verify(
        self, operation: Operation, provider: Provider, *, now: datetime
    ) -> Succeeded | NotApplied | RetryAt | NeedsReview:
        return create_search.search(operation, provider, now=now, recall=self.from_late_answer)

    def from_late_answer(self, result: dict[str, Any]) -> Succeeded:
        account_id = result["account_id"]
        columns = {"provider_id": account_id, "state": AccountState.UNKNOWN, "changed_what": _("Created")}
        return Succeeded(say("create.done", id=account_id), columns, result)

    def _known(self, operation: Operation) -> Succeeded | None:
        if operation.account.provider_id:
            return Succeeded(say("create.exists"))
        late = attempts.late_answer(operation) or attempts.late_answer_of_earlier_create(operation)
        return self.from_late_answer(late.result) if late else None

    def _go(self, operation: Operation, provider: Provider) -> Send:
        new = new_account(operation)
        body = operation.body or provider.create_body(new)

        def send() -> Succeeded | StepDone | Failed:
            created = provider.create_account(new, IdempotentBody(str(operation.public_id), body))
            return self._trust(created, provider)

        return Send("create account", body, send, body, clock_skew=provider.clock_skew())

    def _trust(self, created: Created, provider: Provider) -> Succeeded | Failed:
        """Check a replayed answer: it is about the past, and the account may be gone since."""
        if created.replayed:
            try:
                provider.details(AccountRef(created.id))
            except NotFound:
                return Failed("gone", say("create.deleted_since", id=created.id), {"account_id": created.id})
            except ProviderError as error:
                raise OutcomeUnknown(say("create.replay_unread", id=created.id), evidence=error.evidence) from None
        return self.from_late_answer({"account_id": created.id})


def new_account(operation: Operation) -> NewAccount:
    payload = operation.payload
    settings = payload.get("settings")
    return NewAccount(
        Profile(**payload["profile"]),
        tuple(as_offerings(payload["offerings"])),
        settings=AccountSettings(**settings) if settings else None,
        test=payload["is_test"],
    )
