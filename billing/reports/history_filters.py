"""Filters of the pages about earlier figures: a month, and a point of the ledger or two.

A point is an export, a time, or the number of a ledger batch. A time means the last batch that got its number by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from billing.models import LedgerBatch, UsageExport
from billing.reports.filters import MonthFilters
from billing.usage.ledger import batch_at, last_batch
from customers.models import Connection
from portal.filters import Filter, one_of
from portal.query_params import uuid_or_none

FORMATS = ("csv", "xlsx")
ONLY_SETTLED = "settled"
EXPORTS_OFFERED = 20
_LONGEST_NUMBER = 18


@dataclass(frozen=True)
class LedgerPoint:
    """A ledger batch, when it got its number as far as that is known, and the export it was chosen by."""

    batch: int
    at: datetime | None = None
    export: UsageExport | None = None


def ledger_point(text: str) -> LedgerPoint | None:
    """Return the point of a query parameter; None if there is none such."""
    if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER:
        return _point(int(text)) if 0 < int(text) <= last_batch() else None
    if key := uuid_or_none(text):
        ready = UsageExport.objects.filter(public_id=key, state=UsageExport.State.READY)
        export = ready.select_related("by").defer("file", "periods").first()
        return _point(export.batch or 0, export) if export else None
    moment = _moment(text)
    if moment is None or moment > timezone.now():
        return None
    batch = batch_at(moment)
    return _point(batch) if batch is not None else None


def _point(batch: int, export: UsageExport | None = None) -> LedgerPoint:
    at = LedgerBatch.objects.filter(number=batch).values_list("at", flat=True).first()
    return LedgerPoint(batch, at, export)


def _moment(text: str) -> datetime | None:
    """Return a time as a browser's field sends it, in the person's time zone."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else timezone.make_aware(found)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def point_words(point: LedgerPoint) -> str:
    return gettext("ledger batch %(n)d") % {"n": point.batch}


@dataclass(frozen=True)
class PointField:
    """Two fields of a form for one point: a choice of exports, and a time."""

    name: str
    label: Any
    blank: Any
    time_name: str
    typed: str
    point: LedgerPoint | None

    @property
    def number(self) -> int | None:
        """Return the ledger batch, if that is how the point was chosen."""
        return self.point.batch if self.point and not self.point.export and not self.typed else None


class HistoryFilters(MonthFilters):
    """The month, the connection and the format of a download. A field for the time wins over the one beside it."""

    connection = Filter(_("Connection"), one_of(()), initial=None)
    format = Filter(_("Format"), one_of(FORMATS), initial="csv", words={"xlsx": _("Excel (XLSX)")})

    def __init__(self, query: Mapping[str, str], *, today: date) -> None:
        self.connections = list(Connection.objects.all())
        by_key = {str(each.public_id): each for each in self.connections}
        super().__init__(query, today=today, connection=by_key.get)

    @property
    def zone(self) -> str:
        """Return the time zone in which a time is typed."""
        return timezone.get_current_timezone_name()

    @property
    def exports(self) -> list[UsageExport]:
        """Return the month's last exports, to choose a point by."""
        ready = UsageExport.objects.filter(month=self.month, state=UsageExport.State.READY)
        return list(ready.select_related("by").defer("file", "periods")[:EXPORTS_OFFERED])


class AsOfFilters(HistoryFilters):
    at = Filter(_("As of"), ledger_point, initial=None, words=point_words)
    time = Filter(_("Time"), ledger_point, initial=None, words=point_words)

    @property
    def point(self) -> LedgerPoint | None:
        found: LedgerPoint | None = self.time or self.at
        return found

    @property
    def point_fields(self) -> list[PointField]:
        typed = self.query.get("time", "")
        return [PointField("at", _("As of"), _("Select an export"), "time", typed, self.point)]


class ChangesFilters(HistoryFilters):
    since = Filter(_("Changes since"), ledger_point, initial=None, words=point_words)
    since_time = Filter(_("Since"), ledger_point, initial=None, words=point_words)
    until = Filter(_("Until"), ledger_point, initial=None, words=point_words)
    until_time = Filter(_("Until"), ledger_point, initial=None, words=point_words)
    only = Filter(_("Show only"), one_of((ONLY_SETTLED,)), words={ONLY_SETTLED: _("Figures that weren't open")})

    def __init__(self, query: Mapping[str, str], *, today: date) -> None:
        super().__init__(query, today=today)
        if self.start and self.start.batch > self.end.batch:
            self.refuse("until_time" if self.until_time else "until")

    @property
    def only_choices(self) -> list[tuple[str, Any]]:
        return [(ONLY_SETTLED, _("Figures that weren't open"))]

    @property
    def start(self) -> LedgerPoint | None:
        found: LedgerPoint | None = self.since_time or self.since
        return found

    @property
    def end(self) -> LedgerPoint:
        found: LedgerPoint | None = self.until_time or self.until
        return found or _point(last_batch())

    @property
    def point_fields(self) -> list[PointField]:
        since, until = self.query.get("since_time", ""), self.query.get("until_time", "")
        return [
            PointField("since", _("Since"), _("Select an export"), "since_time", since, self.start),
            PointField("until", _("Until"), _("Now"), "until_time", until, self.until_time or self.until),
        ]
