"""Fill a PostgreSQL database with accounts and their usage figures, for measurements of speed.

    python -m tests.bench seed --accounts 100000 --months 24 --database-url postgres://...

The database must be migrated and empty. Each table is filled by one statement, so that it takes minutes: customers,
accounts of both providers, readings, figures with realistic statuses and versions, roll-ups and month totals, a team,
operations with steps and attempts, audit events. Rows are stored in order of time, as the portal writes them: a month's
rows lie side by side.
"""

from __future__ import annotations

from datetime import date
from time import monotonic
from typing import Any

from django.db import connection, transaction

from billing.models import (
    FigureVersion,
    Ledger,
    LedgerBatch,
    MonthTotal,
    Status,
    UsagePeriod,
    UsageRollup,
    UsageSnapshot,
)
from billing.usage.rollups import SUMS
from customers.models import Account, Connection, Customer
from tests.bench.seed_operations import OPERATIONS, OWNER, TEAM_ROWS, operations
from tests.bench.statements import insert

# Of the last month, which is still open, this many readings per account; of the others one.
READINGS = 5
# Ledger batches of a day: 50 accounts each.
BATCHES = 2_000
# Every seventh account is at the provider with a pooled report.
POOLED_EVERY = 7
PACKAGES = (
    ("postkeeper.ei.essentials-50k.v1", 50_000),
    ("postkeeper.ei.essentials-100k.v1", 100_000),
    ("postkeeper.ei.pro-100k.v1", 100_000),
    ("postkeeper.ei.pro-300k.v1", 300_000),
)


def seed(*, accounts: int, months: int, last: date) -> None:
    """Fill the database of Django's settings. `last`: the month whose billing periods are open."""

    begun = monotonic()
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
        cursor.execute("SET LOCAL work_mem = '256MB'")
        for name, statement in _statements(accounts, months, last):
            at = monotonic()
            cursor.execute(statement)
            print(f"{name}: {cursor.rowcount:,} rows in {monotonic() - at:.1f} s", flush=True)
    if not connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
    print(f"seeded in {monotonic() - begun:.0f} s", flush=True)


def _statements(accounts: int, months: int, last: date) -> list[tuple[str, str]]:

    newest = "(SELECT max(batch) FROM billing_usageperiod)"
    customers = max(1, accounts * 6 // 10)
    month = f"date '{last:%Y-%m}-01'"
    now = f"(timestamptz '{last:%Y-%m}-20 00:31:00+00')"
    first = f"({month} - interval '{months + 1} months')"
    return [
        ("team", TEAM_ROWS),
        (
            "connections",
            insert(
                Connection,
                {
                    "name": "(ARRAY['SendGrid 1', 'SendGrid 2', 'SendGrid EU', 'AhaSend'])[n]",
                    "public_id": "gen_random_uuid()",
                    "kind": "CASE WHEN n = 4 THEN 'ahasend' ELSE 'sendgrid' END",
                    "usage_source": "CASE WHEN n = 4 THEN 'pooled' WHEN n = 2 THEN 'overview_json' ELSE 'credits' END",
                    "base_url": "'https://provider' || n || '.example'",
                    "account_id": "CASE WHEN n = 4 THEN 'c0a4f6f2-8f0e-4a3b-8a58-6f6b3d1f2e90' ELSE '' END",
                },
                "generate_series(1, 4) n",
            ),
        ),
        (
            "customers",
            insert(
                Customer,
                {
                    "public_id": "gen_random_uuid()",
                    "company_name": "(ARRAY['Alder','Birch','Cedar','Delta','Ember','Fjord','Grove','Haven'])"
                    "[1 + n % 8] || ' ' || chr(65 + n * 7 % 26) || ' Company ' || n",
                    "email": "'ops' || n || '@company' || n || '.example'",
                    "external_reference": "CASE WHEN n % 20 = 0 THEN '' ELSE 'CRM-' || n END",
                    "owner_id": OWNER,
                    "may_be_bare": "n % 200 = 3",
                    "created_at": now,
                    "changed_at": f"{now} - interval '7 minutes' * (n % 90000)",
                },
                f"generate_series(1, {customers}) n",
                leave_out=("search",),
            ),
        ),
        (
            "accounts",
            insert(
                Account,
                {
                    "public_id": "gen_random_uuid()",
                    "customer_id": f"(SELECT min(id) FROM customers_customer) + n * 7919::bigint % {customers}",
                    "connection_id": "(SELECT min(id) FROM customers_connection) + k",
                    "provider_id": "CASE WHEN k = 3 THEN gen_random_uuid()::text"
                    " ELSE 'sg' || md5('account ' || n) END",
                    "email": "'a' || n || '@company.example'",
                    "state": "CASE n % 50 WHEN 0 THEN 'stopped_by_us' WHEN 1 THEN 'stopped_by_provider'"
                    " ELSE 'active' END",
                    "package": f"CASE WHEN k = 3 THEN '' ELSE {_package('n')} END",
                    "settings": "CASE WHEN k = 3 THEN '{\"monthly_cap\": 200000}'::jsonb END",
                    "usage_start_on": f"{month}",
                    "usage_end_on": f"{month} + 27",
                    "usage_used": f"{_used('n', str(months))}",
                    "usage_allowed": _quota("n"),
                    "usage_overage": "0",
                    # One in a hundred was not read for days.
                    "usage_read_at": "now() - interval '6 hours' * CASE WHEN n % 97 = 0 THEN 12 ELSE 1 END",
                    "state_read_at": now,
                    "last_operation": str(OPERATIONS),
                    "created_at": f"{month} - interval '5 years'",
                    "changed_at": f"{now} - interval '3 minutes' * (n % 200000)",
                    "changed_what": "'Usage read'",
                },
                f"(SELECT n, CASE WHEN n % {POOLED_EVERY} = 0 THEN 3 ELSE n % 3 END AS k"
                f" FROM generate_series(1, {accounts}) n) each_account",
            ),
        ),
        ("readings", insert(UsageSnapshot, _snapshot(first),
            f"{_readings(months, month)} ORDER BY m, at, account_id")),
        ("figures", insert(UsagePeriod, _PERIOD, f"{_figures(month)} ORDER BY period_end_on, account_id")),
        ("versions", insert(FigureVersion, _VERSION, "billing_usageperiod p CROSS JOIN generate_series(1, 2) n"
            " WHERE p.version >= n ORDER BY p.end_on, p.account_id, n")),
        ("roll-ups", _sums(UsageRollup, "UsagePeriod")),
        ("month totals", _sums(MonthTotal, "UsageRollup")),
        ("ledger", insert(Ledger, {"id": "1", "last": newest}, "(SELECT 1) one")
            + " ON CONFLICT (id) DO UPDATE SET last = excluded.last"),
        ("ledger batches", insert(LedgerBatch,
            {"number": "n", "at": f"{first} + interval '1 day' * (n / {BATCHES}.0)"},
            f"generate_series(1, {newest}) n")),
        *operations(now),
    ]  # fmt: skip


def _package(number: str) -> str:
    names = ", ".join(f"'{name}'" for name, _ in PACKAGES)
    return f"(ARRAY[{names}])[1 + ({number} % {len(PACKAGES)})::int]"


def _quota(number: str) -> str:
    quotas = ", ".join(str(quota) for _, quota in PACKAGES)
    return f"(ARRAY[{quotas}])[1 + ({number} % {len(PACKAGES)})::int]::bigint"


def _chance(number: str, month: str, salt: int) -> str:
    """Return a repeatable number from 0 to 999 of an account and month."""
    return f"(abs(hashint8extended({number}::bigint, ({month})::int * 31 + {salt})) % 1000)"


def _used(number: str, month: str) -> str:
    """Return emails of a month: many accounts send little, some more than their quota."""
    return f"({_quota(number)} * {_chance(number, month, 1)} * {_chance(number, month, 2)} / 700000)::bigint"


def _readings(months: int, month: str) -> str:
    """Return one row per reading: of account `a`, month `m` (0 is the first) and reading `r`."""
    return (
        f"(SELECT a.id AS account_id, a.package, c.kind, m, r, s.start_on, s.end_on,"
        f" {_quota('a.id')} AS quota, {_used('a.id', 'm')} AS used,"
        f" CASE WHEN m = {months - 1} THEN least(s.start_on + 4 * r, s.end_on)::timestamptz + interval '31 minutes'"
        f" ELSE (s.end_on + 1)::timestamptz - interval '5 minutes' END AS at,"
        f" CASE WHEN m = {months - 1} THEN r ELSE {READINGS} END AS part"
        f" FROM customers_account a JOIN customers_connection c ON c.id = a.connection_id"
        f" CROSS JOIN generate_series(0, {months - 1}) m"
        f" CROSS JOIN LATERAL (SELECT ({month} - interval '1 month' * ({months - 1} - m))::date AS first,"
        f" CASE WHEN c.kind = 'ahasend' THEN 0 ELSE (a.id % 28)::int END AS anchor) d"
        f" CROSS JOIN LATERAL (SELECT CASE WHEN d.anchor = 0 THEN d.first"
        f" ELSE (d.first - interval '1 month')::date + d.anchor END AS start_on,"
        f" CASE WHEN d.anchor = 0 THEN (d.first + interval '1 month')::date - 1 ELSE d.first + d.anchor - 1 END"
        f" AS end_on) s"
        f" CROSS JOIN generate_series(1, CASE WHEN m = {months - 1} THEN {READINGS} ELSE 1 END) r) each_reading"
    )


_PARTLY = f"(used * part / {READINGS})"


def _snapshot(first: str) -> dict[str, str]:
    """Return the columns of a reading; `first` is the moment of the first ledger batch."""
    return {
        "account_id": "account_id",
        "source": "CASE WHEN kind = 'ahasend' THEN 'pooled' ELSE 'credits' END",
        "period_start_on": "start_on",
        "period_end_on": "end_on",
        "as_of": "at",
        "used": _PARTLY,
        "allowed": "quota",
        "overage": f"CASE WHEN kind = 'ahasend' THEN NULL ELSE greatest(0, {_PARTLY} - quota) END",
        "requests": "part",
        "package": "package",
        "allocated_cost": f"CASE WHEN kind = 'ahasend' THEN {_PARTLY} * 100 END",
        "currency": "CASE WHEN kind = 'ahasend' THEN 'EUR' ELSE '' END",
        "raw_sha256": "md5(account_id || ' ' || m || ' ' || r)",
        "batch": f"1 + (extract(epoch FROM at - {first}) / 86400)::bigint * {BATCHES} + account_id % {BATCHES}",
    }


def _figures(month: str) -> str:
    """Return the last reading of each account's billing period, with the status of its figure."""
    chance = _chance("last.account_id", "extract(epoch FROM last.period_start_on) / 86400", 3)
    status = (
        f"CASE WHEN is_open THEN CASE WHEN {chance} < 12 THEN 'stale' ELSE 'open' END"
        f" WHEN {chance} < 15 THEN 'missing' WHEN {chance} < 20 THEN 'disputed' WHEN {chance} < 200 THEN 'interval'"
        f" WHEN {chance} < 320 THEN 'derived' ELSE 'final' END"
    )
    return (
        f"(SELECT last.*, {status} AS status FROM (SELECT last.*, period_end_on >= {month} AS is_open"
        f" FROM billing_usagesnapshot last WHERE requests = {READINGS}) last) f"
    )


def _if_any(value: str) -> str:
    return f"CASE WHEN status = 'missing' THEN NULL ELSE {value} END"


_HIGH = (
    "CASE status WHEN 'final' THEN used WHEN 'derived' THEN used WHEN 'interval' THEN"
    " CASE WHEN account_id % 9 = 0 THEN NULL ELSE used + used / 50 END WHEN 'disputed' THEN used * 2 END"
)
_PERIOD = {
    "account_id": "account_id",
    "start_on": "period_start_on",
    "end_on": "period_end_on",
    "reported_start_on": "period_start_on",
    "ends_at": "(period_end_on + 1)::timestamptz",
    "month": "date_trunc('month', period_end_on)::date",
    "status": "status",
    "reason": "CASE status WHEN 'final' THEN 'read_after_end' WHEN 'derived' THEN 'calibrated'"
    " WHEN 'interval' THEN 'not_read_to_end' WHEN 'disputed' THEN 'undecided' ELSE '' END",
    "current_id": _if_any("id"),
    "latest_id": _if_any("id"),
    "used": _if_any("used"),
    "high": _HIGH,
    "allowed": _if_any("allowed"),
    "overage": _if_any("overage"),
    "overage_high": f"CASE WHEN overage IS NULL THEN NULL ELSE greatest(0, ({_HIGH}) - allowed) END",
    "allocated_cost": _if_any("allocated_cost"),
    "currency": "CASE WHEN status = 'missing' THEN '' ELSE currency END",
    "package": "package",
    "read_at": _if_any("as_of"),
    "next_seen_at": "CASE WHEN NOT is_open THEN (period_end_on + 1)::timestamptz + interval '31 minutes' END",
    "days_read": "1",
    "readings": "1",
    "version": "CASE WHEN is_open THEN 0 WHEN account_id % 25 = 0 THEN 2 ELSE 1 END",
    "batch": f"CASE WHEN is_open THEN batch WHEN account_id % 25 = 0 THEN batch + {BATCHES} * 5"
    f" ELSE batch + {BATCHES} END",
}
_VERSION = {
    "period_id": "p.id",
    "account_id": "p.account_id",
    "n": "n",
    "from_batch": f"CASE WHEN n < p.version THEN p.batch - {BATCHES} * 4 ELSE p.batch END",
    "to_batch": "CASE WHEN n < p.version THEN p.batch END",
    "at": "p.ends_at + interval '9 hours' * n",
    "cause": "CASE WHEN n = 1 THEN 'period_over' ELSE 'statistics' END",
    **{
        name: f"p.{name}"
        for name in (
            "month", "start_on", "end_on", "status", "reason", "used", "high", "allowed", "overage", "overage_high",
            "allocated_cost", "currency", "package", "read_at",
        )
    },
}  # fmt: skip


def _sums(model: Any, of: str) -> str:
    """Return the statement that adds up roll-ups from figures, or month totals from roll-ups."""

    if of == "UsageRollup":
        key = ("month", "connection_id", "currency")
        sums = {name: f"sum({name})" for name in SUMS}
        return insert(model, {**dict(zip(key, key, strict=True)), **sums}, _grouped("billing_usagerollup", key))
    over = "status NOT IN ('open', 'stale')"
    sums = {
        "figures": "count(*)",
        **{str(status): f"count(*) FILTER (WHERE status = '{status}')" for status in Status.values},
        "used": "coalesce(sum(used), 0)",
        "width": f"coalesce(sum(high - used) FILTER (WHERE {over}), 0)",
        "endless": f"count(*) FILTER (WHERE {over} AND high IS NULL AND status <> 'missing')",
        "overage": "coalesce(sum(overage), 0)",
        "overage_width": f"coalesce(sum(overage_high - overage) FILTER (WHERE {over}), 0)",
        "allocated_cost": "coalesce(sum(allocated_cost), 0)",
    }
    if sums.keys() != set(SUMS):
        raise ValueError(f"the sums of a roll-up are others now: {sums.keys() ^ set(SUMS)}")
    table = (
        "(SELECT p.*, a.connection_id, a.customer_id FROM billing_usageperiod p"
        " JOIN customers_account a ON a.id = p.account_id) p"
    )
    key = ("month", "connection_id", "customer_id", "package", "currency")
    return insert(model, {**dict(zip(key, key, strict=True)), **sums}, _grouped(table, key))


def _grouped(table: str, key: tuple[str, ...]) -> str:
    return f"{table} GROUP BY {', '.join(key)}"
