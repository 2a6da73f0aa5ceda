"""Exports of the usage report: requested, written to a file that is kept, and compared with the figures of today.

request_export   a row, and for a small report the file at once
prepare_export   mark the figures (from now on they have versions), then read them in one snapshot of the database
due_exports      what a worker has to write or to write again
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import structlog
from django.db import transaction

from billing.models import UsageExport
from billing.reports.export_columns import export_header, export_lines, export_rows
from billing.reports.filters import UsageFilters
from billing.reports.queries import report_periods
from billing.usage.exported import mark_exported
from billing.usage.ledger import last_batch
from portal.clock import database_now
from portal.commands import Command
from portal.consistent_reads import consistent_read
from portal.exports import write_csv, write_xlsx
from portal.query_params import line
from portal.queue import enqueue_on_commit

log = structlog.get_logger(__name__)
PREPARE = "billing.prepare_export"
# Reports up to this size are written while the person waits: about a second.
AT_ONCE = 5000
TRIES = 3
# Times that figures which appeared meanwhile are marked as well.
MARKS = 10
_PIECE = 1 << 16
Row = TypeVar("Row")


class KeptMoving(Exception):
    """New figures appeared again and again between marking and reading. A later try works."""


def request_export(command: Command, *, filters: UsageFilters, file_format: str) -> UsageExport:
    """Request the file of a report; a small one is ready on return."""
    kept = {name: line(text) for name, text in filters.kept(without="") if name not in ("month", "page", "size")}
    expected = report_periods(filters).count()
    with transaction.atomic():
        export = UsageExport.objects.create(
            by=command.person,
            requested_at=command.now,
            not_before=command.now,
            month=filters.month,
            filters=kept,
            with_cost=filters.with_cost,
            format=file_format,
            expected=expected,
        )
        told = {
            "month": f"{filters.month:%Y-%m}",
            "format": file_format,
            "rows": expected,
            "with_cost": export.with_cost,
        }
        told["filters"] = filters.in_words(without="month")
        command.record(verb="usage.exported", obj=export, customer=filters.customer, after=told)
        if expected > AT_ONCE:
            enqueue_on_commit(PREPARE, export.pk)
    if expected <= AT_ONCE:
        prepare_export(export.pk, now=command.now)
        export.refresh_from_db()
    return export


def due_exports(*, now: datetime) -> list[int]:
    """Return exports whose file is not written, and that no worker writes."""
    waiting = UsageExport.objects.due(now=now).filter(state=UsageExport.State.PREPARING)
    return list(waiting.order_by("pk").values_list("pk", flat=True))


def prepare_export(export_id: int, *, now: datetime) -> None:
    """Write the file of an export that waits for it. Another worker's is left alone; a failure is tried again."""
    waiting = UsageExport.objects.filter(state=UsageExport.State.PREPARING).defer("file", "periods")
    export = waiting.claim(export_id, now=now)
    if export is None:
        return
    try:
        _write_file(export, now=now)
    except Exception as error:
        tries = export.tries + 1
        log.exception("usage.export_failed", export=export.pk, error=type(error).__name__)
        state = UsageExport.State.FAILED if tries >= TRIES else UsageExport.State.PREPARING
        export.release(tries=tries, state=state, not_before=now + timedelta(minutes=1))


def _write_file(export: UsageExport, *, now: datetime) -> None:
    filters = filters_of(export)
    for _attempt in range(MARKS):
        mark_exported(list(_unmarked(filters)), now=now)
        with consistent_read():
            # What appeared since it was marked has no version yet: mark it, and read again.
            if _unmarked(filters).exists():
                continue
            batch = last_batch()
            periods = array("q", report_periods(filters).order_by("pk").values_list("pk", flat=True))
            file = _Kept()
            if export.format == UsageExport.Format.CSV:
                write_csv(file, export_header(filters), file.counted(export_lines(filters)))
            else:
                write_xlsx(file, export_header(filters), file.counted(export_rows(filters)))
            break
    else:
        raise KeptMoving
    if file.rows != len(periods):
        raise ValueError(f"{file.rows} rows of {len(periods)} figures")
    export.write(
        state=UsageExport.State.READY,
        lease_until=None,
        ready_at=database_now(),
        batch=batch,
        compared=batch,
        rows=file.rows,
        size=file.size,
        sha256=file.digest.hexdigest(),
        file=file.compressed(),
        periods=gzip.compress(periods.tobytes(), mtime=0),
    )


def _unmarked(filters: UsageFilters) -> Any:
    return report_periods(filters).filter(exported=False).values_list("pk", flat=True)


class _Kept:
    """A file that is compressed, measured and counted while it is written."""

    def __init__(self) -> None:
        self.rows = self.size = 0
        self.digest = hashlib.sha256()
        self._buffer = io.BytesIO()
        self._gzip = gzip.GzipFile(fileobj=self._buffer, mode="wb", mtime=0)

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        self.size += len(data)
        self._gzip.write(data)

    def counted(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            self.rows += 1
            yield row

    def compressed(self) -> bytes:
        self._gzip.close()
        return self._buffer.getvalue()


def filters_of(export: UsageExport) -> UsageFilters:
    """Return the filters of the page that was exported."""
    query = {**export.filters, "month": f"{export.month:%Y-%m}"}
    today = export.requested_at.astimezone(UTC).date()
    return UsageFilters(query, today=today, with_cost=export.with_cost)


def filter_labels(export: UsageExport) -> list[str]:
    """Return what narrowed the rows, as label and value."""
    return filters_of(export).in_words(without="month")


def file_pieces(export: UsageExport) -> Iterator[bytes]:
    """Return the file as it was written, piece by piece."""
    with gzip.GzipFile(fileobj=io.BytesIO(bytes(export.file or b""))) as file:
        while piece := file.read(_PIECE):
            yield piece


def is_intact(export: UsageExport) -> bool:
    """Return whether the stored file is the one that was written."""
    digest = hashlib.sha256()
    try:
        for piece in file_pieces(export):
            digest.update(piece)
    except (OSError, EOFError, zlib.error):
        return False
    return digest.hexdigest() == export.sha256


def exported_periods(export: UsageExport) -> set[int]:
    """Return the keys of the billing periods in the file."""
    keys = array("q")
    keys.frombytes(gzip.decompress(bytes(export.periods or b"")))
    return set(keys)
