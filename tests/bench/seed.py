"""Fill a PostgreSQL database with accounts and their usage figures, for measurements of speed.

    python -m tests.bench.seed --accounts 100000 --months 24 --database-url postgres://...

The database must be migrated and empty. Each table is filled by one statement, so that it takes minutes: customers,
accounts of both providers, readings, figures with realistic statuses and versions, roll-ups and month totals.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import date
from time import monotonic
from typing import Any

# Of the last month, which is still open, this many readings per account; of the others one.
READINGS = 5
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
    from django.db import connection, transaction

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
    from billing.models import (
        FigureVersion,
        Ledger,
        LedgerBatch,
        MonthTotal,
        UsagePeriod,
        UsageRollup,
        UsageSnapshot,
    )
    from customers.models import Account, Connection, Customer

    newest = "(SELECT greatest((SELECT max(batch) FROM billing_usageperiod), (SELECT max(from_batch) FROM billing_figureversion)))"
    customers = max(1, accounts * 6 // 10)
    month = f"date '{last:%Y-%m}-01'"
    now = f"(timestamptz '{last:%Y-%m}-20 00:31:00+00')"
    return [
        (
            "connections",
            _insert(
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
            _insert(
                Customer,
                {
                    "public_id": "gen_random_uuid()",
                    "company_name": "(ARRAY['Alder','Birch','Cedar','Delta','Ember','Fjord','Grove','Haven'])"
                    "[1 + n % 8] || ' ' || chr(65 + n * 7 % 26) || ' Company ' || n",
                    "email": "'ops' || n || '@company' || n || '.example'",
                    "external_reference": "CASE WHEN n % 20 = 0 THEN '' ELSE 'CRM-' || n END",
                    "created_at": now,
                    "changed_at": now,
                },
                f"generate_series(1, {customers}) n",
                leave_out=("search",),
            ),
        ),
        (
            "accounts",
            _insert(
                Account,
                {
                    "public_id": "gen_random_uuid()",
                    "customer_id": f"(SELECT min(id) FROM customers_customer) + n * 7919::bigint % {customers}",
                    "connection_id": "(SELECT min(id) FROM customers_connection) + k",
                    "provider_id": "CASE WHEN k = 3 THEN gen_random_uuid()::text"
                    " ELSE 'sg' || md5('account ' || n) END",
                    "email": "'a' || n || '@company.example'",
                    "state": "CASE n % 50 WHEN 0 THEN 'stopped_by_us' WHEN 1 THEN 'suspended' ELSE 'active' END",
                    "package": f"CASE WHEN k = 3 THEN '' ELSE {_package('n')} END",
                    "settings": "CASE WHEN k = 3 THEN '{\"monthly_cap\": 200000}'::jsonb END",
                    "usage_start_on": f"{month}",
                    "usage_end_on": f"{month} + 27",
                    "usage_used": f"{_used('n', str(months))}",
                    "usage_allowed": _quota("n"),
                    "usage_overage": "0",
                    "usage_read_at": now,
                    "state_read_at": now,
                    "created_at": f"{month} - interval '5 years'",
                    "changed_at": now,
                },
                f"(SELECT n, CASE WHEN n % {POOLED_EVERY} = 0 THEN 3 ELSE n % 3 END AS k"
                f" FROM generate_series(1, {accounts}) n) each_account",
            ),
        ),
        ("readings", _insert(UsageSnapshot, _SNAPSHOT, _readings(months, month))),
        ("figures", _insert(UsagePeriod, _PERIOD, _figures(months))),
        ("versions", _insert(FigureVersion, _VERSION, "billing_usageperiod p CROSS JOIN generate_series(1, 2) n"
            " WHERE p.version >= n")),
        ("roll-ups", _sums(UsageRollup, "UsagePeriod")),
        ("month totals", _sums(MonthTotal, "UsageRollup")),
        ("ledger", _insert(Ledger, {"id": "1", "last": newest}, "(SELECT 1) one")
            + " ON CONFLICT (id) DO UPDATE SET last = excluded.last"),
        ("ledger batches", _insert(LedgerBatch, {"number": "n", "at": f"{now} - interval '1 hour' * ({newest} - n)"},
            f"generate_series(1, {newest}) n")),
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
_SNAPSHOT = {
    "account_id": "account_id",
    "source": "CASE WHEN kind = 'ahasend' THEN 'pooled' ELSE 'credits' END",
    "period_start_on": "start_on",
    "period_end_on": "end_on",
    "as_of": "at",
    "used": _PARTLY,
    "allowed": "quota",
    "overage": f"CASE WHEN kind = 'ahasend' THEN NULL ELSE greatest(0, {_PARTLY} - quota) END",
    "package": "package",
    "allocated_cost": f"CASE WHEN kind = 'ahasend' THEN {_PARTLY} * 100 END",
    "currency": "CASE WHEN kind = 'ahasend' THEN 'EUR' ELSE '' END",
    "raw_sha256": "md5(account_id || ' ' || m || ' ' || r)",
    "batch": "1 + m * 100 + r * 10 + account_id % 10",
}


def _figures(months: int) -> str:
    """Return the last reading of each account's billing period, with the status of its figure."""
    chance = _chance("last.account_id", "extract(epoch FROM last.period_start_on) / 86400", 3)
    status = (
        f"CASE WHEN is_open THEN CASE WHEN {chance} < 12 THEN 'stale' ELSE 'open' END"
        f" WHEN {chance} < 15 THEN 'missing' WHEN {chance} < 20 THEN 'disputed' WHEN {chance} < 200 THEN 'interval'"
        f" WHEN {chance} < 320 THEN 'derived' ELSE 'final' END"
    )
    month, reading = "(last.batch - 1) / 100", "(last.batch - 1) % 100 / 10"  # as in _SNAPSHOT
    return (
        f"(SELECT last.*, {status} AS status FROM (SELECT last.*, {month} = {months - 1} AS is_open"
        f" FROM billing_usagesnapshot last WHERE {month} < {months - 1} OR {reading} = {READINGS}) last) f"
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
    "days_read": "1",
    "readings": "1",
    "version": "CASE WHEN is_open THEN 0 WHEN account_id % 25 = 0 THEN 2 ELSE 1 END",
    "batch": "batch",
}
_VERSION = {
    "period_id": "p.id",
    "account_id": "p.account_id",
    "n": "n",
    "from_batch": "CASE WHEN n = 1 THEN p.batch ELSE p.batch + 100 END",
    "to_batch": "CASE WHEN n < p.version THEN p.batch + 100 END",
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
    from billing.models import Status
    from billing.usage.rollups import SUMS

    if of == "UsageRollup":
        key = ("month", "connection_id", "currency")
        sums = {name: f"sum({name})" for name in SUMS}
        return _insert(model, {**dict(zip(key, key, strict=True)), **sums}, _grouped("billing_usagerollup", key))
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
    return _insert(model, {**dict(zip(key, key, strict=True)), **sums}, _grouped(table, key))


def _grouped(table: str, key: tuple[str, ...]) -> str:
    return f"{table} GROUP BY {', '.join(key)}"


def _insert(model: Any, values: dict[str, str], source: str, *, leave_out: tuple[str, ...] = ()) -> str:
    """Return INSERT ... SELECT with these SQL values by column; all others have the default of their field."""
    columns = dict(values)
    for field in model._meta.concrete_fields:
        if field.column in columns or field.column in leave_out or field.primary_key or field.null or field.generated:
            continue
        columns[field.column] = _default(field)
    unknown = set(columns) - {field.column for field in model._meta.concrete_fields}
    if unknown:
        raise ValueError(f"{model.__name__} has no columns {sorted(unknown)}")
    names = ", ".join(f'"{name}"' for name in columns)
    return f"INSERT INTO {model._meta.db_table} ({names}) SELECT {', '.join(columns.values())} FROM {source}"  # noqa: S608


def _default(field: Any) -> str:
    """Return the default of a field as SQL; of a time the time now."""
    from django.db import models

    if isinstance(field, models.DateTimeField):
        return "now()"
    value = field.get_default()
    if isinstance(field, models.JSONField):
        value = json.dumps(value)
    return f"'{'' if value is None else value}'"


def use_database(url: str) -> None:
    """Let Django's settings be those of the tests, with the database at `url`."""
    os.environ |= {"DATABASE_URL": url, "TEST_DATABASE": "postgres", "DJANGO_SETTINGS_MODULE": "tests.settings"}
    os.environ.setdefault("TEST_RUN_DIR", "/tmp/postkeeper-bench")
    import django

    django.setup()


def main(arguments: list[str]) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--accounts", type=int, default=100_000)
    options.add_argument("--months", type=int, default=24)
    options.add_argument("--last", type=date.fromisoformat, default=date.today().replace(day=1), help="open month")
    options.add_argument("--database-url", required=True)
    chosen = options.parse_args(arguments)
    use_database(chosen.database_url)
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    call_command("createcachetable", verbosity=0)
    seed(accounts=chosen.accounts, months=chosen.months, last=chosen.last)


if __name__ == "__main__":
    main(sys.argv[1:])
