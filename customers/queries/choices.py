"""What the filter chips of the customer list offer. Read from small tables, never from the accounts themselves."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from customers import catalogue
from customers.models import Offering
from customers.queries.filters import NO_ACCOUNT, NOBODY, Filters
from portal.access.models import User
from portal.access.permissions import roles_of
from portal.states import account_state_choices

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class FilterChoices:
    states: Pairs
    connections: Pairs
    packages: Pairs
    owners: Pairs


def filter_choices(filters: Filters) -> FilterChoices:
    return FilterChoices(
        states=[*account_state_choices(), (NO_ACCOUNT, _("No account yet"))],
        connections=[(str(each.public_id), each.name) for each in filters.connections.values()],
        packages=_packages(),
        owners=[*_owners(filters.owner), (NOBODY, _("Nobody"))],
    )


def _packages() -> Pairs:
    """Each package once, however many connections sell it; where two read the same, their names tell them apart."""
    names = sorted(set(Offering.objects.order_by().filter(type="package").values_list("name", flat=True)))
    labels = [catalogue.label_of(name) for name in names]
    pairs = zip(names, labels, strict=True)
    return sorted(
        ((name, label if labels.count(label) == 1 else f"{label} ({name})") for name, label in pairs),
        key=lambda pair: pair[1],
    )


def _owners(chosen: str) -> Pairs:
    may = User.objects.filter(is_active=True, role__in=roles_of("customers:edit", "POST"))
    found = [(str(key), name) for key, name in may.order_by("name").values_list("public_id", "name")[:200]]
    if chosen and chosen != NOBODY and chosen not in dict(found):
        gone = User.objects.filter(public_id=chosen).values_list("public_id", "name")
        found += [(str(key), name) for key, name in gone]
    return found
