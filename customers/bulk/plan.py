"""The effect of one change on each of many accounts. Reads our own tables alone; the number of queries depends on the
number of chunks, not of accounts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from itertools import islice
from typing import Any

from django.utils.translation import gettext as _

from customers.connections import catalogue
from customers.labels import cap_text
from customers.models import Account, ChangeSet, ChangeSetItem, Hold, Operation
from customers.models.account import AccountState, as_offerings, as_rows
from customers.models.customer import MOST_TAGS
from customers.models.operation_states import OPEN, PERMISSION_OF_KIND, OperationKind
from customers.operations.request import why_blocked, why_state_is_fixed
from customers.schedules import holds
from portal.access.permissions import Permission
from portal.formats import number_text
from portal.providers import ProviderOffering
from portal.refusals import Refusal
from portal.state_labels import account_state_text

CHUNK = 500
OF_OFFERINGS = (ChangeSet.Kind.PACKAGE, ChangeSet.Kind.ADDON_ADD, ChangeSet.Kind.ADDON_REMOVE)
OF_TAGS = (ChangeSet.Kind.TAG_ADD, ChangeSet.Kind.TAG_REMOVE)
OF_KEYS = (ChangeSet.Kind.KEY_ROTATE, ChangeSet.Kind.KEY_DELETE)
# The kind of operation that each kind of bulk change requests. Tags are the customer's: they need none.
KIND_OF = {
    ChangeSet.Kind.SUSPEND: OperationKind.SUSPEND,
    ChangeSet.Kind.UNSUSPEND: OperationKind.UNSUSPEND,
    ChangeSet.Kind.DELETE: OperationKind.DELETE,
    ChangeSet.Kind.PACKAGE: OperationKind.OFFERINGS,
    ChangeSet.Kind.ADDON_ADD: OperationKind.OFFERINGS,
    ChangeSet.Kind.ADDON_REMOVE: OperationKind.OFFERINGS,
    ChangeSet.Kind.CAP: OperationKind.SETTINGS,
    ChangeSet.Kind.KEY_ROTATE: OperationKind.KEY_CREATE,
    ChangeSet.Kind.KEY_DELETE: OperationKind.KEY_DELETE,
}


def permission_of(kind: str) -> Permission:
    """Return the permission that a bulk change needs, for requesting and for approving it."""
    wanted = KIND_OF.get(ChangeSet.Kind(kind))
    return PERMISSION_OF_KIND[wanted] if wanted else Permission.EDIT_CUSTOMER


def permissions_of_change(kind: str) -> list[Permission]:
    """Return all permissions that a bulk change needs for requesting it. Rotating keys also deletes them."""
    both = [PERMISSION_OF_KIND[OperationKind.KEY_DELETE]] if kind == ChangeSet.Kind.KEY_ROTATE else []
    return [permission_of(kind), *both]


def hash_of(change_set: ChangeSet) -> str:
    """Return the hash of all that is to be done, by the rows as they are now."""
    rows = change_set.items.exclude(state=ChangeSetItem.State.ASIDE).order_by("account_id", "key_id", "pk")
    said = [change_set.kind, change_set.wanted, change_set.reason]
    facts = rows.values_list("account_id", "version", "before", "after")
    return sha256(json.dumps([said, [list(each) for each in facts]], sort_keys=True).encode()).hexdigest()


class Moved(Exception):
    """The account, or the key, changed since it was planned."""


@dataclass
class PlanRow:
    account: Account
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    was: str = ""
    becomes: str = ""
    warnings: list[str] = field(default_factory=list)
    note: str = ""


class Planner:
    def __init__(self, kind: str, wanted: dict[str, Any], reason: str, *, now: datetime) -> None:
        self.kind, self.wanted, self.reason, self.now = ChangeSet.Kind(kind), wanted, reason, now
        self._known: dict[int, dict[str, catalogue.OfferingChoice]] = {}
        self._customers: set[int] = set()

    def rows(self, account_ids: Iterable[int]) -> Iterator[PlanRow]:
        waiting = iter(sorted(set(account_ids)))
        while chunk := list(islice(waiting, CHUNK)):
            yield from self._chunk(chunk)

    def _chunk(self, account_ids: list[int]) -> list[PlanRow]:
        accounts = Account.objects.filter(pk__in=account_ids).select_related("customer", "connection").order_by("pk")
        under_way: dict[int, list[Operation]] = {}
        for each in Operation.objects.filter(account__in=account_ids, state__in=OPEN).order_by("pk"):
            under_way.setdefault(each.account_id, []).append(each)
        held = holds.held(account_ids, now=self.now) if self.kind == ChangeSet.Kind.SUSPEND else {}
        return [self._row(each, under_way.get(each.pk, []), held.get(each.pk)) for each in accounts]

    def _row(self, account: Account, under_way: list[Operation], hold: Hold | None) -> PlanRow:
        row = PlanRow(account, before=base_of(account, self.kind))
        try:
            if self.kind in OF_TAGS:
                self._tags(row)
                return row
            self._look(row, under_way, hold)
            if self.kind in OF_OFFERINGS:
                self._offerings(row)
            elif self.kind == ChangeSet.Kind.CAP:
                self._cap(row)
            else:
                self._state(row)
        except Refusal as refusal:
            row.note = str(refusal)[:500]
        return row

    def _look(self, row: PlanRow, under_way: list[Operation], hold: Hold | None) -> None:
        """Add what prevents any change at the provider, and warnings."""
        account, kind = row.account, KIND_OF[self.kind]
        same = next((each for each in under_way if each.kind in (kind, OperationKind.DELETE)), None)
        despite = bool(hold and self.wanted.get("despite_hold") == str(hold.public_id))
        if hold and despite:
            row.warnings.append(hold.text)
        if why := (hold and not despite and hold.text) or why_blocked(account, kind, same):
            raise Refusal(why)
        if under_way:
            row.warnings.append(_("Starts after %(code)s finishes.") % {"code": under_way[0].code})
        if account.connection.paused:
            row.warnings.append(
                _("%(name)s is paused. The change will wait until it resumes.") % {"name": account.connection.name}
            )

    def _state(self, row: PlanRow) -> None:
        account, can = row.account, row.account.connection.capabilities
        target = {
            ChangeSet.Kind.SUSPEND: AccountState.STOPPED_BY_US,
            ChangeSet.Kind.UNSUSPEND: AccountState.ACTIVE,
        }.get(self.kind, AccountState.DELETED)
        row.was, row.becomes = account_state_text(account.state, can.label), account_state_text(target, can.label)
        if self.kind != ChangeSet.Kind.DELETE:
            if why := why_state_is_fixed(account):
                raise Refusal(why)
            if account.state == account.desired_state == target:
                raise Refusal(_("No change needed."))
        if self.kind == ChangeSet.Kind.SUSPEND and can.reason_is_shown and len(self.reason) > can.reason_max:
            raise Refusal(_("The reason is too long for %s, which shows it to the customer.") % can.label)
        row.after = {"state": target.value}

    def _offerings(self, row: PlanRow) -> None:
        account = row.account
        connection, name = account.connection, self.wanted["offering"]
        if not connection.capabilities.offerings:
            raise Refusal(_("%(provider)s has no packages.") % {"provider": connection.provider_label})
        if account.offerings is None:
            raise Refusal(_("The account's offerings haven't been loaded yet."))
        if connection.pk not in self._known:
            self._known[connection.pk] = catalogue.known(connection)
        known = self._known[connection.pk]
        choice = known.get(name)
        if self.kind != ChangeSet.Kind.ADDON_REMOVE and (choice is None or not choice.sold):
            raise Refusal(_("This offering isn't available on %(name)s.") % {"name": connection.name})
        before = as_offerings(account.offerings)
        after = self._list(before)
        if as_rows(after) == as_rows(before):
            raise Refusal(_("No change needed."))
        if account.desired_offerings != as_rows(before):
            row.warnings.append(_("The provider's offerings differ from the expected ones. See Drift."))
        changes = catalogue.compare(connection, before, after, used=account.usage_used, catalogue=known)
        row.warnings += [" ".join(filter(None, (_("Loses %s.") % loss.what, loss.detail))) for loss in changes.losses]
        row.was, row.becomes = _names(before), _names(after)
        row.after = {"offerings": as_rows(after)}

    def _list(self, before: list[ProviderOffering]) -> list[ProviderOffering]:
        name = self.wanted["offering"]
        if self.kind == ChangeSet.Kind.PACKAGE:
            return [ProviderOffering(name, "package", 1), *(each for each in before if each.type != "package")]
        if self.kind == ChangeSet.Kind.ADDON_REMOVE:
            return [each for each in before if each.name != name or each.type != "addon"]
        return before if any(each.name == name for each in before) else [*before, ProviderOffering(name, "addon", 1)]

    def _cap(self, row: PlanRow) -> None:
        account, cap = row.account, self.wanted["cap"]
        if not account.connection.capabilities.settings:
            raise Refusal(_("%(provider)s has no monthly cap.") % {"provider": account.provider_label})
        if account.settings is None:
            raise Refusal(_("The account's settings haven't been loaded yet."))
        row.was, row.becomes = cap_text(account.settings["monthly_cap"], short=True), cap_text(cap, short=True)
        if account.settings["monthly_cap"] == cap == account.desired_settings.get("monthly_cap", cap):
            raise Refusal(_("No change needed."))
        if cap and account.usage_used is None:
            row.warnings.append(_("There is no usage data for this billing period."))
        elif cap and account.usage_used is not None and account.usage_used > cap:
            row.warnings.append(
                _("Usage this billing period (%s) already exceeds the new cap.") % number_text(account.usage_used)
            )
        row.after = {"monthly_cap": cap}

    def _tags(self, row: PlanRow) -> None:
        customer, tag = row.account.customer, self.wanted["tag"]
        if customer.pk in self._customers:
            raise Refusal(_("Another account of this customer is already included."))
        self._customers.add(customer.pk)
        there = any(each.casefold() == tag.casefold() for each in customer.tags)
        row.was = ", ".join(customer.tags)[:500]
        if there == (self.kind == ChangeSet.Kind.TAG_ADD):
            raise Refusal(_("No change needed."))
        if self.kind == ChangeSet.Kind.TAG_ADD and len(customer.tags) >= MOST_TAGS:
            raise Refusal(_("The customer already has %d tags, the maximum.") % MOST_TAGS)
        kept = [each for each in customer.tags if each.casefold() != tag.casefold()]
        row.after = {"tags": [*kept, tag] if self.kind == ChangeSet.Kind.TAG_ADD else kept}
        row.becomes = ", ".join(row.after["tags"])[:500]


def base_of(account: Account, kind: str) -> dict[str, Any]:
    """Return the part of the account that the change starts from. Where it differs when applied, the plan is out of
    date; the account's version alone does not show what the provider or a reading changed."""
    if kind in OF_TAGS:
        return {"tags": account.customer.tags, "customer": account.customer_id}
    if kind in OF_OFFERINGS:
        return {"offerings": account.offerings}
    return {"settings": account.settings} if kind == ChangeSet.Kind.CAP else {"state": account.state}


def _names(offerings: list[ProviderOffering]) -> str:
    labels = [
        catalogue.offering_label(each["name"]) + (f" x {each['quantity']}" if each["quantity"] > 1 else "")
        for each in as_rows(offerings)
    ]
    return ", ".join(labels)[:500]
