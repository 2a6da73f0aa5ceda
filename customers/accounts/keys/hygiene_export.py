"""The list of all API keys as a table, read while it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.models import OuterRef, Subquery

from customers.accounts.keys.hygiene import KeyFilters, scopes_text, with_findings
from customers.labels import split_label
from customers.models import KeySecret
from portal.consistent_reads import streamed_read

HEADER = (
    "customer",
    "account ID",
    "connection",
    "provider",
    "label",
    "operation",
    "key ID",
    "ends in",
    "created",
    "age in days",
    "permissions",
    "scopes",
    "used scopes",
    "IP allowlist",
    "last used",
    "created by",
    "findings",
    "list updated",
)
AT_ONCE = 1000


def key_export_rows(filters: KeyFilters) -> Iterator[list[Any]]:
    """Yield every key that the filters leave."""
    secrets = KeySecret.objects.filter(account=OuterRef("account"), key_id=OuterRef("key_id"))
    with streamed_read(whole_list=not filters.is_narrowed):
        ordered = with_findings(filters).filter(pk__in=filters.keys.order_by().values("pk")).order_by("made_at", "id")
        keys = ordered.annotate(
            last4=Subquery(secrets.values("last4")[:1]), creator=Subquery(secrets.values("holder__name")[:1])
        )
        for key in keys.iterator(chunk_size=AT_ONCE):
            label, code = split_label(key.label)
            found = [str(text) for name, (text, _condition) in filters.findings.items() if getattr(key, f"is_{name}")]
            yield [
                key.account.customer.company_name,
                key.account.provider_id,
                key.account.connection.name,
                key.account.provider_label,
                label,
                code,
                key.key_id,
                key.last4 or "",
                key.made_at,
                (filters.now - key.made_at).days if key.made_at else None,
                scopes_text(key),
                " ".join(key.scopes),
                "unknown",
                " ".join(key.ip_allow_list),
                key.last_used_at,
                key.creator or "",
                ", ".join(found),
                key.account.keys_read_at,
            ]
