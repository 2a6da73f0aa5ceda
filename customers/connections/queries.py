"""Queries of the connections pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from customers.models import Account, Connection, Operation
from customers.models.account import AccountState
from customers.models.operation_states import OPEN
from portal.providers import Scope

# The checks of `Provider.verify` in words; a name not listed here is shown as it is.
CHECK_WORDS = {
    "accounts": _("Account list"),
    "catalogue": _("Catalogue"),
    "identity": _("Proof of identity"),
    "credits": _("Usage: credits"),
    "overview_json": _("Usage: v2 overview, JSON"),
    "overview_xml": _("Usage: v2 overview, XML"),
    "pooled": _("Usage: one report of all accounts"),
}


def check_rows(connection: Connection) -> list[dict[str, Any]]:
    """Return the results of the last check, without the scopes of our credential, which `scope_rows` has."""
    rights = {scope.name for scope in connection.capabilities.own_scopes}
    return [
        check | {"words": CHECK_WORDS.get(check["name"], check["name"])}
        for check in connection.checks
        if check["name"] not in rights
    ]


@dataclass(frozen=True)
class ScopeRow:
    """A scope our credential may have. `granted` None = not tried, or not found out; `detail` is the reason."""

    scope: Scope
    granted: bool | None
    detail: str = ""


def scope_rows(connection: Connection) -> list[ScopeRow]:
    found = {check["name"]: check for check in connection.checks}
    nothing: dict[str, Any] = {"ok": None, "detail": ""}
    rows = [(scope, found.get(scope.name, nothing)) for scope in connection.capabilities.own_scopes]
    return [ScopeRow(scope, check["ok"], check["detail"]) for scope, check in rows]


def connection_rows() -> QuerySet[Connection]:
    """Return every connection with its number of accounts and of operations not finished.

    Each number is a subquery of its own: a join of both would read accounts times operations.
    """
    accounts = Account.objects.filter(provider_id__isnull=False).exclude(state=AccountState.DELETED)
    unfinished = Operation.objects.filter(state__in=OPEN)
    return (
        Connection.objects.select_related("breaker")
        .annotate(account_count=_count_of(accounts), open_count=_count_of(unfinished))
        .order_by("name")
    )


def _count_of(rows: QuerySet[Any]) -> Coalesce:
    mine = rows.filter(connection=OuterRef("pk")).order_by().values("connection")
    return Coalesce(Subquery(mine.annotate(n=Count("pk")).values("n")), 0, output_field=IntegerField())


def connection_choices() -> list[tuple[str, str]]:
    """Return the choices of a filter by connection: public ID and name."""
    return [(str(key), name) for key, name in Connection.objects.values_list("public_id", "name")]
