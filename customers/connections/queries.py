"""Queries of the connections pages."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from customers.models import Account, Connection, Operation
from customers.models.account import AccountState
from customers.models.operation_states import FINAL
from portal.filters import Filter

# The checks of `Provider.verify` in words; a name not listed here is shown as it is.
CHECK_WORDS = {
    "accounts": _("Account list"),
    "catalogue": _("Catalog"),
    "identity": _("Account email lookup"),
    "credits": _("Usage: Credits API"),
    "overview_json": _("Usage: v2 overview (JSON)"),
    "overview_xml": _("Usage: v2 overview (XML)"),
    "pooled": _("Usage: pooled usage report"),
}


def check_rows(connection: Connection) -> list[dict[str, Any]]:
    """Return the results of the last check, without the scopes of our credential, which `scope_rows` has."""
    rights = {scope.name for scope in connection.capabilities.own_scopes}
    return [
        check | {"words": CHECK_WORDS.get(check["name"], check["name"])}
        for check in connection.checks
        if check["name"] not in rights
    ]


def scope_rows(connection: Connection) -> list[dict[str, Any]]:
    """Return the scopes our credential may have, each with its check: `ok` None = not tried, or not found out; `detail`
    is the reason."""
    found = {check["name"]: check for check in connection.checks}
    nothing = {"ok": None, "detail": ""}
    return [{"scope": scope, **found.get(scope.name, nothing)} for scope in connection.capabilities.own_scopes]


def connection_rows() -> QuerySet[Connection]:
    """Return every connection with its number of accounts and of operations not finished.

    Each number is a subquery of its own: a join of both would read accounts times operations.
    """
    accounts = Account.objects.filter(provider_id__isnull=False).exclude(state=AccountState.DELETED)
    unfinished = Operation.objects.exclude(state__in=FINAL)  # as the index of open operations has it
    return (
        Connection.objects.select_related("breaker")
        .annotate(account_count=_count_of(accounts), open_count=_count_of(unfinished))
        .order_by("name")
    )


def _count_of(rows: QuerySet[Any]) -> Coalesce:
    mine = rows.filter(connection=OuterRef("pk")).order_by().values("connection")
    return Coalesce(Subquery(mine.annotate(n=Count("*")).values("n")), 0, output_field=IntegerField())


def connection_filter(lookup: str) -> Filter:
    """Return a list's filter by connection."""
    names = connection_choices
    return Filter(
        _("Connection"),
        lambda text: text if text in dict(names()) else None,
        lookup=lookup,
        words=lambda key: dict(names()).get(key, key),
    )


def connection_choices() -> list[tuple[str, str]]:
    """Return the choices of a filter by connection: public ID and name."""
    return [(str(key), name) for key, name in Connection.objects.values_list("public_id", "name")]
