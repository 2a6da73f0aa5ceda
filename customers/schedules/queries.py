"""Queries of the scheduled changes: changes and holds in order of time, for the list, an account and the home page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from django.core.paginator import Paginator
from django.db.models import CharField, Exists, F, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.connections import catalogue
from customers.connections.queries import connection_choices, connection_filter
from customers.models import Account, Hold, Schedule
from customers.models.account import package_name_of
from portal.access.models import User
from portal.filters import Filter, ListFilters, one_of, search_filter
from portal.query_params import uuid_or_none

PER_PAGE = 50
HOLD = "hold"
# A skipped change is shown to its requester this long.
NEWS = timedelta(days=7)
SHOWN = 5


@dataclass(frozen=True)
class ScheduleEntry:
    """One line: a change, or the end of a hold. `at` is when it is due (or was)."""

    at: datetime
    schedule: Schedule | None = None
    hold: Hold | None = None

    @property
    def account(self) -> Account:
        return (self.schedule or self.hold).account  # type: ignore[union-attr]

    @property
    def day(self) -> date:
        return timezone.localtime(self.at).date()

    @property
    def is_due(self) -> bool:
        return self.schedule is not None and self.schedule.state == Schedule.State.WAITING and self.at <= timezone.now()

    @property
    def is_coming(self) -> bool:
        return self.at > timezone.now()

    @property
    def asked_at(self) -> str:
        """The time in the requester's time zone, where that is not the reader's; else ""."""
        schedule = self.schedule
        if schedule is None or schedule.cycle_end_on or schedule.zone == timezone.get_current_timezone_name():
            return ""
        return f"{schedule.due_at.astimezone(ZoneInfo(schedule.zone)):%H:%M} {schedule.zone}"

    @property
    def what(self) -> str:
        """The title, as "Suspend", "Change package to Pro 300K", "The hold ends"."""
        if self.schedule is None:
            if self.hold is not None and self.hold.released_at:
                return _("“Do not suspend” removed")
            return _("“Do not suspend” ends") if self.is_coming else _("“Do not suspend” ended")
        rows = self.schedule.payload.get("offerings", [])
        package = package_name_of(rows)
        if not package:
            return str(self.schedule.get_kind_display())
        return _("Change package to %(package)s") % {"package": catalogue.offering_label(package)}


class AgendaFilters(ListFilters):
    view = Filter(gettext_lazy("View"), one_of(("past",)))
    kind = Filter(gettext_lazy("Change"), one_of((*Schedule.Kind.values, HOLD)))
    connection = connection_filter("account__connection__public_id")
    person = Filter(gettext_lazy("Team member"), uuid_or_none)
    q = search_filter()


def agenda(asked: Mapping[str, str], *, now: datetime) -> dict[str, Any]:
    """Return the list that the URL requests. The number of queries does not depend on the number of rows."""
    filters = AgendaFilters(asked)
    past = filters.view == "past"
    lines = _schedules(filters, past=past).union(_holds(filters, past=past, now=now), all=True)
    page = Paginator(lines.order_by("-at" if past else "at", "of", "row"), PER_PAGE).get_page(asked.get("page"))
    entries = _entries(list(page.object_list))
    return {
        "page": page,
        "days": [(day, list(group)) for day, group in groupby(entries, key=lambda each: each.day)],
        "filters": filters,
        "kind_choices": [
            *((each.value, str(each.label)) for each in Schedule.Kind),
            (HOLD, _("End of “Do not suspend”")),
        ],
        "connection_choices": connection_choices(),
        "person_choices": _people(),
    }


def _schedules(filters: AgendaFilters, *, past: bool) -> QuerySet[Any]:
    found = (
        Schedule.objects.exclude(state=Schedule.State.WAITING)
        if past
        else Schedule.objects.filter(state=Schedule.State.WAITING)
    )
    if filters.kind == HOLD:
        found = found.none()
    elif filters.kind:
        found = found.filter(kind=filters.kind)
    found = _narrowed(found, filters, "requested_by")
    return _line(found, F("ended_at") if past else F("due_at"), "change")


def _holds(filters: AgendaFilters, *, past: bool, now: datetime) -> QuerySet[Any]:
    """Return the holds that end automatically on a coming day; or those that ended, released or automatically."""
    ended = Hold.objects.filter(Q(released_at__isnull=False) | Q(until__lte=now))
    found = ended if past else Hold.objects.live(now=now).filter(until__isnull=False)
    if filters.kind not in ("", HOLD):
        found = found.none()
    return _line(_narrowed(found, filters, "owner"), Coalesce("released_at", "until") if past else F("until"), HOLD)


def _line(found: QuerySet[Any], at: Any, of: str) -> QuerySet[Any]:
    marked: QuerySet[Any] = found.order_by().annotate(at=at, of=Value(of, output_field=CharField()), row=F("pk"))
    return marked.values_list("at", "of", "row")


def _narrowed(found: QuerySet[Any], filters: AgendaFilters, person: str) -> QuerySet[Any]:
    if text := filters.q:
        found = found.filter(account__customer__search__contains=text.casefold())
    return filters.narrow(found, person=f"{person}__public_id")


def _entries(lines: list[tuple[datetime, str, int]]) -> list[ScheduleEntry]:
    schedules = _full(Schedule.objects.select_related("requested_by", "operation")).in_bulk(_rows(lines, "change"))
    ends = _full(Hold.objects.select_related("owner", "released_by")).in_bulk(_rows(lines, HOLD))
    return [
        ScheduleEntry(at, hold=ends[row]) if of == HOLD else ScheduleEntry(at, schedule=schedules[row])
        for at, of, row in lines
        if row in (ends if of == HOLD else schedules)
    ]


def _rows(lines: list[tuple[datetime, str, int]], wanted: str) -> list[int]:
    return [row for _at, of, row in lines if of == wanted]


def _full(found: QuerySet[Any]) -> QuerySet[Any]:
    return found.select_related("account__customer", "account__connection")


def _people() -> list[tuple[str, str]]:
    asked = Exists(Schedule.objects.filter(requested_by=OuterRef("pk")))
    hold = Exists(Hold.objects.filter(owner=OuterRef("pk")))
    return [(str(key), name) for key, name in User.objects.filter(asked | hold).values_list("public_id", "name")]


def coming_for(account: Account, *, now: datetime) -> list[ScheduleEntry]:
    """Return the waiting and the recently skipped changes of an account, in order of time."""
    news = Q(state=Schedule.State.WAITING) | Q(state=Schedule.State.SKIPPED, ended_at__gte=now - NEWS)
    found = account.schedules.filter(news).select_related("requested_by", "operation").order_by("due_at", "pk")
    return [ScheduleEntry(each.due_at, schedule=each) for each in found[:20]]


def skipped_of(person: User, *, now: datetime) -> list[ScheduleEntry]:
    """Return the user's changes that were skipped in the last week, the newest first."""
    found = Schedule.objects.filter(requested_by=person, state=Schedule.State.SKIPPED, ended_at__gte=now - NEWS)
    ordered = _full(found).order_by("-ended_at", "-pk")[:SHOWN]
    return [ScheduleEntry(each.ended_at, schedule=each) for each in ordered]
