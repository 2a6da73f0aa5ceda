"""Django's PostgreSQL, with schema changes that give way to pages.

A schema change that waits for a lock makes every later request for the table wait behind it, and a request gives up
after three seconds. So it waits shortly, lets the others pass, and tries again. A try ends before PostgreSQL looks for
deadlocks (after a second), which would end a page's statement as often as its own.

A migration in one transaction gives up after two minutes, because other tables may be locked by it. Any other goes on
until it succeeds: half of it is done, and it can't be repeated.
"""

from __future__ import annotations

import sys
import time
from itertools import count
from typing import Any

from django.db import OperationalError, transaction
from django.db.backends.postgresql import base, schema
from psycopg.errors import LockNotAvailable

LOCK_MS, PAUSE_SECONDS, TRIES, REPORT_SECONDS = 400, 0.4, 150, 10.0
# Of the sessions with a lock on a table, those whose transactions are the oldest. Statements may contain personal data.
HOLDERS = """
    SELECT format('%s (%s, statement of %s)', pid, application_name, date_trunc('second', query_start))
    FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND pid IN (
        SELECT lock.pid FROM pg_locks lock JOIN pg_database ON pg_database.oid = lock.database
        WHERE datname = current_database() AND locktype = 'relation' AND granted)
    ORDER BY xact_start LIMIT 3
"""


class SchemaEditor(schema.DatabaseSchemaEditor):
    def execute(self, sql: Any, params: Any = ()) -> None:
        if self.collect_sql or "CONCURRENTLY" in str(sql):
            super().execute(sql, params)
            return
        reported_at = time.monotonic()
        for tries in count(1):
            try:
                with transaction.atomic(using=self.connection.alias):
                    super().execute(f"SET LOCAL lock_timeout = {LOCK_MS}")
                    super().execute(sql, params)
            except OperationalError as error:
                may_give_up = self.atomic_migration and tries >= TRIES
                if may_give_up or not isinstance(error.__cause__, LockNotAvailable):
                    raise
                if time.monotonic() >= reported_at + REPORT_SECONDS:
                    reported_at = time.monotonic()
                    self._report_wait()
                time.sleep(PAUSE_SECONDS)
            else:
                return

    def _report_wait(self) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(HOLDERS)
            holders = ", ".join(row[0] for row in cursor.fetchall())
        print(f"Waiting for a lock. Sessions that hold one: {holders or 'none now'}", file=sys.stderr, flush=True)  # noqa: T201  migrations have no other output


class DatabaseWrapper(base.DatabaseWrapper):
    SchemaEditorClass = SchemaEditor
