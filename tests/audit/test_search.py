"""The search for a customer or an object reads the events that match, not all of them."""

from __future__ import annotations

import pytest
from django.db import connection
from django.utils import timezone

from portal.audit.models import AuditEvent
from portal.audit.queries import AuditFilters, events

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="the index is one of PostgreSQL"),
]


def test_a_search_follows_its_index() -> None:
    AuditEvent.objects.bulk_create(
        AuditEvent(at=timezone.now(), verb="account.linked", customer_label=f"Customer {n}", object_label=f"op_{n:06}")
        for n in range(3000)
    )
    found = events(AuditFilters({"customer": "mer 2345"}))
    assert [event.customer_label for event in found] == ["Customer 2345"]
    assert [event.customer_label for event in events(AuditFilters({"customer": "OP_002345"}))] == ["Customer 2345"]
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE audit_auditevent")
        cursor.execute("SET LOCAL enable_seqscan = off")
        sql, params = found.order_by().query.sql_with_params()
        cursor.execute(f"EXPLAIN {sql}", params)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "audit_labels" in plan, plan
