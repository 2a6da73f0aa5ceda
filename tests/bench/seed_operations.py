"""Statements that fill a seeded database with a team, operations, their steps and attempts, and audit events."""

from __future__ import annotations

from customers.models import Operation
from customers.models.operation import Attempt, Step
from portal.access.models import User
from portal.audit.models import AuditEvent
from tests.bench.statements import insert

TEAM = 12
# Operations of each account: its create and two changes.
OPERATIONS = 3


_ROLES = "(ARRAY['admin', 'customer_success', 'customer_success', 'finance', 'customer_success', 'auditor'])"
TEAM_ROWS = insert(
    User,
    {
        "public_id": "gen_random_uuid()",
        "email": "'person' || n || '@reseller.example'",
        "name": f"'Person ' || n || ', ' || {_ROLES}[1 + n % 6]",
        "role": f"{_ROLES}[1 + n % 6]",
        "password": "'!'",
        "timezone": "'UTC'",
    },
    f"generate_series(1, {TEAM}) n",
)
# Of customer `n`: one in three has none.
OWNER = f"CASE WHEN n % 3 > 0 THEN (SELECT min(id) FROM access_user) + n % {TEAM} END"


def operations(now: str) -> list[tuple[str, str]]:
    """Return the statements; `now` is the time of the newest row, in SQL."""
    person = f"(SELECT min(id) FROM access_user) + a.id % {TEAM}"
    # Of the newest operations, one in 150 waits for a person and one in 400 is queued.
    state = (
        f"CASE WHEN n = {OPERATIONS} AND a.id % 150 = 0 THEN 'needs_attention'"
        f" WHEN n = {OPERATIONS} AND a.id % 400 = 1 THEN 'queued'"
        " WHEN n > 1 AND a.id % 60 = 7 THEN 'failed' WHEN n > 1 AND a.id % 90 = 8 THEN 'cancelled' ELSE 'succeeded' END"
    )
    at = f"({now} - interval '1 minute' * ((a.id * 7919) % 1000000) - interval '400 days' * ({OPERATIONS} - n))"
    every = (
        f"(SELECT a.*, n, {state} AS ends, {at} AS at, {person} AS person FROM customers_account a"
        f" CROSS JOIN generate_series(1, {OPERATIONS}) n ORDER BY at) o"
    )
    return [
        (
            "operations",
            insert(
                Operation,
                {
                    "public_id": "gen_random_uuid()",
                    "kind": "(ARRAY['create', 'offerings', 'suspend'])[n]",
                    "account_id": "o.id",
                    "connection_id": "connection_id",
                    "number": "n",
                    "version": "n",
                    "requested_by_id": "person",
                    "client_token": "md5(o.id || ' ' || n)",
                    "state": "ends",
                    "lane": "'account:' || o.id",
                    "sends": "CASE WHEN ends IN ('queued', 'cancelled') THEN 0 ELSE 1 END",
                    "not_before": "at + interval '10 years' * (ends = 'queued')::int",
                    "created_at": "at",
                    "finished_at": "CASE WHEN ends NOT IN ('queued', 'needs_attention')"
                    " THEN at + interval '4 seconds' END",
                },
                every,
            ),
        ),
        (
            "steps",
            insert(
                Step,
                {
                    "operation_id": "o.id",
                    "n": "n",
                    "before": "CASE n WHEN 1 THEN '' WHEN 2 THEN 'queued' WHEN 3 THEN 'claimed'"
                    " ELSE CASE o.state WHEN 'needs_attention' THEN 'unknown' ELSE 'sending' END END",
                    "after": "CASE n WHEN 1 THEN 'queued' WHEN 2 THEN"
                    " CASE o.state WHEN 'cancelled' THEN 'cancelled' ELSE 'claimed' END WHEN 3 THEN 'sending' ELSE"
                    " CASE WHEN o.state = 'needs_attention' AND n = 4 THEN 'unknown' ELSE o.state END END",
                    "at": "o.created_at + interval '1 second' * (n - 1)",
                },
                "customers_operation o CROSS JOIN generate_series(1, 5) n WHERE n <= CASE o.state WHEN 'queued' THEN 1"
                " WHEN 'cancelled' THEN 2 WHEN 'needs_attention' THEN 5 ELSE 4 END ORDER BY o.id, n",
            ),
        ),
        (
            "attempts",
            insert(
                Attempt,
                {
                    "operation_id": "id",
                    "n": "1",
                    "fence": "1",
                    "call": "'POST /v3/partners/accounts'",
                    "intended_at": "created_at + interval '2 seconds'",
                    "answered_at": "created_at + interval '3 seconds'",
                    "duration_ms": "240 + id % 800",
                    "outcome": "CASE state WHEN 'failed' THEN 'rejected' WHEN 'needs_attention' THEN 'unknown'"
                    " ELSE 'applied' END",
                    "status": "CASE state WHEN 'failed' THEN 400 WHEN 'needs_attention' THEN NULL ELSE 201 END",
                },
                "customers_operation WHERE sends = 1 ORDER BY id",
            ),
        ),
        (
            "audit events",
            insert(
                AuditEvent,
                {
                    "public_id": "gen_random_uuid()",
                    "at": "o.created_at + interval '4 seconds' * (n - 1)",
                    "actor_id": "CASE n WHEN 1 THEN o.requested_by_id END",
                    "actor_label": "CASE n WHEN 1 THEN p.name ELSE 'Postkeeper' END",
                    "actor_role": "CASE n WHEN 1 THEN p.role ELSE '' END",
                    "verb": "CASE n WHEN 1 THEN"
                    " (ARRAY['account.create_asked', 'account.offerings_asked', 'account.suspend_asked'])[o.number]"
                    " ELSE 'operation.' || o.state END",
                    "object_type": "'operation'",
                    "object_id": "o.public_id",
                    "object_label": "'op_' || upper(left(replace(o.public_id::text, '-', ''), 6))",
                    "customer_id": "c.public_id",
                    "customer_label": "c.company_name",
                    "account_id": "a.public_id",
                },
                "customers_operation o JOIN customers_account a ON a.id = o.account_id"
                " JOIN customers_customer c ON c.id = a.customer_id JOIN access_user p ON p.id = o.requested_by_id"
                " CROSS JOIN generate_series(1, 2) n WHERE n = 1 OR o.state <> 'queued' ORDER BY o.created_at, n",
            ),
        ),
    ]
