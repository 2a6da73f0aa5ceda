"""Commands on contracts: start a draft, change its terms, publish it, end a contract.

A customer has one draft at most; whoever changes it holds its row. A published contract is never changed: a
correction, and an end, are another one that replaces it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from billing.models import Contract, ContractPriceList, PriceList
from billing.pricing.closed_months import refuse_closed_contract
from billing.pricing.contract_days import contract_in_force
from billing.pricing.contracts.terms import (
    COLUMNS,
    EMPTY,
    Terms,
    check_terms,
    contract_fields,
    hold_lists,
    terms_of,
    with_contract_fields,
)
from customers.models import Customer
from portal.access.permissions import Permission, require
from portal.commands import Command
from portal.edits import refuse_stale
from portal.formats import moment_text
from portal.refusals import Refusal

COPIED = (*COLUMNS, "currency", "terms")


class ContractChanged(Refusal):
    """The draft is another than the one that was shown. Nothing was changed."""


def start_contract(command: Command, *, customer: Customer, source: Contract | None = None) -> Contract:
    """Return the customer's draft. A new one begins with the terms of `source`, or else of the contract in force; it
    keeps the days of `source` alone. Raises `Refusal`."""
    require(command.person, Permission.MANAGE_PRICES)
    if customer.archived_at:
        raise Refusal(_("The customer is archived. Restore it to add a contract."))
    try:
        with transaction.atomic():
            if draft := Contract.objects.filter(customer=customer, published_at=None).first():
                return draft
            draft = _new_draft(command, customer, source)
            command.record(verb="contract.draft_started", obj=draft, after={"contract": draft.n})
    except IntegrityError:
        return Contract.objects.get(customer=customer, published_at=None)
    return draft


def _new_draft(command: Command, customer: Customer, source: Contract | None) -> Contract:
    base = source or contract_in_force(customer, command.now.date())
    copied = {name: getattr(base, name) for name in COPIED} if base else {"terms": dict(EMPTY)}
    if source is None:
        copied |= {"valid_from": None, "valid_until": None, "note": ""}
    last = Contract.objects.filter(customer=customer).aggregate(last=Max("n"))["last"] or 0
    return Contract.objects.create(customer=customer, n=last + 1, **copied)


@contextmanager
def _held(command: Command, contract: Contract) -> Iterator[Contract]:
    """Hold the draft's row until the end of the transaction. Raises `Refusal` for one that was published."""
    require(command.person, Permission.MANAGE_PRICES)
    with transaction.atomic():
        rows = Contract.objects.select_for_update(of=("self",), no_key=True)
        stored = rows.select_related("customer", "published_by").get(pk=contract.pk)
        if stored.published_at:
            raise ContractChanged(
                _("%(name)s published this contract (%(when)s). Start a new draft to change it.")
                % {"name": stored.published_by, "when": moment_text(stored.published_at)}
            )
        yield stored


def edit_contract(
    command: Command, *, contract: Contract, facts: Mapping[str, Any], seen: Mapping[str, Any] | None = None
) -> bool:
    """Change fields of a draft (`terms.contract_fields`); return whether that changed it. Raises `EditConflict` and
    `Refusal`."""
    with _held(command, contract) as stored:
        fields = contract_fields(stored)
        refuse_stale(dict.fromkeys(facts, "") | fields, facts, seen)
        before = dict(fields)
        fields |= facts
        first, last = fields["valid_from"], fields["valid_until"]
        if first and last and last < first:
            raise Refusal(_("The last day is before the first day."), field="valid_until")
        in_currency = stored.currency
        stored.terms, stored.currency = with_contract_fields(terms_of(stored), fields)
        _refuse_amounts_of(in_currency, stored)
        for name in COLUMNS:
            setattr(stored, name, fields[name])
        changed = [name for name in fields if before.get(name) != fields[name]]
        return _write(
            command,
            stored,
            before=_told(before, changed),
            after=_told(fields, changed),
        )


def _refuse_amounts_of(in_currency: str, stored: Contract) -> None:
    """Refuse lists of another currency while overrides have amounts of the one before."""
    amounts = [each for each in terms_of(stored)["overrides"] if "amount" in each or "tiers" in each]
    if in_currency and stored.currency != in_currency and amounts:
        text = _("The overrides of this contract have amounts in %(one)s. Remove them, then select other price lists.")
        raise Refusal(text % {"one": in_currency})


def _told(fields: Mapping[str, Any], changed: Iterable[str]) -> dict[str, Any]:
    """Return values for the audit log: price lists by their names."""
    names = {str(each.public_id): each.name for each in PriceList.objects.all()}
    return {name: names.get(str(fields.get(name)), fields.get(name)) for name in changed}


def replace_term(
    command: Command,
    *,
    contract: Contract,
    part: str,
    index: int | None,
    value: dict[str, Any] | None,
    was: dict[str, Any] | None,
) -> bool:
    """Set, add (`index` None) or remove (`value` None) one discount or override of a draft; `part` names which.

    `was`: the one that the form was opened with. Raises `ContractChanged` where another one stands there now.
    """
    with _held(command, contract) as stored:
        terms: Terms = {name: list(each) if isinstance(each, list) else each for name, each in terms_of(stored).items()}
        rows = terms[part]
        if index is None:
            rows.append(value)
        elif index >= len(rows) or rows[index] != was:
            raise ContractChanged(_("Someone changed this while you had it open. Nothing was saved. Open it again."))
        elif value is None:
            rows.pop(index)
        else:
            rows[index] = value
        stored.terms = terms
        label = part.removesuffix("s")
        return _write(command, stored, before={label: _filled(was)}, after={label: _filled(value)})


def _filled(value: Any) -> Any:
    """Return a discount or an override without its empty values, for the audit log."""
    if isinstance(value, dict):
        return {name: _filled(each) for name, each in value.items() if each is not None}
    return [_filled(each) for each in value] if isinstance(value, list) else value


def _write(command: Command, stored: Contract, *, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    if before == after:
        return False
    stored.edits += 1
    stored.save(update_fields=[*COPIED, "edits"])
    currency = {"currency": stored.currency} if stored.currency else {}  # of the amounts, for who reads the event
    command.record(verb="contract.edited", obj=stored, before={**before, **currency}, after={**after, **currency})
    return True


def publish_contract(command: Command, *, contract: Contract, seen_edits: int) -> Contract:
    """Publish a draft. Raises `ContractChanged` where it was changed since the page was shown, and `Refusal`."""
    with _held(command, contract) as stored:
        if stored.edits != seen_edits:
            raise ContractChanged(_("The draft was changed after you opened this page. Review it again."))
        _publish(command, stored, verb="contract.published", field="valid_from")
    return stored


def _publish(command: Command, stored: Contract, *, verb: str, field: str) -> None:
    lists = hold_lists(terms_of(stored))  # so that none is archived, or gets a version that the terms don't fit
    check_terms(stored)
    if stored.valid_from:
        refuse_closed_contract(stored.customer, stored.valid_from, field=field)
    stored.edits += 1
    stored.published_at, stored.published_by = command.now, command.person
    stored.save(update_fields=[*COPIED, "edits", "published_at", "published_by"])
    ContractPriceList.objects.bulk_create(
        ContractPriceList(contract=stored, price_list=each, provider_kind=each.provider_kind) for each in lists
    )
    command.record(
        verb=verb,
        obj=stored,
        after={
            "contract": stored.n,
            "first_day": stored.valid_from,
            "last_day": stored.valid_until,
            "price_lists": [each.name for each in lists],
        },
    )


def end_contract(command: Command, *, contract: Contract, last_on: date, seen_edits: int | None = None) -> Contract:
    """End a contract after `last_on`: publish one with the same terms that ends then, and return it.

    It begins in the month of the end, so that earlier months keep the contract they were rated with. A draft of the
    customer becomes it. Raises `ContractChanged` if that draft has not `seen_edits` edits (0 without one), and
    `Refusal`.
    """
    require(command.person, Permission.MANAGE_PRICES)
    if contract.valid_from is None or last_on < contract.valid_from:
        raise Refusal(_("The contract begins after this day. Enter a later last day."), field="last_on")
    if contract.valid_until and last_on > contract.valid_until:
        raise Refusal(_("The contract already ends before this day."), field="last_on")
    with transaction.atomic():
        customer = Customer.objects.select_for_update(no_key=True, of=("self",)).get(pk=contract.customer_id)
        if contract_in_force(customer, last_on) != contract:
            raise Refusal(_("Another contract is in force on this day. End that one."), field="last_on")
        draft = Contract.objects.filter(customer=customer, published_at=None).first()
        draft = draft or _new_draft(command, customer, contract)
        with _held(command, draft) as stored:
            if seen_edits is not None and stored.edits != seen_edits:
                text = _(
                    "The customer's draft, which the end replaces, was changed after you opened this page. Review it."
                )
                raise ContractChanged(text)
            for name in COPIED:
                setattr(stored, name, getattr(contract, name))
            stored.valid_from = max(contract.valid_from, last_on.replace(day=1))
            stored.valid_until = last_on
            _publish(command, stored, verb="contract.ended", field="last_on")
    return stored
