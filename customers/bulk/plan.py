"""The effect of one change on each of many accounts. Reads our own tables alone; the number of queries depends on the
number of chunks, not of accounts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from django.utils.translation import gettext as _

from customers.connections import catalogue, scopes
from customers.labels import cap_text
from customers.models import Account, ChangeSet, Hold, Operation
from customers.models.account import AccountState, as_offerings, as_rows
from customers.models.customer import MOST_TAGS
from customers.models.operation_states import OPEN, OperationKind
from customers.observed import duplicates
from customers.schedules import holds
from portal.formats import number_text
from portal.providers import ProviderOffering
from portal.providers import ReportedState as TheirState
from portal.state_labels import account_state_text

CHUNK = 500
OF_OFFERINGS = (ChangeSet.Kind.PACKAGE, ChangeSet.Kind.ADDON_ADD, ChangeSet.Kind.ADDON_REMOVE)
OF_TAGS = (ChangeSet.Kind.TAG_ADD, ChangeSet.Kind.TAG_REMOVE)
# The kind of operation that each kind of bulk change requests. Tags are the customer's: they need none.
KIND_OF = {
    ChangeSet.Kind.SUSPEND: OperationKind.SUSPEND,
    ChangeSet.Kind.UNSUSPEND: OperationKind.UNSUSPEND,
    ChangeSet.Kind.DELETE: OperationKind.DELETE,
    ChangeSet.Kind.PACKAGE: OperationKind.OFFERINGS,
    ChangeSet.Kind.ADDON_ADD: OperationKind.OFFERINGS,
    ChangeSet.Kind.ADDON_REMOVE: OperationKind.OFFERINGS,
    ChangeSet.Kind.CAP: OperationKind.SETTINGS,
}


class NotPossible(Exception):
    """The reason why this account is left unchanged."""


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
        except NotPossible as refusal:
            row.note = str(refusal)[:500]
        return row

    def _look(self, row: PlanRow, under_way: list[Operation], hold: Hold | None) -> None:
        """Add what prevents any change at the provider, and warnings."""
        account, kind = row.account, KIND_OF[self.kind]
        if not account.provider_id:
            raise NotPossible(_("The account does not exist at the provider yet."))
        if account.duplicate_of_id is not None:
            raise NotPossible(duplicates.refusal(account))
        if account.state == AccountState.DELETED:
            raise NotPossible(_("The account is deleted."))
        if hold:
            raise NotPossible(hold.text)
        for each in under_way:
            if each.kind in (kind, OperationKind.DELETE):
                words = {"kind": each.get_kind_display(), "code": each.code}
                raise NotPossible(_("%(kind)s is under way already: %(code)s.") % words)
        if scope := scopes.missing_scope(account.connection, kind):
            raise NotPossible(scopes.missing_text(account.connection, scope))
        if under_way:
            row.warnings.append(_("Waits its turn behind %(code)s.") % {"code": under_way[0].code})
        if account.connection.paused:
            row.warnings.append(_("%(name)s is paused: it waits.") % {"name": account.connection.name})

    def _state(self, row: PlanRow) -> None:
        account, can = row.account, row.account.connection.capabilities
        target = {
            ChangeSet.Kind.SUSPEND: AccountState.STOPPED_BY_US,
            ChangeSet.Kind.UNSUSPEND: AccountState.ACTIVE,
        }.get(self.kind, AccountState.DELETED)
        row.was, row.becomes = account_state_text(account.state, can.label), account_state_text(target, can.label)
        if self.kind != ChangeSet.Kind.DELETE:
            if TheirState.STOPPED_BY_US not in can.writable_states:
                raise NotPossible(_("%(provider)s has no way to suspend an account.") % {"provider": can.label})
            if account.state in (AccountState.STOPPED_BY_PROVIDER, AccountState.BANNED):
                raise NotPossible(_("%(provider)s stopped this account itself.") % {"provider": can.label})
            if account.state == account.desired_state == target:
                raise NotPossible(_("No change needed."))
        if self.kind == ChangeSet.Kind.SUSPEND and can.reason_is_shown and len(self.reason) > can.reason_max:
            raise NotPossible(_("The customer reads the reason, and it is too long for %s.") % can.label)
        row.after = {"state": target.value}

    def _offerings(self, row: PlanRow) -> None:
        account = row.account
        connection, name = account.connection, self.wanted["offering"]
        if not connection.capabilities.offerings:
            raise NotPossible(_("%(provider)s has no packages.") % {"provider": connection.provider_label})
        if account.offerings is None:
            raise NotPossible(_("The account's offerings were not read yet."))
        if connection.pk not in self._known:
            self._known[connection.pk] = catalogue.known(connection)
        known = self._known[connection.pk]
        choice = known.get(name)
        if self.kind != ChangeSet.Kind.ADDON_REMOVE and (choice is None or not choice.sold):
            raise NotPossible(_("%(name)s does not sell this.") % {"name": connection.name})
        before = as_offerings(account.offerings)
        after = self._list(before)
        if as_rows(after) == as_rows(before):
            raise NotPossible(_("No change needed."))
        if account.desired_offerings != as_rows(before):
            row.warnings.append(_("What the provider has differs from what was wanted: see the drift board."))
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
            raise NotPossible(_("%(provider)s has no monthly cap.") % {"provider": account.provider_label})
        if account.settings is None:
            raise NotPossible(_("The account's settings were not read yet."))
        row.was, row.becomes = cap_text(account.settings["monthly_cap"], short=True), cap_text(cap, short=True)
        if account.settings["monthly_cap"] == cap == account.desired_settings.get("monthly_cap", cap):
            raise NotPossible(_("No change needed."))
        if cap and account.usage_used is None:
            row.warnings.append(_("This cycle's use is not read."))
        elif cap and account.usage_used is not None and account.usage_used > cap:
            row.warnings.append(_("%s are used in this cycle already.") % number_text(account.usage_used))
        row.after = {"monthly_cap": cap}

    def _tags(self, row: PlanRow) -> None:
        customer, tag = row.account.customer, self.wanted["tag"]
        if customer.pk in self._customers:
            raise NotPossible(_("Another account of this customer stands in the plan."))
        self._customers.add(customer.pk)
        there = any(each.casefold() == tag.casefold() for each in customer.tags)
        row.was = ", ".join(customer.tags)[:500]
        if there == (self.kind == ChangeSet.Kind.TAG_ADD):
            raise NotPossible(_("No change needed."))
        if self.kind == ChangeSet.Kind.TAG_ADD and len(customer.tags) >= MOST_TAGS:
            raise NotPossible(_("The customer has %d tags, the most there may be.") % MOST_TAGS)
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
