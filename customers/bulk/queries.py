"""Queries of the bulk change pages. The number of queries does not depend on the number of accounts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.paginator import Page, Paginator
from django.db.models import Count, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from customers.bulk import commands
from customers.connections import catalogue
from customers.labels import cap_text
from customers.models import ChangeSet, ChangeSetItem
from customers.models.operation_states import OPEN, OperationState
from portal.access.models import User

if TYPE_CHECKING:
    _Page = Page[ChangeSetItem]
else:  # generic for the type checker alone
    _Page = Page

SIZE = 50
VIEWS: dict[str, str | Promise] = {
    "": gettext_lazy("All"),
    ChangeSetItem.State.READY: gettext_lazy("To be changed"),
    "going": gettext_lazy("On its way"),
    "done": gettext_lazy("Done"),
    "failed": gettext_lazy("Failed"),
    ChangeSetItem.State.MOVED: gettext_lazy("Changed since the plan"),
    ChangeSetItem.State.ASIDE: gettext_lazy("Left as it is"),
    ChangeSetItem.State.CANCELLED: gettext_lazy("Cancelled"),
}
HEADER = (
    "customer", "account id", "connection", "from", "to", "to think of", "state", "why", "operation",
    "operation state", "what became of it",
)  # fmt: skip


@dataclass(frozen=True)
class SetPage:
    change_set: ChangeSet
    what: str
    counts: dict[str, int]
    tabs: list[tuple[str, str, int]]
    view: str
    page: _Page
    approvers: list[User]
    may_approve: bool
    is_mine: bool

    @property
    def total(self) -> int:
        return sum(n for view, n in self.counts.items() if view != ChangeSetItem.State.ASIDE)

    @property
    def ended(self) -> int:
        return self.total - self.counts.get(ChangeSetItem.State.READY, 0) - self.counts.get("going", 0)

    @property
    def again(self) -> int:
        return sum(self.counts.get(view, 0) for view in (ChangeSetItem.State.MOVED, "refused"))

    @property
    def moves(self) -> bool:
        """True if the page has to refresh itself."""
        running = self.change_set.state == ChangeSet.State.RUNNING
        return running or self.counts.get("going", 0) > 0

    @property
    def can_be_cancelled(self) -> bool:
        over = (ChangeSet.State.CANCELLED, ChangeSet.State.REFUSED, ChangeSet.State.ENDED)
        return self.change_set.state not in over or (
            self.change_set.state == ChangeSet.State.ENDED and self.counts.get("going", 0) > 0
        )


def set_page(change_set: ChangeSet, person: User, *, view: str, number: str) -> SetPage:
    counts = _counts(change_set)
    view = view if view in VIEWS else ""
    items = _of_view(change_set.items.all(), view).select_related(
        "account__customer", "account__connection", "operation"
    )
    tabs = [(key, str(label), _count(counts, key)) for key, label in VIEWS.items()]
    others = list(commands.other_approvers(change_set.requested_by, change_set.kind).order_by("name")[:20])
    is_mine = person.pk == change_set.requested_by_id
    return SetPage(
        change_set=change_set, what=what_text(change_set), counts=counts, view=view, approvers=others,
        tabs=[tab for tab in tabs if tab[2] or tab[0] == view], page=Paginator(items, SIZE).get_page(number),
        is_mine=is_mine, may_approve=not is_mine and commands.may(person, change_set.kind),
    )  # fmt: skip


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


def waiting_sets(person: User) -> list[tuple[ChangeSet, str]]:
    """Return the bulk changes that wait for the user's approval, in words."""
    return [(each, what_text(each)) for each in commands.waiting_for(person)]


def set_list(number: str) -> Any:
    sets = ChangeSet.objects.select_related("requested_by", "approved_by").annotate(accounts=Count("items"))
    page = Paginator(sets.order_by("-pk"), SIZE).get_page(number)
    return page, [(each, what_text(each)) for each in page]


def bulk_export_rows(change_set: ChangeSet) -> Iterator[list[Any]]:
    """Yield the plan and its results, row by row."""
    items = change_set.items.select_related("account__customer", "account__connection", "operation")
    for item in items.iterator(chunk_size=1000):
        operation = item.operation
        yield [
            item.account.customer.company_name, item.account.provider_id, item.account.connection.name, item.was,
            item.becomes, " ".join(item.warnings), str(item.get_state_display()), item.note,
            operation.code if operation else "", str(operation.get_state_display()) if operation else "",
            operation.summary if operation else "",
        ]  # fmt: skip
