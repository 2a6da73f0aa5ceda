"""What the connections pages read."""

from __future__ import annotations

from django.db.models import Count, Q, QuerySet

from customers.models import Connection
from customers.models.account import AccountState
from customers.states import OPEN


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
