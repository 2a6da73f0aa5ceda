"""Queries of the bulk change pages. The number of queries does not depend on the number of accounts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.core.paginator import Page, Paginator
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from customers.bulk import approval, commands
from customers.bulk.key_results import KeyResult, KeySummary, key_results, key_summary, with_kind
from customers.bulk.plan import OF_KEYS
from customers.connections import catalogue
from customers.labels import cap_text
from customers.models import ChangeSet, ChangeSetItem
from customers.models.operation_states import OPEN, OperationState
from portal.access.models import User
from portal.approvals import approvers
from portal.approvals.queries import WaitingRow
from portal.consistent_reads import streamed_read
from portal.filters import Filter, ListFilters, one_of
from portal.providers import CAPABILITIES

if TYPE_CHECKING:
    _Page = Page[ChangeSetItem]
else:  # generic for the type checker alone
    _Page = Page

SIZE = 50
CONSEQUENCES: dict[str, str] = {
    ChangeSet.Kind.SUSPEND: "suspend_consequences",
    ChangeSet.Kind.UNSUSPEND: "unsuspend_consequences",
    ChangeSet.Kind.DELETE: "delete_consequences",
}
VIEWS: dict[str, str | Promise] = {
    "": gettext_lazy("All"),
    ChangeSetItem.State.LISTING: gettext_lazy("Not listed yet"),
    ChangeSetItem.State.READY: gettext_lazy("Ready"),
    "going": gettext_lazy("In progress"),
    "done": gettext_lazy("Done"),
    "failed": gettext_lazy("Failed"),
    ChangeSetItem.State.MOVED: gettext_lazy("Changed since preview"),
    ChangeSetItem.State.ASIDE: gettext_lazy("Skipped"),
    ChangeSetItem.State.CANCELLED: gettext_lazy("Canceled"),
}
HEADER = (
    "customer",
    "account ID",
    "connection",
    "from",
    "to",
    "warnings",
    "state",
    "details",
    "operation",
    "operation state",
    "result",
    "API key",
)


class SetFilters(ListFilters):
    show = Filter(gettext_lazy("View"), one_of(VIEWS))


@dataclass(frozen=True)
class Effect:
    """The consequences of a change of state at one provider, and for how many accounts."""

    provider: str
    accounts: int
    consequences: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class SetPage:
    change_set: ChangeSet
    effects: list[Effect]
    what: str
    counts: dict[str, int]
    tabs: list[tuple[str, str, int]]
    filters: SetFilters
    page: _Page
    approvers: list[User]
    may_approve: bool
    is_mine: bool
    # Of a bulk change of keys.
    keys: KeySummary | None = None
    results: list[KeyResult] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(n for view, n in self.counts.items() if view != ChangeSetItem.State.ASIDE)

    @property
    def ended(self) -> int:
        waiting = (ChangeSetItem.State.LISTING, ChangeSetItem.State.READY, "going")
        return self.total - sum(self.counts.get(view, 0) for view in waiting)

    @property
    def is_destructive(self) -> bool:
        return self.change_set.kind in (ChangeSet.Kind.SUSPEND, ChangeSet.Kind.KEY_DELETE)

    @property
    def is_begun(self) -> bool:
        drafts = (ChangeSet.State.LISTING, ChangeSet.State.PLANNED, ChangeSet.State.WAITING)
        return self.change_set.state not in drafts

    @property
    def again(self) -> int:
        return sum(self.counts.get(view, 0) for view in (ChangeSetItem.State.MOVED, "refused"))

    @property
    def moves(self) -> bool:
        """True if the page has to refresh itself."""
        running = self.change_set.state in (ChangeSet.State.LISTING, ChangeSet.State.RUNNING)
        return running or self.counts.get("going", 0) > 0

    @property
    def can_be_cancelled(self) -> bool:
        over = (ChangeSet.State.CANCELLED, ChangeSet.State.REFUSED, ChangeSet.State.ENDED)
        return self.change_set.state not in over or (
            self.change_set.state == ChangeSet.State.ENDED and self.counts.get("going", 0) > 0
        )


def set_page(change_set: ChangeSet, person: User, *, asked: Mapping[str, str], now: datetime) -> SetPage:
    counts, filters = _counts(change_set), SetFilters(asked)
    of_keys = change_set.kind in OF_KEYS
    items = _of_view(filters.narrow(with_kind(change_set.items.all())), filters.show).select_related(
        "account__customer", "account__connection", "operation"
    )
    tabs = [(key, str(label), _count(counts, key)) for key, label in VIEWS.items()]
    others = approval.other_approvers(change_set.requested_by, change_set.kind, now=now)
    is_mine = person.pk == change_set.requested_by_id
    page = Paginator(items, SIZE).get_page(asked.get("page"))
    return SetPage(
        change_set=change_set,
        effects=_effects(change_set),
        what=what_text(change_set),
        counts=counts,
        filters=filters,
        approvers=list(others.order_by("name")[:20]),
        tabs=[tab for tab in tabs if tab[2] or tab[0] == filters.show],
        page=page,
        is_mine=is_mine,
        may_approve=others.filter(pk=person.pk).exists(),
        keys=key_summary(change_set, person, now=now) if of_keys else None,
        results=key_results(list(page), person, now=now) if of_keys else [],
    )


def draft_needs_approval(change_set: ChangeSet, *, now: datetime) -> bool:
    """Return whether a draft would need approval if it was submitted now."""
    if change_set.state != ChangeSet.State.PLANNED:
        return False
    ready = change_set.items.filter(state=ChangeSetItem.State.READY).values_list("account_id", flat=True)
    return approval.needs_approval(change_set.requested_by, change_set.kind, set(ready), now=now)


def _effects(change_set: ChangeSet) -> list[Effect]:
    """Return the consequences that a single change has on its own form, of a change that has not been applied."""
    name = CONSEQUENCES.get(change_set.kind)
    if name is None or change_set.state not in (ChangeSet.State.PLANNED, ChangeSet.State.WAITING):
        return []
    ready = change_set.items.filter(state=ChangeSetItem.State.READY).order_by("account__connection__kind")
    found = ready.values_list("account__connection__kind").annotate(n=Count("pk"))
    capabilities = ((CAPABILITIES[kind], n) for kind, n in found)
    return [Effect(can.label, n, getattr(can, name)) for can, n in capabilities]


def _counts(change_set: ChangeSet) -> dict[str, int]:
    counts: dict[str, int] = {}
    found = change_set.items.order_by().values_list("state", "operation__state").annotate(n=Count("pk"))
    for state, operation_state, n in found:
        view = _view_of(state, operation_state)
        counts[view] = counts.get(view, 0) + n
    return counts


def _view_of(state: str, operation_state: str | None) -> str:
    if state == ChangeSetItem.State.FAILED:
        return "refused"
    if state != ChangeSetItem.State.ASKED:
        return state
    if operation_state in (None, OperationState.SUCCEEDED):
        return "done"
    return (
        "going"
        if operation_state in OPEN
        else "failed"
        if operation_state == OperationState.FAILED
        else ChangeSetItem.State.CANCELLED
    )


def _count(counts: dict[str, int], view: str) -> int:
    if not view:
        return sum(counts.values())
    return counts.get(view, 0) + (counts.get("refused", 0) if view == "failed" else 0)


def _of_view(items: QuerySet[ChangeSetItem], view: str) -> QuerySet[ChangeSetItem]:
    asked = items.filter(state=ChangeSetItem.State.ASKED)
    match view:
        case "":
            return items
        case "going":
            return asked.filter(operation__state__in=OPEN)
        case "done":
            return asked.filter(operation=None) | asked.filter(operation__state=OperationState.SUCCEEDED)
        case "failed":
            return asked.filter(operation__state=OperationState.FAILED) | items.filter(state=ChangeSetItem.State.FAILED)
        case ChangeSetItem.State.CANCELLED:
            return items.filter(state=view) | asked.filter(operation__state=OperationState.CANCELLED)
        case state:
            return items.filter(state=state)


def what_text(change_set: ChangeSet) -> str:
    """Return the title of a bulk change, as "Change package: Pro 300K"."""
    label, wanted = str(change_set.get_kind_display()), change_set.wanted
    if "offering" in wanted:
        return f"{label}: {catalogue.offering_label(wanted['offering'])}"
    if "cap" in wanted:
        return f"{label}: {cap_text(wanted['cap'], short=True)}"
    return f"{label}: {wanted['tag']}" if "tag" in wanted else label


def waiting_sets(person: User, lookup: approvers.Lookup) -> list[WaitingRow]:
    """Return the bulk changes that wait, for the list of everything that needs approval."""
    sets = ChangeSet.objects.filter(state=ChangeSet.State.WAITING).order_by("pk")
    sets = sets.select_related("requested_by__custom_role")
    return [_waiting_row(each, person, lookup) for each in sets[:SIZE]]


def _waiting_row(each: ChangeSet, person: User, lookup: approvers.Lookup) -> WaitingRow:
    possible = lookup.others(each.requested_by, *approval.deciding_permissions(each.kind))
    return WaitingRow(
        code=each.code,
        what=what_text(each),
        url=each.get_absolute_url(),
        requested_by=each.requested_by,
        requested_at=each.submitted_at or each.created_at,
        reason=each.reason,
        names=approvers.names(possible),
        is_mine=each.requested_by_id == person.pk,
        may_decide=person in possible,
    )


def own_sets(person: User, *, now: datetime) -> list[tuple[ChangeSet, str]]:
    """Return the user's own requests that are not over, in words; a delete with the customer's name."""
    sets = commands.requests_of(person, now=now)
    deletes = [each.pk for each in sets if each.kind == ChangeSet.Kind.DELETE]
    items = ChangeSetItem.objects.filter(change_set__in=deletes).values_list(
        "change_set", "account__customer__company_name"
    )
    names = dict(items)
    return [(each, ", ".join(filter(None, [what_text(each), names.get(each.pk)]))) for each in sets]


def set_list(number: str) -> Any:
    going = ChangeSetItem.objects.filter(change_set=OuterRef("pk"), operation__state__in=OPEN)
    sets = ChangeSet.objects.select_related("requested_by", "approved_by").annotate(
        accounts=Count("items__account", distinct=True), going=Exists(going)
    )
    page = Paginator(sets.order_by("-pk"), SIZE).get_page(number)
    return page, [(each, what_text(each)) for each in page]


def bulk_export_rows(change_set: ChangeSet) -> Iterator[list[Any]]:
    """Yield the plan and its results, row by row."""
    with streamed_read():
        items = change_set.items.select_related("account__customer", "account__connection", "operation")
        for item in items.iterator(chunk_size=1000):
            operation = item.operation
            yield [
                item.account.customer.company_name,
                item.account.provider_id,
                item.account.connection.name,
                item.was,
                item.becomes,
                " ".join(item.warnings),
                str(item.get_state_display()),
                item.note,
                operation.code if operation else "",
                str(operation.get_state_display()) if operation else "",
                operation.summary if operation else "",
                item.key_id,
            ]
