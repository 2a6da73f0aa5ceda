"""Commands on price lists: create, rename, archive, restore. All audited; cost lists with verbs of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from billing.models import PriceList, Side
from billing.pricing.amounts import check_currency
from portal.access.models import User
from portal.access.permissions import Permission, require
from portal.commands import Command
from portal.edits import refuse_stale
from portal.refusals import Refusal


def require_for(actor: User, side: str) -> None:
    """Refuse a user who may not change price lists of this side."""
    require(actor, Permission.MANAGE_PRICES)
    if side == Side.COST:
        require(actor, Permission.VIEW_COST)


def verb(price_list: PriceList, what: str) -> str:
    """Return the audit verb. Events of cost lists are told from others by it: some roles don't see them."""
    return f"cost_list.{what}" if price_list.side == Side.COST else f"price_list.{what}"


def create_price_list(command: Command, *, name: str, side: str, provider_kind: str, currency: str) -> PriceList:
    """Create a list without prices. Raises `Refusal`."""
    require_for(command.person, side)
    check_currency(currency)
    facts = {"name": name, "side": side, "provider_kind": provider_kind, "currency": currency}
    try:
        with transaction.atomic():
            price_list = PriceList.objects.create(**facts)
            command.record(verb=verb(price_list, "created"), obj=price_list, after=facts)
    except IntegrityError:
        raise _taken() from None
    return price_list


def edit_price_list(
    command: Command, *, price_list: PriceList, facts: Mapping[str, Any], seen: Mapping[str, Any] | None = None
) -> bool:
    """Rename a list; return whether that changed it. Raises `EditConflict` and `Refusal`."""
    require_for(command.person, price_list.side)
    try:
        with transaction.atomic():
            stored = PriceList.objects.select_for_update(no_key=True).get(pk=price_list.pk)
            refuse_stale(stored, facts, seen)
            before = {name: getattr(stored, name) for name in facts}
            changes = {name: value for name, value in facts.items() if before[name] != value}
            if not changes:
                return False
            for name, value in changes.items():
                setattr(stored, name, value)
            stored.save(update_fields=list(changes))
            command.record(
                verb=verb(stored, "edited"),
                obj=stored,
                before={name: before[name] for name in changes},
                after=changes,
            )
    except IntegrityError:
        raise _taken() from None
    return True


def archive_price_list(command: Command, *, price_list: PriceList) -> None:
    """Take a list out of what new contracts can choose. Contracts that have it keep it. Raises `Refusal`."""
    require_for(command.person, price_list.side)
    with transaction.atomic():
        rows = PriceList.objects.filter(pk=price_list.pk, archived_at=None)
        if rows.update(archived_at=command.now):
            command.record(verb=verb(price_list, "archived"), obj=price_list)
    price_list.refresh_from_db()


def restore_price_list(command: Command, *, price_list: PriceList) -> None:
    require_for(command.person, price_list.side)
    with transaction.atomic():
        rows = PriceList.objects.filter(pk=price_list.pk, archived_at__isnull=False)
        if rows.update(archived_at=None):
            command.record(verb=verb(price_list, "restored"), obj=price_list)
    price_list.refresh_from_db()


def _taken() -> Refusal:
    return Refusal(_("Another price list already has this name."), field="name")
