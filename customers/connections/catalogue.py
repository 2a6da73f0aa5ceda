"""The catalog of a connection: read at the provider, stored for a day, summed up and compared in plain words.

Entitlements come from the catalog alone. A name is never parsed for logic; `offering_label` is for display.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, ngettext_lazy

from customers.connections.client import client_for
from customers.models import Connection
from customers.models import Offering as Entry
from portal.commands import Command
from portal.encryption import DecryptionError
from portal.formats import number_text
from portal.providers import CatalogEntry, ProviderError, ProviderOffering
from portal.refusals import Refusal

log = structlog.get_logger(__name__)
# An offering's name is never shortened: another name is another offering.
NAME_MAX = Entry._meta.get_field("name").max_length or 0

SENDS, IPS, TEAMMATES, SUBUSERS = "email_sends_max_monthly", "ip_count", "teammates_max_total", "users_max_total"
# The known entitlements in the order of a list, each with its amount in words.
_AMOUNTS = {
    SENDS: ngettext_lazy("%(n)s email/month", "%(n)s emails/month", "count"),
    IPS: ngettext_lazy("%(n)s dedicated IP", "%(n)s dedicated IPs", "count"),
    TEAMMATES: ngettext_lazy("%(n)s teammate", "%(n)s teammates", "count"),
    SUBUSERS: ngettext_lazy("%(n)s subuser", "%(n)s subusers", "count"),
}
_NAME = re.compile(r"[^.]+\.[^.]+\.(?P<plan>.+)\.v\d+")
_PLAN_WORDS = {"ip": "Dedicated IP"}


@dataclass(frozen=True)
class OfferingChoice:
    """One entry as forms and pages show it. `sold` is False once the provider no longer lists it."""

    name: str
    type: str
    label: str
    entitlements: dict[str, int]
    sold: bool = True

    @property
    def gives(self) -> str:
        return gives_text(self.entitlements)


@dataclass(frozen=True)
class CatalogueLine:
    """One offering before and after. 0 = not in the list."""

    name: str
    type: str
    label: str
    before: int
    after: int


@dataclass(frozen=True)
class Loss:
    """Something the account will no longer have, and its consequence."""

    what: str
    detail: str = ""


@dataclass(frozen=True)
class Changes:
    added: list[CatalogueLine] = field(default_factory=list)
    removed: list[CatalogueLine] = field(default_factory=list)
    changed: list[CatalogueLine] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


# -- reading --------------------------------------------------------------------------------------------------


def refresh_catalogue(command: Command, *, connection: Connection) -> None:
    """Read the catalog at the provider and store it. Audited when a user requested it. Raises `Refusal`."""
    try:
        entries = client_for(connection, interactive=True).catalog()
    except (ProviderError, DecryptionError) as error:
        raise Refusal(str(error)) from error
    sold = connection.catalogue.filter(gone_at=None)
    if not any(each.offering.type == "package" for each in entries) and sold.exists():
        raise Refusal(
            _("%(provider)s returned a catalog without packages, so the stored catalog was left unchanged.")
            % {"provider": connection.provider_label}
        )
    with transaction.atomic():
        if not connection.hold_if_current():
            raise Refusal(_("The connection was edited while the catalog was being refreshed. Refresh it again."))
        _keep(connection, entries, command.now)
        names = [each.offering.name for each in entries]
        gone = sold.exclude(name__in=names).update(gone_at=command.now)
        Connection.objects.filter(pk=connection.pk).update(catalogue_read_at=command.now)
        if command.actor:
            after = {"offerings": len(entries), "no_longer_sold": gone}
            command.record(verb="catalogue.refreshed", obj=connection, after=after)
    connection.catalogue_read_at = command.now


def refresh_when_old(*, connection: Connection, now: datetime) -> str:
    """Read the catalog again when it is older than a day. Returns why that failed, "" when it is current (or the
    provider has none)."""
    if not connection.capabilities.offerings or not connection.catalogue_is_old(now=now):
        return ""
    if connection.paused:
        return _("%(name)s is paused.") % {"name": connection.name}
    try:
        refresh_catalogue(Command(None, now), connection=connection)
    except Refusal as error:
        return str(error)
    return ""


def _keep(connection: Connection, entries: list[CatalogEntry], now: datetime) -> None:
    rows = {
        each.offering.name: Entry(
            connection=connection,
            name=each.offering.name,
            type=each.offering.type[:20],
            entitlements=each.entitlements,
            first_seen_at=now,
            last_seen_at=now,
            gone_at=None,
        )
        for each in entries
        if len(each.offering.name) <= NAME_MAX
    }
    if ignored := len(entries) - len(rows):
        log.warning("catalogue.rows_ignored", connection=str(connection.public_id), rows=ignored)
    Entry.objects.bulk_create(
        rows.values(),
        update_conflicts=True,
        unique_fields=("connection", "name"),
        update_fields=("type", "entitlements", "last_seen_at", "gone_at"),
    )


# -- display --------------------------------------------------------------------------------------------------


def known(connection: Connection) -> dict[str, OfferingChoice]:
    """Return everything the connection ever sold, by name. One query."""
    rows = connection.catalogue.values_list("name", "type", "entitlements", "gone_at")
    return {
        name: OfferingChoice(name, kind, offering_label(name), entitlements, gone_at is None)
        for name, kind, entitlements, gone_at in rows
    }


def package_choices(connection: Connection) -> list[OfferingChoice]:
    """Return the packages on sale, smallest first."""
    return sorted(_sold(connection, "package"), key=by_size)


def addon_choices(connection: Connection) -> list[OfferingChoice]:
    return sorted(_sold(connection, "addon"), key=lambda each: each.label)


def by_size(choice: OfferingChoice) -> tuple[int, int, str]:
    return choice.entitlements.get(SENDS, 0), sum(choice.entitlements.values()), choice.name


def _sold(connection: Connection, kind: str) -> list[OfferingChoice]:
    return [each for each in known(connection).values() if each.sold and each.type == kind]


def offering_label(name: str) -> str:
    """Return a label: "postkeeper.ei.pro-100k.v1" -> "Pro 100K". A name of another shape is its own label."""
    match = _NAME.fullmatch(name)
    if not match:
        return name
    plan = match["plan"]
    return _PLAN_WORDS.get(plan) or " ".join(_word(part, n) for n, part in enumerate(plan.split("-")))


def _word(part: str, position: int) -> str:
    if any(letter.isdigit() for letter in part) or part == "ip":
        return part.upper()
    return part.capitalize() if position == 0 else part


def gives_text(entitlements: Mapping[str, int]) -> str:
    """Return "100,000 emails a month, 1 dedicated IP". Unknown entitlements have the provider's names."""
    return ", ".join(amount_text(key, count) for key, count in entitlements.items() if count)


def amount_text(key: str, count: int) -> str:
    n = number_text(count)
    return str(_AMOUNTS[key] % {"count": count, "n": n}) if key in _AMOUNTS else f"{key} {n}"


# -- summing up and comparing ---------------------------------------------------------------------------------


def entitlements_of(
    connection: Connection,
    offerings: Iterable[ProviderOffering],
    *,
    catalogue: Mapping[str, OfferingChoice] | None = None,
) -> dict[str, int]:
    """Return the entitlements of a whole list: each one times its quantity. Unknown offerings add nothing."""
    catalogue = known(connection) if catalogue is None else catalogue
    total: dict[str, int] = {}
    for each in offerings:
        for key, count in catalogue[each.name].entitlements.items() if each.name in catalogue else ():
            total[key] = total.get(key, 0) + count * each.quantity
    return dict(sorted(total.items(), key=lambda item: _order(item[0])))


def compare(
    connection: Connection,
    before: Iterable[ProviderOffering],
    after: Iterable[ProviderOffering],
    *,
    used: int | None = None,
    catalogue: Mapping[str, OfferingChoice] | None = None,
) -> Changes:
    """Return the differences between `before` and `after`. `used`: emails of this billing period, None = not read."""
    catalogue = known(connection) if catalogue is None else catalogue
    old, new = {each.name: each for each in before}, {each.name: each for each in after}
    lines = [
        CatalogueLine(
            name,
            each.type,
            offering_label(name),
            old[name].quantity if name in old else 0,
            new[name].quantity if name in new else 0,
        )
        for name, each in sorted((old | new).items(), key=lambda item: (item[1].type != "package", item[0]))
    ]
    removed = [each for each in lines if each.before and not each.after]
    not_known = _("It isn't in the catalog, so we can't tell what the account loses with it.")
    return Changes(
        added=[each for each in lines if each.after and not each.before],
        removed=removed,
        changed=[each for each in lines if each.before and each.after and each.before != each.after],
        losses=_losses(connection, old, new, catalogue, used)
        + [Loss(each.label, not_known) for each in removed if each.name not in catalogue],
    )


def _losses(
    connection: Connection,
    old: Mapping[str, ProviderOffering],
    new: Mapping[str, ProviderOffering],
    catalogue: Mapping[str, OfferingChoice],
    used: int | None,
) -> list[Loss]:
    had = entitlements_of(connection, old.values(), catalogue=catalogue)
    has = entitlements_of(connection, new.values(), catalogue=catalogue)
    return [
        Loss(amount_text(key, count - has.get(key, 0)), _detail(key, has.get(key, 0), used, connection.provider_label))
        for key, count in had.items()
        if count > has.get(key, 0)
    ]


def _detail(key: str, left: int, used: int | None, provider: str) -> str:
    if key == SENDS and used is None:
        return _("There is no usage data for this billing period, so the remaining quota is unknown.")
    if key == SENDS and used is not None and used > left:
        return _("Usage this billing period is already %(n)s over the new package's quota.") % {
            "n": number_text(used - left)
        }
    if key == SENDS and used is not None:
        return _("%(n)s remaining this billing period.") % {"n": number_text(left - used)}
    if key == IPS:
        return _("The most recently added IPs are removed first. They and their sending history can't be restored.")
    if key in (TEAMMATES, SUBUSERS):
        stay = ngettext("%(n)s remains.", "%(n)s remain.", left) if left else _("None remain.")
        return (stay + " " + _("%(provider)s doesn't report how many are in use.")) % {
            "n": number_text(left),
            "provider": provider,
        }
    return ""


def _order(key: str) -> tuple[int, str]:
    keys = list(_AMOUNTS)
    return (keys.index(key) if key in keys else len(keys)), key
