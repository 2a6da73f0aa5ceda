"""Commands on customers: the tenant companies and what staff note about them. Nothing here reaches a provider.

Each is one transaction with its audit event. Refusals are `UnableToChange`, with a sentence for people.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

from customers.models import Account, Connection, Customer, Note, Operation
from customers.models.account import AccountState
from customers.models.customer import MOST_TAGS
from customers.models.operation import never_made
from customers.operations.commands import FirstKey, ask_create
from customers.operations.request import token_of_follower
from customers.operations.submissions import already_submitted, earlier_submission, submit_once
from portal import audit
from portal.access.models import User
from portal.edits import refuse_stale
from portal.providers import AccountSettings, Offering, Profile

FACTS = (
    "company_name", "first_name", "last_name", "email", "phone", "website", "timezone", "external_reference", "owner",
    "tags",
)  # fmt: skip
# Each part of a provider's profile, and the customer's fact it is taken from.
FACT_OF_PROFILE = {
    "email": "email", "first_name": "first_name", "last_name": "last_name", "company_name": "company_name",
    "company_website": "website", "phone": "phone", "timezone": "timezone",
}  # fmt: skip
# An account in one of these costs money, or may, so its customer stays in the lists.
GONE = (AccountState.DELETED, AccountState.BANNED)


class UnableToChange(Exception):
    """A refusal people read. `field` names the form field it belongs to, "" for the form as a whole."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


def public_id_of(*, actor: User, client_token: str) -> uuid.UUID:
    """The id a create form's customer gets. The same form sent twice names the same customer."""
    return uuid.uuid5(actor.public_id, client_token)


def create_customer(
    *, actor: User, facts: dict[str, Any], client_token: str, now: datetime, request: HttpRequest | None = None
) -> Customer:
    """Add a customer, or return the one this form added before (also when that happens at this moment)."""
    return open_customer(actor=actor, facts=facts, account=None, client_token=client_token, now=now, request=request)[0]


def _add_customer(public_id: uuid.UUID, facts: dict[str, Any], *, actor: User, request: HttpRequest | None) -> Customer:
    try:
        with transaction.atomic():
            customer = Customer.objects.create(public_id=public_id, **_known(facts))
    except IntegrityError:
        if earlier := Customer.objects.filter(public_id=public_id).first():
            raise already_submitted(earlier, submitted_at=earlier.created_at) from None
        raise _taken() from None
    audit.record(
        actor=actor,
        verb="customer.created",
        obj=customer,
        customer=customer,
        after=_plain(customer, FACTS),
        request=request,
    )
    return customer


@dataclass(frozen=True)
class NewAccount:
    """The account to ask for: with offerings or with settings, as the connection's provider has it, and where it has
    keys, with the first of them. Of `profile` at least the e-mail stands here, also where none of it is sent."""

    connection: Connection
    profile: Profile
    offerings: list[Offering]
    is_test: bool
    settings: AccountSettings | None = None
    first_key: FirstKey | None = None


def open_customer(
    *,
    actor: User,
    facts: dict[str, Any],
    account: NewAccount | None,
    client_token: str,
    now: datetime,
    request: HttpRequest | None = None,
) -> tuple[Customer, Operation | None]:
    """Add a customer and ask for its first account, both or neither. The same form again gives the same two back.

    Raises `UnableToChange` and `UnableToAsk`; then no customer is left behind.
    """
    public_id = public_id_of(actor=actor, client_token=client_token)
    token_of_account = token_of_follower(client_token, "account")
    operation: Operation | None = None

    def make() -> Customer:
        nonlocal operation
        customer = _add_customer(public_id, facts, actor=actor, request=request)
        if account:
            operation = ask_create(
                actor=actor, customer=customer, connection=account.connection, profile=account.profile,
                offerings=account.offerings, is_test=account.is_test, settings=account.settings,
                first_key=account.first_key, client_token=token_of_account, now=now, request=request,
            )  # fmt: skip
        return customer

    customer = submit_once(
        Customer, actor=actor, client_token=client_token, kind="customer", target=None,
        content={"facts": facts, "account": account}, now=now, make=make,
    )  # fmt: skip
    if account and earlier_submission(customer):
        operation = Operation.objects.get(requested_by=actor, client_token=token_of_account)
    return customer, operation


def add_account(
    *,
    actor: User,
    customer: Customer,
    account: NewAccount,
    corrects: Operation | None,
    take_over: bool,
    client_token: str,
    now: datetime,
    version: int | None = None,
    request: HttpRequest | None = None,
) -> Operation:
    """Ask for a further account. `corrects`: the refused create this one replaces, whose account row is used again as
    long as it stays with the same connection; `version` is that account's as the form showed it. `take_over` keeps the
    profile on the customer as well. Raises `UnableToAsk` and `UnableToChange`; then nothing changed."""
    with transaction.atomic():
        operation = ask_create(
            actor=actor, customer=customer, connection=account.connection, profile=account.profile,
            offerings=account.offerings, is_test=account.is_test, settings=account.settings,
            first_key=account.first_key, client_token=client_token, now=now, request=request, retry_of=corrects,
            version=version, same_form={"take_over": take_over},
        )  # fmt: skip
        if take_over and not earlier_submission(operation):
            facts = {fact: value for part, fact in FACT_OF_PROFILE.items() if (value := getattr(account.profile, part))}
            edit_customer(actor=actor, customer=customer, facts=facts, now=now, request=request)
    return operation


def edit_customer(
    *,
    actor: User,
    customer: Customer,
    facts: dict[str, Any],
    now: datetime,
    seen: Mapping[str, Any] | None = None,
    request: HttpRequest | None = None,
) -> list[str]:
    """Change the named facts; returns the names of those that differ. Only they are written and audited.

    `seen` holds the values that the person's form was opened with (`portal.edits`). Raises `EditConflict` where
    somebody else changed one of the facts since then, and `UnableToChange`.
    """
    facts = _known(facts)
    with transaction.atomic():
        rows = Customer.objects.select_for_update(of=("self",), no_key=True).select_related("owner")
        stored = rows.get(pk=customer.pk)  # held: what is audited as before is what was there
        refuse_stale(stored, facts, seen)
        before = _plain(stored, FACTS)
        for name, value in facts.items():
            setattr(stored, name, value)
        after = _plain(stored, FACTS)
        changed = [name for name in FACTS if before[name] != after[name]]
        if not changed:
            return []
        try:
            with transaction.atomic():
                stored.save(update_fields=[*changed, "changed_at"])
        except IntegrityError:
            raise _taken() from None
        audit.record(
            actor=actor,
            verb="customer.edited",
            obj=stored,
            customer=stored,
            request=request,
            before={name: before[name] for name in changed},
            after={name: after[name] for name in changed},
        )
    return changed


def change_tag(*, actor: User, customer: Customer, tag: str, add: bool, now: datetime) -> tuple[list[str], bool]:
    """Add or remove one tag, whatever others do to the rest meanwhile. Returns the tags there are now, and whether
    this changed them. Raises `UnableToChange`."""
    with transaction.atomic():
        tags = Customer.objects.select_for_update(no_key=True).get(pk=customer.pk).tags
        others = [each for each in tags if each.casefold() != tag.casefold()]
        if add == (others != tags):
            return tags, False
        if add and len(tags) >= MOST_TAGS:
            raise UnableToChange(_("The customer has %d tags, the most there may be.") % MOST_TAGS)
        wanted = [*tags, tag] if add else others
        edit_customer(actor=actor, customer=customer, facts={"tags": wanted}, now=now)
    return wanted, True


def archive_customer(*, actor: User, customer: Customer, now: datetime, request: HttpRequest | None = None) -> None:
    """Take a customer out of the lists. Refused while it has an account that exists or may come to exist, or an
    operation that is not finished."""
    with transaction.atomic():
        customer.lock()
        if operation := Operation.objects.open().filter(account__customer=customer).first():
            raise UnableToChange(
                _("%(code)s is not finished. Wait for it or cancel it, then archive the customer.")
                % {"code": operation.code}
            )
        living = Account.objects.filter(customer=customer, merged_at=None).exclude(state__in=GONE)
        living = living.exclude(pk__in=_never_made(customer))
        if count := living.count():
            raise UnableToChange(
                _("It has an account that is not deleted. Delete it first.")
                if count == 1
                else _("It has %(n)d accounts that are not deleted. Delete them first.") % {"n": count}
            )
        changed = Customer.objects.filter(pk=customer.pk, archived_at=None).update(archived_at=now, changed_at=now)
        if changed:
            audit.record(actor=actor, verb="customer.archived", obj=customer, customer=customer, request=request)


def restore_customer(*, actor: User, customer: Customer, now: datetime, request: HttpRequest | None = None) -> None:
    with transaction.atomic():
        changed = (
            Customer.objects.filter(pk=customer.pk).exclude(archived_at=None).update(archived_at=None, changed_at=now)
        )
        if changed:
            audit.record(actor=actor, verb="customer.restored", obj=customer, customer=customer, request=request)


def add_note(
    *, actor: User, customer: Customer, text: str, account: Account | None = None, request: HttpRequest | None = None
) -> Note:
    """Keep a note on the customer. Notes are never changed; `account` says beside which account it was written."""
    text = text.strip()
    if not text:
        raise UnableToChange(_("A note needs a text."), field="text")
    with transaction.atomic():
        note = Note.objects.create(customer=customer, author=actor, text=text)
        audit.record(
            actor=actor,
            verb="note.added",
            obj=note,
            customer=customer,
            account=account,
            after={"text": text},
            request=request,
        )
    return note


def _never_made(customer: Customer) -> Any:
    """Accounts whose create came to nothing: there is nothing at the provider."""
    return Account.objects.filter(never_made(), customer=customer).values("pk")


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    unknown = facts.keys() - set(FACTS)
    if unknown:
        raise TypeError(f"not a fact of a customer: {sorted(unknown)}")
    return facts


def _plain(customer: Customer, names: tuple[str, ...]) -> dict[str, Any]:
    """The facts as the audit log keeps them: people by name."""
    values = {name: getattr(customer, name) for name in names}
    return values | {"owner": str(customer.owner) if customer.owner else ""}


def _taken() -> UnableToChange:
    return UnableToChange(_("Another customer has this external reference."), field="external_reference")
