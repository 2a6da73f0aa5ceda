"""Commands on the draft of a price list: start it, change its prices, publish it.

A list has one draft at most. Whoever changes it holds its row, so that two people at once leave the changes of both, or
are told. What is published the database keeps as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from billing.models import PriceList, PriceVersion
from billing.pricing.closed_months import refuse_closed_version
from billing.pricing.lists.commands import require_for, verb
from billing.pricing.lists.fitting import check_contracts_of
from billing.pricing.lists.kinds import COMPONENTS
from billing.pricing.lists.prices import (
    Fields,
    Price,
    checked_prices,
    is_priced_item,
    item_fields,
    price_key,
    with_fields,
    without_item,
)
from billing.pricing.lists.versions import in_force_on
from billing.pricing.lists.wording import member_text
from portal.commands import Command
from portal.edits import refuse_stale
from portal.formats import moment_text
from portal.refusals import Refusal

# Prices of which the audit log names the changes; beyond, their number.
MOST_TOLD = 40


class DraftChanged(Refusal):
    """The draft is another than the one that was shown. Nothing was changed."""


def start_draft(command: Command, *, price_list: PriceList, source: PriceVersion | None = None) -> PriceVersion:
    """Return the list's draft. A new one begins with the prices of `source`, by default those in force today, and
    with the first day of `source`. Raises `Refusal`."""
    require_for(command.person, price_list.side)
    try:
        with transaction.atomic():
            _refuse_archived(PriceList.objects.select_for_update(no_key=True).get(pk=price_list.pk))
            if draft := price_list.versions.filter(published_at=None).first():
                return draft
            base = source or in_force_on(price_list, command.now.date())
            last = price_list.versions.aggregate(last=Max("n"))["last"] or 0
            draft = PriceVersion.objects.create(
                price_list=price_list,
                n=last + 1,
                valid_from=source.valid_from if source else None,
                prices=base.prices if base else [],
            )
            command.record(
                verb=verb(price_list, "draft_started"),
                obj=price_list,
                after={"version": draft.n, "prices_of_version": base.n if base else None},
            )
    except IntegrityError:
        return price_list.versions.get(published_at=None)
    return draft


@contextmanager
def _held(command: Command, version: PriceVersion) -> Iterator[PriceVersion]:
    """Hold the rows of the draft and its list until the end of the transaction: nobody archives the list meanwhile, or
    publishes a contract that has it. Raises `Refusal` for one that was published."""
    require_for(command.person, version.price_list.side)
    with transaction.atomic():
        rows = PriceVersion.objects.select_for_update(of=("self", "price_list"), no_key=True)
        stored = rows.select_related("price_list", "published_by").get(pk=version.pk)
        if stored.published_at:
            raise DraftChanged(
                _("%(name)s published this version (%(when)s). Start a new draft to change prices.")
                % {"name": stored.published_by, "when": moment_text(stored.published_at)}
            )
        _refuse_archived(stored.price_list)
        yield stored


def _refuse_archived(price_list: PriceList) -> None:
    if price_list.archived_at:
        raise Refusal(_("This price list is archived. Restore it to change its prices."))


def edit_price(
    command: Command,
    *,
    version: PriceVersion,
    offering: str,
    item: str,
    facts: Fields,
    seen: Mapping[str, Any] | None = None,
    is_new: bool = False,
) -> bool:
    """Set the fields of one item of the draft (`prices.item_fields`), or add it; return whether that changed it.
    `is_new`: refuse an item that is there.

    Raises:
        EditConflict: A field was changed since the form was opened (`seen`).
        Refusal: The price is not well formed, or the version was published.
    """
    with _held(command, version) as stored:
        if is_new and is_priced_item(stored.prices, offering, item):
            raise Refusal(_("The draft already has this price. Edit it instead."))
        fields = item_fields(stored.prices, offering, item)
        if seen is not None:
            refuse_stale(fields, facts, seen)
        after = with_fields(stored.prices, offering, item, fields | facts)
        return _write(command, stored, after, what="price_edited")


def remove_price(command: Command, *, version: PriceVersion, offering: str, item: str) -> bool:
    with _held(command, version) as stored:
        if not is_priced_item(stored.prices, offering, item):
            return False
        return _write(command, stored, without_item(stored.prices, offering, item), what="price_removed")


def replace_prices(command: Command, *, version: PriceVersion, prices: Sequence[Price], seen_edits: int) -> bool:
    """Replace all prices of the draft, as an import does. Raises `DraftChanged` if it is no longer the draft with
    this number of edits, and `Refusal`."""
    with _held(command, version) as stored:
        _refuse_other(stored, seen_edits)
        return _write(command, stored, checked_prices(prices), what="prices_imported")


def _refuse_other(stored: PriceVersion, seen_edits: int) -> None:
    if stored.edits != seen_edits:
        raise DraftChanged(_("The draft was changed after you opened this page. Review the changes again."))


def _write(command: Command, stored: PriceVersion, prices: list[Price], *, what: str) -> bool:
    if prices == stored.prices:
        return False
    before, after = _told(stored.prices, prices)
    stored.prices, stored.edits = prices, stored.edits + 1
    stored.save(update_fields=["prices", "edits"])
    facts, currency = {"version": stored.n}, {"currency": stored.price_list.currency}
    told = facts | currency | after  # the currency is in both: it is that of the amounts, and no difference
    command.record(verb=verb(stored.price_list, what), obj=stored.price_list, before=currency | before, after=told)
    return True


def _told(before: Sequence[Price], after: Sequence[Price]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the differing members of the prices by a readable name, for the audit log."""
    old, new = ({price_key(price): price for price in prices} for prices in (before, after))
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if len(changed) > MOST_TOLD:
        return {"prices": str(len(before))}, {"prices": str(len(after)), "prices_changed": str(len(changed))}
    told: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for offering, component in changed:
        rows = (old.get((offering, component), {}), new.get((offering, component), {}))
        for member in [name for name in {**rows[0], **rows[1]} if name not in ("offering", "component")]:
            if rows[0].get(member) != rows[1].get(member):
                name = f"{offering or _('Every account')}, {COMPONENTS[component]}: {member}"
                for each, row in zip(told, rows, strict=True):
                    if member in row:
                        each[name] = member_text(member, row[member])
    return told


def publish_version(
    command: Command, *, version: PriceVersion, valid_from: date, seen_edits: int, note: str = ""
) -> PriceVersion:
    """Publish the draft from a day on. It can't be changed afterwards; a correction is a new version with the same
    first day.

    Raises:
        DraftChanged: It was published or changed since the page with the differences was shown (`seen_edits`).
        Refusal: It has no prices, or a contract's overrides don't fit them.
    """
    with _held(command, version) as stored:
        _refuse_other(stored, seen_edits)
        if not stored.prices:
            raise Refusal(_("The draft has no prices. Add at least one."))
        stored.prices = checked_prices(stored.prices)
        check_contracts_of(stored.price_list, stored.prices, since=valid_from)
        refuse_closed_version(stored.price_list, valid_from)
        stored.valid_from, stored.note = valid_from, note
        stored.published_at, stored.published_by = command.now, command.person
        stored.edits += 1
        stored.save(update_fields=["prices", "valid_from", "note", "published_at", "published_by", "edits"])
        command.record(
            verb=verb(stored.price_list, "published"),
            obj=stored.price_list,
            after={"version": stored.n, "first_day": date_format(valid_from, "Y-m-d"), "prices": len(stored.prices)}
            | ({"note": note} if note else {}),
        )
    return stored
