"""Queries of the operations pages: the filtered list, and one operation."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.core.paginator import Page, Paginator
from django.db.models import Count, Max, Q, QuerySet

from customers.models import Connection, Operation, Scan
from customers.models.operation_states import OPEN, OperationKind, OperationState
from portal.access.models import User
from portal.providers import CAPABILITIES
from portal.query_params import moment_or_none, searchable, uuid_or_none
from portal.state_labels import operation_state_choices

SIZES = (25, 50, 100, 200)
SORTS = {
    "asked": ("pk",),
    "customer": ("account__customer__company_name", "pk"),
    "kind": ("kind", "pk"),
    "state": ("state", "pk"),
}
DEFAULT_SORT = "-asked"
# Filters of the URL; a search keeps them.
KEPT = ("state", "kind", "connection", "who")
# Operations that wait for a review, as `Operation.needs_a_person` has it: a create whose outcome is unknown, unless it
# continues under an idempotency key, and whatever needs attention.
KEYED = [each.kind for each in CAPABILITIES.values() if each.idempotent_create]
NEEDS_A_PERSON = Q(state=OperationState.NEEDS_ATTENTION) | Q(
    state=OperationState.UNKNOWN, kind=OperationKind.CREATE
) & ~Q(connection__kind__in=KEYED)


@dataclass(frozen=True)
class OperationsPage:
    page: Page[Operation]
    view: str
    counts: dict[str, int]
    state_choices: list[tuple[str, str]]
    kind_choices: list[tuple[str, str]]
    connection_choices: list[tuple[str, str]]
    person_choices: list[tuple[str, str]]
    filtered: bool
    kept: list[tuple[str, str]]


def operations_page(asked: Mapping[str, str]) -> OperationsPage:
    """Return the list that the URL requests. The number of queries does not depend on the number of rows."""
    found = _filtered(asked)
    counts = Operation.objects.filter(state__in=OPEN).aggregate(
        needs=Count("pk", filter=NEEDS_A_PERSON), open=Count("pk")
    )
    size = next((each for each in SIZES if str(each) == asked.get("size")), SIZES[1])
    page = Paginator(found.order_by(*_order(asked.get("sort", ""))), size)
    return OperationsPage(
        page=page.get_page(asked.get("page")),
        view=asked.get("view", "") if asked.get("view") in ("needs", "open") else "",
        counts=counts,
        state_choices=operation_state_choices(),
        kind_choices=[(value, str(label)) for value, label in OperationKind.choices],
        connection_choices=[(str(key), name) for key, name in Connection.objects.values_list("public_id", "name")],
        person_choices=_people(),
        filtered=any(asked.get(name) for name in ("q", *KEPT)),
        kept=[(name, asked[name]) for name in ("view", "sort", "size", *KEPT) if asked.get(name)],
    )


def _people() -> list[tuple[str, str]]:
    asked = Operation.objects.order_by().values("requested_by")
    people = User.objects.filter(pk__in=asked).order_by("name").values_list("public_id", "name", "email")
    return [(str(key), name or email) for key, name, email in people[:200]]


def _filtered(asked: Mapping[str, str]) -> QuerySet[Operation]:
    found = Operation.objects.select_related("account__customer", "connection", "requested_by")
    if asked.get("view") == "needs":
        found = found.filter(NEEDS_A_PERSON)
    elif asked.get("view") == "open":
        found = found.filter(state__in=OPEN)
    if asked.get("state") in OperationState.values:
        found = found.filter(state=asked["state"])
    if asked.get("kind") in OperationKind.values:
        found = found.filter(kind=asked["kind"])
    if connection := uuid_or_none(asked.get("connection", "")):
        found = found.filter(connection__public_id=connection)
    if person := uuid_or_none(asked.get("who", "")):
        found = found.filter(requested_by__public_id=person)
    text = searchable(asked.get("q", ""))
    return found.filter(_search(text)) if text else found


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
    column = sort if sort.lstrip("-") in SORTS else DEFAULT_SORT
    backwards = column.startswith("-")
    return tuple(f"-{each}" if backwards else each for each in SORTS[column.lstrip("-")])


def operation_of(public_id: uuid.UUID) -> Operation | None:
    """Return one operation with everything its page shows, or None."""
    related = ("account__customer", "account__connection", "connection", "requested_by", "retry_of", "follows")
    return Operation.objects.select_related(*related).filter(public_id=public_id).first()


def waits_for(operation: Operation) -> Operation | None:
    """Return the earlier operation of the same account that a queued one waits for."""
    if operation.state != OperationState.QUEUED:
        return None
    earlier = Operation.objects.open().filter(account=operation.account_id, number__lt=operation.number)
    return earlier.order_by("-number").first()


@dataclass(frozen=True)
class CandidateRow:
    """An account that an unknown create may have made, as the last scan found it."""

    provider_id: str
    made_at: datetime | None
    named: str
    address: str
    email: str
    offerings: str
    verdict: str


def candidates_of(operation: Operation) -> list[CandidateRow]:
    return [
        CandidateRow(
            provider_id=str(row.get("provider_id", "")),
            made_at=moment_or_none(row.get("made_at") or row.get("created_at") or ""),
            named=str(row.get("name", "")),
            address=str(row.get("address", "")),
            email=str(row.get("email", "")),
            offerings=str(row.get("offerings", "")),
            verdict=str(row.get("verdict", "")),
        )
        for row in operation.result.get("candidates", [])
    ]


def looks_at_the_list(operation: Operation) -> tuple[int, datetime | None]:
    """Return how often the provider's whole list was read since the outcome is unknown, and when last."""
    if operation.unknown_at is None or operation.kind != OperationKind.CREATE:
        return 0, None
    since = Scan.objects.filter(
        connection=operation.connection, state=Scan.State.COMPLETE, started_at__gte=operation.unknown_at
    )
    found = since.aggregate(n=Count("pk"), last=Max("started_at"))
    return found["n"], found["last"]
