"""The billing settings of a connection: its time zone, from when on it is billed, and what the provider charges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from billing.models import ConnectionBilling, PriceList, Side
from customers.models import Connection
from portal.access.permissions import Permission, require
from portal.commands import Command
from portal.edits import refuse_stale
from portal.refusals import Refusal

FIELDS = ("zone", "starts_on", "cost_source", "cost_list", "tolerance_minor")
Source = ConnectionBilling.CostSource


def billing_of(connection: Connection) -> ConnectionBilling:
    """Return the stored settings, or the defaults without storing them."""
    rows = ConnectionBilling.objects.select_related("cost_list")
    return rows.filter(connection=connection).first() or ConnectionBilling(connection=connection)


def edit_connection_billing(
    command: Command, *, connection: Connection, facts: Mapping[str, Any], seen: Mapping[str, Any] | None = None
) -> bool:
    """Change the settings; return whether that changed them. Raises `EditConflict` and `Refusal`."""
    require(command.person, Permission.MANAGE_PRICES)
    require(command.person, Permission.VIEW_COST)
    with transaction.atomic():
        ConnectionBilling.objects.get_or_create(connection=connection)
        rows = ConnectionBilling.objects.select_for_update(of=("self",), no_key=True)
        stored = rows.select_related("cost_list", "connection").get(connection=connection)
        refuse_stale(stored, facts, seen)
        before = {name: getattr(stored, name) for name in FIELDS}
        for name, value in facts.items():
            setattr(stored, name, value)
        _check(stored)
        changed = [name for name in FIELDS if getattr(stored, name) != before[name]]
        if not changed:
            return False
        stored.edits += 1
        stored.save(update_fields=[*changed, "edits"])
        command.record(
            verb="connection.billing_edited",
            obj=connection,
            before={name: _told(before[name]) for name in changed},
            after={name: _told(getattr(stored, name)) for name in changed},
        )
    return True


def _told(value: Any) -> Any:
    return value.name if isinstance(value, PriceList) else value


def _check(billing: ConnectionBilling) -> None:
    """Set and refuse what doesn't fit together: a cost list is used where the source is a price list alone."""
    if billing.cost_source != Source.PRICE_LIST:
        billing.cost_list = None
        return
    if billing.cost_list is None:
        raise Refusal(_("Select the cost price list."), field="cost_list")
    if billing.cost_list.side != Side.COST or billing.cost_list.provider_kind != billing.connection.kind:
        raise Refusal(_("Select a cost price list of this provider."), field="cost_list")
