"""What the connections pages read."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q, QuerySet
from django.utils.translation import gettext_lazy as _

from customers.models import Connection
from customers.models.account import AccountState
from customers.states import OPEN

# What `Provider.verify` tries, in words for people; a name not listed here is shown as it is.
CHECK_WORDS = {
    "accounts": _("Account list"),
    "catalogue": _("Catalogue"),
    "identity": _("Proof of identity"),
    "credits": _("Usage: credits"),
    "overview_json": _("Usage: v2 overview, JSON"),
    "overview_xml": _("Usage: v2 overview, XML"),
}


def check_rows(connection: Connection) -> list[dict[str, Any]]:
    return [check | {"words": CHECK_WORDS.get(check["name"], check["name"])} for check in connection.checks]


def connection_rows() -> QuerySet[Connection]:
    """Every connection with its number of accounts and of operations not finished."""
    return Connection.objects.annotate(
        account_count=Count(
            "accounts",
            filter=Q(accounts__provider_id__isnull=False) & ~Q(accounts__state=AccountState.DELETED),
            distinct=True,
        ),
        open_count=Count("operations", filter=Q(operations__state__in=OPEN), distinct=True),
    ).order_by("name")
