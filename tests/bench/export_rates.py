"""Exports of the customer list, the usage report and the audit log, beside COPY of the same rows and a bare loop.

Processor time of this process and the database's is compared. A first row is on the clock.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import xlsxwriter
from django.db import connection
from django.test import Client

from billing.reports.export_columns import export_header, export_lines, export_rows
from billing.reports.filters import UsageFilters
from portal.exports import csv_pieces, write_xlsx
from tests.bench.results import Row
from tests.bench.timing import database_seconds
from tests.support.factories import UserFactory
from tests.support.people import sign_in

ROUNDS = 3
XLSX_ROWS = 20_000
_CUSTOMERS = """
    SELECT c.company_name, c.email, c.external_reference, u.name, a.provider_id, n.name, a.state, a.package,
        a.settings, a.usage_used, a.usage_allowed, a.usage_read_at, a.usage_missing_since, a.is_test, a.changed_at,
        a.changed_what
    FROM customers_account a JOIN customers_customer c ON c.id = a.customer_id
        JOIN customers_connection n ON n.id = a.connection_id LEFT JOIN access_user u ON u.id = c.owner_id
    ORDER BY a.changed_at DESC, a.id DESC"""
_USAGE = """
    SELECT c.company_name, c.external_reference, a.provider_id, n.name, p.package, p.allowed, p.used, p.high, p.overage,
        p.overage_high, p.status, p.reason, p.start_on, p.end_on, s.process_on, s.source, p.read_at, s.requests,
        s.reputation, p.version, p.batch, p.allocated_cost, p.currency
    FROM billing_usageperiod p JOIN customers_account a ON a.id = p.account_id
        JOIN customers_customer c ON c.id = a.customer_id JOIN customers_connection n ON n.id = a.connection_id
        LEFT JOIN billing_usagesnapshot s ON s.id = p.current_id
    WHERE p.month = '{month}' ORDER BY coalesce(p.high, p.used) DESC NULLS LAST, p.id"""
_AUDIT = "SELECT * FROM audit_auditevent ORDER BY id DESC"


class _Taken:
    """What reading a file once took."""

    def __init__(self, pieces: Callable[[], Iterable[bytes]]) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # let the highest memory use begin anew
        memory, clock, work = _peak(), perf_counter(), process_time() + database_seconds()
        self.first, self.rows = 0.0, 0
        for piece in pieces():
            self.rows += piece.count(b"\n")
            if self.rows > 1 and not self.first:
                self.first = (perf_counter() - clock) * 1000
        self.work = process_time() + database_seconds() - work
        self.memory = _peak() - memory


def _peak() -> float:
    """Return the most memory this process had at once, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _copied(statement: str) -> Iterator[bytes]:
    with connection.cursor() as cursor, cursor.copy(f"COPY ({statement}) TO STDOUT WITH (FORMAT csv)") as copy:
        yield from map(bytes, copy)


def measure_exports(last: date, only: str = "") -> Iterator[Row]:
    client = sign_in(Client(SERVER_NAME="localhost"), UserFactory(role="admin"))

    def sent(address: str) -> Iterable[bytes]:
        answer: Any = client.get(address)
        return answer.streaming_content  # type: ignore[no-any-return]

    filters = UsageFilters({"month": f"{last:%Y-%m}"}, today=datetime.now(UTC).date(), with_cost=True)
    for name, file, raw in (
        ("CSV of customers", partial(sent, "/customers/export/"), _CUSTOMERS),
        ("CSV of customers, by name", partial(sent, "/customers/export/?sort=name"), _CUSTOMERS),
        ("CSV of usage", partial(_usage, filters), _USAGE.replace("{month}", f"{last}")),
        ("CSV of the audit log", partial(sent, "/audit/export/"), _AUDIT),
    ):
        if only in name:
            yield from _compared(name, file, partial(_copied, raw))
    if only in "XLSX of usage":
        yield _xlsx(filters)


def _usage(filters: UsageFilters) -> Iterable[bytes]:
    return csv_pieces(export_header(filters), export_lines(filters))


def _compared(name: str, file: Callable[[], Iterable[bytes]], copied: Callable[[], Iterable[bytes]]) -> Iterator[Row]:
    taken, floors = [], []
    for _round in range(ROUNDS):
        floors.append(_Taken(copied))
        taken.append(_Taken(file))
    work, floor = median(each.work for each in taken), median(each.work for each in floors)
    spread = min(each.work for each in taken), max(each.work for each in taken)
    must = None if "audit" in name else 8.0
    yield Row("exports", f"{name} / COPY", work, "s", floor, work / floor, must, "lower", spread)
    memory = max(each.memory for each in taken)
    yield Row("exports", f"{name}, memory of {taken[0].rows:,}", memory, "MB", None, None, 20, "lower")
    if "usage" in name:  # it is stored, and then sent
        return
    firsts = [each.first for each in taken]
    yield Row(
        "exports", f"{name}, first row", median(firsts), "ms", None, None, 300, "lower", (min(firsts), max(firsts))
    )


def _xlsx(filters: UsageFilters) -> Row:
    rows = list(_some(filters))
    ours, bare = [], []
    for _round in range(ROUNDS):
        bare.append(_worked(partial(_bare_xlsx, rows)))
        ours.append(_worked(partial(write_xlsx, io.BytesIO(), export_header(filters), rows)))
    ratio = median(ours) / median(bare)
    spread = min(ours), max(ours)
    return Row("exports", "XLSX / a bare XlsxWriter loop", median(ours), "s", median(bare), ratio, 1.3, "lower", spread)


def _some(filters: UsageFilters) -> Iterator[list[Any]]:
    for row in islice(export_rows(filters), XLSX_ROWS):
        yield [value if value is None or isinstance(value, int | float | date) else str(value) for value in row]


def _worked(call: Callable[[], object]) -> float:
    begun = process_time()
    call()
    return process_time() - begun


def _bare_xlsx(rows: list[list[Any]]) -> None:
    with tempfile.TemporaryFile() as file:
        book = xlsxwriter.Workbook(file, {"constant_memory": True, "default_date_format": "yyyy-mm-dd"})
        sheet = book.add_worksheet()
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, [_naive(value) for value in row])
        book.close()


def _naive(value: Any) -> Any:
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value
