"""Commands on customers: the tenant companies and the notes of staff. Nothing here calls a provider.

Each is one transaction with its audit event. A `Refusal` is a sentence for users.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from customers.models import Account, Customer, Note, Operation
from customers.models.account import AccountState
from customers.models.customer import MOST_TAGS
from customers.models.operation import never_made
from customers.operations.submissions import already_submitted
from portal.access.models import User
from portal.commands import Command
from portal.edits import refuse_stale
from portal.refusals import Refusal

FACTS = (
    "company_name",
    "first_name",
    "last_name",
    "email",
    "phone",
    "website",
    "timezone",
    "external_reference",
    "owner",
    "tags",
)
# Each part of a provider's profile, and the customer's detail it is taken from.
FACT_OF_PROFILE = {
    "email": "email",
    "first_name": "first_name",
    "last_name": "last_name",
    "company_name": "company_name",
    "company_website": "website",
    "phone": "phone",
    "timezone": "timezone",
}
# An account in one of these costs money, or may, so its customer stays in the lists.
GONE = (AccountState.DELETED, AccountState.BANNED)


def public_id_of(*, actor: User, client_token: str) -> uuid.UUID:
    """Return the ID of a create form's customer. The same form sent twice names the same customer."""
    return uuid.uuid5(actor.public_id, client_token)


def add_customer(command: Command, public_id: uuid.UUID, facts: dict[str, Any]) -> Customer:
    try:
        with transaction.atomic():
            customer = Customer.objects.create(public_id=public_id, **_known(facts))
    except IntegrityError:
        if earlier := Customer.objects.filter(public_id=public_id).first():
            raise already_submitted(earlier, submitted_at=earlier.created_at) from None
        raise _taken() from None
    command.record(verb="customer.created", obj=customer, after=_plain(customer, FACTS))
    return customer


def edit_customer(
    command: Command, *, customer: Customer, facts: dict[str, Any], seen: Mapping[str, Any] | None = None
) -> list[str]:
    """Change the named details; return the names of those that differ. Only they are written and audited.

    `seen` holds the values that the user's form was opened with (`portal.edits`). Raises `EditConflict` where one of
    the details was changed since then, and `Refusal`.
    """
    facts = _known(facts)
    with transaction.atomic():
        rows = Customer.objects.select_for_update(of=("self",), no_key=True).select_related("owner")
        stored = rows.get(pk=customer.pk)  # locked: the audited "before" is the stored value
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
        command.record(
            verb="customer.edited",
            obj=stored,
            before={name: before[name] for name in changed},
            after={name: after[name] for name in changed},
        )
    return changed


def change_tag(command: Command, *, customer: Customer, tag: str, add: bool) -> tuple[list[str], bool]:
    """Add or remove one tag, without touching concurrent changes of others. Returns the present tags, and whether this
    changed them. Raises `Refusal`."""
    with transaction.atomic():
        tags = Customer.objects.select_for_update(no_key=True).get(pk=customer.pk).tags
        others = [each for each in tags if each.casefold() != tag.casefold()]
        if add == (others != tags):
            return tags, False
        if add and len(tags) >= MOST_TAGS:
            raise Refusal(_("The customer already has %d tags, the maximum.") % MOST_TAGS)
        wanted = [*tags, tag] if add else others
        edit_customer(command, customer=customer, facts={"tags": wanted})
    return wanted, True


def archive_customer(command: Command, *, customer: Customer) -> None:
    """Remove a customer from the lists. Refused while it has an account that exists or may come to exist, or an
    operation that is not finished."""
    with transaction.atomic():
        customer.lock()
        if operation := Operation.objects.open().filter(account__customer=customer).first():
            raise Refusal(
                _("Operation %(code)s isn't finished. Cancel it or wait for it to finish, then archive the customer.")
                % {"code": operation.code}
            )
        living = Account.objects.filter(customer=customer, merged_at=None).exclude(state__in=GONE)
        living = living.exclude(pk__in=_never_made(customer))
        if count := living.count():
            raise Refusal(
                _("This customer has an account that isn't deleted. Delete it first.")
                if count == 1
                else _("This customer has %(n)d accounts that aren't deleted. Delete them first.") % {"n": count}
            )
        changed = Customer.objects.filter(pk=customer.pk, archived_at=None).update(
            archived_at=command.now, changed_at=command.now
        )
        if changed:
            command.record(verb="customer.archived", obj=customer)


def restore_customer(command: Command, *, customer: Customer) -> None:
    with transaction.atomic():
        changed = (
            Customer.objects.filter(pk=customer.pk)
            .exclude(archived_at=None)
            .update(archived_at=None, changed_at=command.now)
        )
        if changed:
            command.record(verb="customer.restored", obj=customer)


def add_note(command: Command, *, customer: Customer, text: str, account: Account | None = None) -> Note:
    """Store a note on the customer. Notes are never changed; `account` is the one whose page it was written on."""
    text = text.strip()
    if not text:
        raise Refusal(_("Enter a note."), field="text")
    with transaction.atomic():
        note = Note.objects.create(customer=customer, author=command.person, text=text)
        command.record(verb="note.added", obj=note, account=account, after={"text": text})
    return note


def _never_made(customer: Customer) -> Any:
    """Match accounts whose create failed or was canceled: there is nothing at the provider."""
    return Account.objects.filter(never_made(), customer=customer).values("pk")


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    unknown = facts.keys() - set(FACTS)
    if unknown:
        raise TypeError(f"not a field of a customer: {sorted(unknown)}")
    return facts


def _plain(customer: Customer, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the details as the audit log stores them: users by name."""
    values = {name: getattr(customer, name) for name in names}
    return values | {"owner": str(customer.owner) if customer.owner else ""}


def _taken() -> Refusal:
    return Refusal(_("Another customer already has this external reference."), field="external_reference")
