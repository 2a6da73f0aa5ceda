"""The choices of the customer list's filters. Read from small tables, never from the accounts themselves."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from customers.connections import catalogue
from customers.directory.filters import CAP_CHOICES, NO_ACCOUNT, NOBODY, CustomerFilters
from customers.models import Offering
from portal.access.models import User
from portal.access.permissions import Permission
from portal.access.queries import people_who_may
from portal.state_labels import account_state_choices

Pairs = list[tuple[str, str]]


def filter_choices(filters: CustomerFilters) -> dict[str, Any]:
    """Return the choices. `providers` is empty where there is only one, `package_words` says what the column of
    packages has: packages, caps, or both."""
    caps = bool(filters.connections_that(lambda can: can.settings))
    packages = bool(filters.connections_that(lambda can: can.offerings)) or not caps
    with_caps = [(key, str(label)) for key, label in CAP_CHOICES.items()]
    return {
        "states": [*account_state_choices(), (NO_ACCOUNT, _("No account yet"))],
        "connections": [(str(each.public_id), each.name) for each in filters.connections.values()],
        "providers": sorted(filters.kinds.items(), key=lambda pair: pair[1]) if len(filters.kinds) > 1 else [],
        "packages": [*(_packages() if packages else []), *(with_caps if caps else [])],
        "package_words": _words(packages, caps),
        "owners": [*owner_choices(filters.owner), (NOBODY, _("Unassigned"))],
    }


def _words(packages: bool, caps: bool) -> str:
    if packages and caps:
        return _("Package or cap")
    return _("Monthly cap") if caps else _("Package")


def _packages() -> Pairs:
    """Return each package once, however many connections sell it; equal labels are told apart by name."""
    names = sorted(set(Offering.objects.order_by().filter(type="package").values_list("name", flat=True)))
    labels = [catalogue.offering_label(name) for name in names]
    pairs = zip(names, labels, strict=True)
    return sorted(
        ((name, label if labels.count(label) == 1 else f"{label} ({name})") for name, label in pairs),
        key=lambda pair: pair[1],
    )


def owner_choices(chosen: str) -> Pairs:
    """Return who may own customers, and the chosen one."""
    may = people_who_may(Permission.EDIT_CUSTOMER)
    found = [(str(key), name) for key, name in may.order_by("name").values_list("public_id", "name")[:200]]
    if chosen and chosen != NOBODY and chosen not in dict(found):
        gone = User.objects.filter(public_id=chosen).values_list("public_id", "name")
        found += [(str(key), name) for key, name in gone]
    return found
