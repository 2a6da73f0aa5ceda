"""Offerings that a price list can name: those in the catalogs of the provider's connections."""

from __future__ import annotations

from django.db.models import Q
from django.utils.translation import gettext as _

from customers.connections.catalogue import offering_label
from customers.models import Offering
from portal.typed_text import nfc


def offerings_of(provider_kind: str) -> list[tuple[str, str]]:
    """Return name and label of each offering of the provider; those no longer sold say so. One query."""
    rows = Offering.objects.filter(connection__kind=provider_kind).order_by("type", "name")
    sold: dict[str, bool] = {}
    for name, gone_at in rows.values_list("name", "gone_at"):
        sold[name] = sold.get(name, False) or gone_at is None
    return [
        (name, offering_label(name) if on_sale else _("%(name)s, no longer sold") % {"name": offering_label(name)})
        for name, on_sale in sold.items()
    ]


def exact_name(provider_kind: str, typed: str) -> str:
    """Return the provider's own spelling of a typed name. What was typed is NFC; a name of a provider may not be."""
    names = {name for name, _label in offerings_of(provider_kind)}
    if typed in names:
        return typed
    same = [name for name in names if nfc(name) == typed]
    return same[0] if len(same) == 1 else typed


def unknown_offerings(provider_kind: str, names: set[str]) -> list[str]:
    """Return which of these names are in no catalog of the provider."""
    wanted = names - {""}
    known = Offering.objects.filter(Q(connection__kind=provider_kind), name__in=wanted).values_list("name", flat=True)
    return sorted(wanted - set(known))
