"""Queries of the operations pages: the filtered list, and one operation."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db.models import Count, Max, Q, QuerySet
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext_lazy

from customers.connections.queries import connection_choices, connection_filter
from customers.models import Account, Operation, RemoteAccount, Scan
from customers.models.operation_states import OPEN, OperationKind, OperationState
from customers.operations.create_search import Candidate
from portal.access.models import User
from portal.filters import Filter, ListFilters, one_of, search_filter, size_filter, sort_filter
from portal.paging import KeyedRows, long_page
from portal.providers import CAPABILITIES
from portal.query_params import uuid_or_none
from portal.state_labels import operation_state_choices

SIZES = (25, 50, 100, 200)
SORTS = {
    "asked": ("pk",),
    "customer": ("account__customer__company_name", "pk"),
    "kind": ("kind", "pk"),
    "state": ("state", "pk"),
}
DEFAULT_SORT = "-asked"
# Operations that wait for a review, as `Operation.needs_a_person` has it: a create whose outcome is unknown, unless it
# continues under an idempotency key, and whatever needs attention.
KEYED = [each.kind for each in CAPABILITIES.values() if each.idempotent_create]
NEEDS_A_PERSON = Q(state=OperationState.NEEDS_ATTENTION) | Q(
    state=OperationState.UNKNOWN, kind=OperationKind.CREATE
) & ~Q(connection__kind__in=KEYED)


class OperationFilters(ListFilters):
    view = Filter(gettext_lazy("View"), one_of(("needs", "open")))
    sort = sort_filter(SORTS, DEFAULT_SORT)
    size = size_filter(SIZES, SIZES[1])
    state = Filter(gettext_lazy("State"), one_of(OperationState.values), lookup="state")
    kind = Filter(gettext_lazy("Type"), one_of(OperationKind.values), lookup="kind")
    connection = connection_filter("connection__public_id")
    who = Filter(gettext_lazy("Requested by"), uuid_or_none, lookup="requested_by__public_id")
    q = search_filter()


def operations_page(asked: Mapping[str, str]) -> dict[str, Any]:
    """Return the list that the URL requests. The number of queries does not depend on the number of rows."""
    filters = OperationFilters(asked)
    counts = Operation.objects.filter(state__in=OPEN).aggregate(
        needs=Count("pk", filter=NEEDS_A_PERSON), open=Count("pk")
    )
    keys = _filtered(filters).order_by(*_order(filters.sort))
    page = long_page(KeyedRows(keys, _with_row()), asked.get("page"), filters.size)
    return {
        "page": page,
        "moving": moving_operations(page.object_list),
        "filters": filters,
        "counts": counts,
        "state_choices": operation_state_choices(),
        "kind_choices": [(value, str(label)) for value, label in OperationKind.choices],
        "connection_choices": connection_choices(),
        "person_choices": _people(),
        "filtered": any(asked.get(name) for name in ("q", "state", "kind", "connection", "who")),
    }


def _people() -> list[tuple[str, str]]:
    asked = Operation.objects.order_by().values("requested_by")
    people = User.objects.filter(pk__in=asked).order_by("name").values_list("public_id", "name", "email")
    return [(str(key), name or email) for key, name, email in people[:200]]


def _with_row() -> QuerySet[Operation]:
    """Return operations with what a row shows of four wide tables."""
    own = ("public_id", "kind", "state", "created_at", "summary", "account__public_id")
    of_others = ("account__customer__company_name", "connection__name", "connection__kind", "requested_by__name")
    rows = Operation.objects.select_related("account__customer", "connection", "requested_by")
    return rows.only(*own, *of_others, "requested_by__email")


def operation_rows(public_ids: list[uuid.UUID]) -> list[Operation]:
    """Return operations with what their rows in a list show; those that no longer exist are left out."""
    return list(_with_row().filter(public_id__in=public_ids))


def moving_operations(operations: Iterable[Operation]) -> list[tuple[uuid.UUID, int]]:
    """Return which of them have not ended, and after how many seconds each is worth another look."""
    return [(each.public_id, 15 if each.needs_a_person else 2) for each in operations if not each.is_final]


def _filtered(filters: OperationFilters) -> QuerySet[Operation]:
    found = Operation.objects.all()
    if filters.view == "needs":
        found = found.filter(NEEDS_A_PERSON)
    elif filters.view == "open":
        found = found.filter(state__in=OPEN)
    if text := filters.q:
        found = found.filter(_search(text))
    return filters.narrow(found)


def _search(text: str) -> Q:
    """Match operations by code ("op_7C31AB", or the start of one), by the provider's ID, else by customer."""
    lower = text.casefold()
    found = Q(account__customer__search__contains=lower) | Q(account__provider_id=text)
    bare = lower.removeprefix("op_")
    if re.fullmatch(r"[0-9a-f]{1,32}", bare):
        low, high = uuid.UUID(bare.ljust(32, "0")), uuid.UUID(bare.ljust(32, "f"))
        code = Q(public_id__gte=low, public_id__lte=high)
        return code if lower.startswith("op_") else found | code
    if whole := uuid_or_none(text):
        return Q(public_id=whole)
    return found


def _order(sort: str) -> tuple[str, ...]:
    backwards = sort.startswith("-")
    return tuple(f"-{each}" if backwards else each for each in SORTS[sort.lstrip("-")])


def operation_or_404(public_id: uuid.UUID) -> Operation:
    """Return one operation with everything its page shows."""
    related = ("account__customer", "account__connection", "connection", "requested_by", "retry_of", "follows")
    return get_object_or_404(Operation.objects.select_related(*related), public_id=public_id)


def waits_for(operation: Operation) -> Operation | None:
    """Return the earlier operation of the same account that a queued one waits for."""
    if operation.state != OperationState.QUEUED:
        return None
    earlier = Operation.objects.open().filter(account=operation.account_id, number__lt=operation.number)
    return earlier.order_by("-number").first()


def candidates_of(operation: Operation) -> list[Candidate]:
    return [Candidate.of_row(row) for row in operation.result.get("candidates", [])]


def others_left(operation: Operation) -> list[str]:
    """Return the IDs of the candidates that were not linked and that the provider still lists as unlinked accounts."""
    others = operation.result.get("others", [])
    if not others:
        return []
    left = RemoteAccount.objects.orphans().filter(connection=operation.connection, provider_id__in=others)
    return list(left.order_by("provider_id").values_list("provider_id", flat=True))


def looks_at_the_list(operation: Operation) -> tuple[int, datetime | None]:
    """Return how often the provider's whole list was read since the outcome is unknown, and when last."""
    if operation.unknown_at is None or operation.kind != OperationKind.CREATE:
        return 0, None
    since = Scan.objects.filter(
        connection=operation.connection, state=Scan.State.COMPLETE, started_at__gte=operation.unknown_at
    )
    found = since.aggregate(n=Count("pk"), last=Max("started_at"))
    return found["n"], found["last"]


def last_failed(account: Account, *kinds: OperationKind) -> Operation | None:
    """Return the newest operation of these kinds, when it failed: the page about them shows its result."""
    last = Operation.objects.filter(account=account, kind__in=kinds).order_by("-pk").first()
    return last if last and last.state == OperationState.FAILED else None


def is_fresh(account: Account, read_at: datetime | None, *kinds: OperationKind, since: datetime) -> bool:
    """Return whether the reading is not older than `since`, and no operation of these kinds ended after it."""
    if read_at is None or read_at < since:
        return False
    return not Operation.objects.filter(account=account, kind__in=kinds, finished_at__gt=read_at).exists()
