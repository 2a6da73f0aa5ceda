"""Queries of the audit pages."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from django.db.models import Model, Q, QuerySet
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.access.models import User
from portal.access.roles import Role
from portal.audit import words
from portal.audit.differences import Difference, differences
from portal.audit.models import AuditEvent
from portal.audit.verbs import BY_VISITORS, VERBS, icon_of, title_of
from portal.audit.words import full_day
from portal.filters import Filter, ListFilters, one_of
from portal.paging import KeyedRows, LongPage, long_page
from portal.query_params import day_or_none, searchable, uuid_or_none
from portal.typed_text import matches

# Instead of a user: what the portal did automatically.
PORTAL = "portal"
ACTORS: dict[str, str | Promise] = {"people": gettext_lazy("People"), PORTAL: gettext_lazy("The portal")}
PERIODS: dict[str, str | Promise] = {
    "today": gettext_lazy("Today"),
    "7d": gettext_lazy("Last 7 days"),
    "30d": gettext_lazy("Last 30 days"),
    "month": gettext_lazy("This month"),
}
# Differences of one event on a page: an imported price list can have hundreds.
_SHOWN = 40
_DAYS = {"today": 1, "7d": 7, "30d": 30}


def users_only(text: str) -> str | None:
    """Return the public ID of a user, or None."""
    key = uuid_or_none(text)
    return str(key) if key else None


def _actor(text: str) -> str | None:
    return text if text == PORTAL else users_only(text)


def person_words(actor: str) -> str:
    if actor == PORTAL:
        return _("The portal")
    return User.objects.filter(public_id=actor).values_list("name", flat=True).first() or _("unknown")


def account_words(account: uuid.UUID | str) -> str:
    """Return the customer of an account, by its newest event."""
    labels = AuditEvent.objects.filter(account_id=account).values_list("customer_label", flat=True)
    return labels.order_by("-id").first() or _("unknown")


def _customer_words(text: str) -> str:
    key = uuid_or_none(text)
    labels = AuditEvent.objects.filter(customer_id=key).values_list("customer_label", flat=True) if key else None
    return (labels.order_by("-id").first() if labels is not None else "") or text


class DayFilters(ListFilters):
    """Filters by day, in the active time zone: a period that ends today, or a first and a last day."""

    period = Filter(gettext_lazy("Period"), one_of(PERIODS), words=PERIODS)
    start_on = Filter(gettext_lazy("From"), day_or_none, param="from", words=full_day)
    end_on = Filter(gettext_lazy("To"), day_or_none, param="to", words=full_day)

    def __init__(self, query: Mapping[str, str]) -> None:
        super().__init__(query)
        if self.start_on and self.end_on and self.start_on > self.end_on:
            self.refuse("end_on", _("“To” is before “From”. Change one of them."))

    @property
    def first_day(self) -> date | None:
        """Return the first day listed: that of the period, or a later one that was entered."""
        days = [day for day in (self.start_on, period_start(self.period)) if day]
        return max(days, default=None)

    @property
    def typed_days(self) -> list[str]:
        """Return the days for the form. A refused one stays in it, so that it can be corrected."""
        days = [day_or_none(self.query.get(name, "")) for name in ("from", "to")]
        return [day.isoformat() if day else "" for day in days]

    @property
    def narrowed(self) -> bool:
        return bool(self.in_words() or self.lists_nothing)

    @property
    def kept_beside_form(self) -> list[tuple[str, str]]:
        """Return names and values for the hidden inputs of the form that has the days. They replace a period."""
        return [(name, text) for name, text in self.kept("period") if name not in self.in_form]

    @property
    def in_form(self) -> tuple[str, ...]:
        return ("from", "to")

    def narrow_days(self, found: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        if first := self.first_day:
            found = found.filter(at__gte=_midnight(first))
        if self.end_on:
            found = found.filter(at__lt=_midnight(self.end_on + timedelta(days=1)))
        return found


class AuditFilters(DayFilters):
    by = Filter(gettext_lazy("Actors"), one_of(ACTORS), words=ACTORS)
    person = Filter(gettext_lazy("Actor"), _actor, words=person_words)
    verb = Filter(gettext_lazy("Event"), one_of(VERBS), lookup="verb", words=title_of)
    customer = Filter(gettext_lazy("Customer or object"), searchable, words=_customer_words)
    account = Filter(gettext_lazy("Account"), uuid_or_none, lookup="account_id", words=account_words)

    @property
    def in_form(self) -> tuple[str, ...]:
        return ("from", "to") if self.is_of_customer else ("from", "to", "customer")

    @property
    def is_of_customer(self) -> bool:
        """True if the customer was chosen on another page, and not searched."""
        return bool(uuid_or_none(self.customer))

    @property
    def customer_text(self) -> str:
        return _customer_words(self.customer)

    @property
    def account_text(self) -> str:
        return account_words(self.account)


def period_start(period: str, *, today: date | None = None) -> date | None:
    """Return the first day of a period, in the active time zone; None without one."""
    today = today or timezone.localdate()
    if period == "month":
        return today.replace(day=1)
    days = _DAYS.get(period)
    return today - timedelta(days=days - 1) if days else None


def events(filters: AuditFilters) -> QuerySet[AuditEvent]:
    """Return matching events, newest first."""
    found = filters.narrow(AuditEvent.objects.order_by("-id"))
    automatic = Q(actor__isnull=True) & ~Q(verb__in=BY_VISITORS)
    if filters.by:
        found = found.filter(automatic if filters.by == PORTAL else ~automatic)
    if filters.person == PORTAL:
        found = found.filter(automatic)
    elif filters.person:
        found = found.filter(Q(actor__public_id=filters.person) | Q(object_id=filters.person))
    text = filters.customer
    if customer := uuid_or_none(text):
        found = found.filter(customer_id=customer)
    elif text:
        found = found.filter(matches("customer_label__icontains", text) | matches("object_label__icontains", text))
    return filters.narrow_days(found)


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One event as shown on a page. `page` is the route of its object's page, "" where it has none."""

    event: AuditEvent
    title: str
    icon: str
    who: str
    role: str
    differences: list[Difference]
    reason: str = ""
    about: str = ""
    about_kind: str = ""
    page: str = ""

    @property
    def is_automatic(self) -> bool:
        return self.event.actor_id is None and self.event.verb not in BY_VISITORS

    @property
    def lacks_reason(self) -> bool:
        """True for an access whose reason nobody entered. An export has its filters instead."""
        verb = VERBS.get(self.event.verb)
        return bool(verb and verb.access not in ("", "export")) and not self.reason

    @property
    def day(self) -> date:
        return timezone.localtime(self.event.at).date()

    @property
    def whose(self) -> str:
        """Return the customer, where what the event is about does not say it."""
        customer = self.event.customer_label if self.event.customer_id else ""
        return "" if self.about.startswith(customer) else customer

    @property
    def shown_differences(self) -> list[Difference]:
        return self.differences[:_SHOWN]

    @property
    def more_differences(self) -> int:
        return max(0, len(self.differences) - _SHOWN)

    @property
    def has_before(self) -> bool:
        return any(each.before for each in self.differences)

    @property
    def summary(self) -> str:
        """Return the reason, the filters of an export, or the first changes, for one line beside the title."""
        if self.reason:
            return self.reason
        filters = [each.after for each in self.differences if each.label == words.fact_label("filters")]
        return "; ".join(filters or (f"{each.label}: {_arrow(each)}" for each in self.differences[:3]))


def _arrow(each: Difference) -> str:
    return f"{each.before} → {each.after or '—'}" if each.before else each.after


def entry_of(event: AuditEvent) -> AuditEntry:
    who = event.actor_label or (_("Not signed in") if event.verb in BY_VISITORS else _("The portal"))
    role = str(dict(Role.choices).get(event.actor_role, event.actor_role))
    kind = words.object_kind(event.object_type) if event.object_type else None
    about = kind.text(event.object_label) if kind else ""
    if event.object_type == "customers.operation" and not event.verb.startswith("operation."):
        about = event.object_label.partition(" ")[0]  # the title says what was requested
    return AuditEntry(
        event,
        title_of(event.verb),
        icon_of(event.verb),
        who,
        role,
        differences(event),
        words.reason_in_words(event.verb, event.reason),
        "" if event.object_id and event.actor_id and about == event.actor_label else about,
        str(kind.label) if kind else "",
        kind.page if kind and event.object_id else "",
    )


def events_page(found: QuerySet[AuditEvent], number: str | None, *, size: int = 50) -> LongPage:
    return long_page(KeyedRows(found, AuditEvent.objects.all()), number, size)


def people_choices() -> list[tuple[str, str]]:
    people = User.objects.order_by("name").values_list("public_id", "name")
    return [(str(public_id), name) for public_id, name in people]


def last_change(row: Model, names: Iterable[str]) -> AuditEvent | None:
    """Return the newest event, among the last 50 of the row, that changed one of these fields; None if there is
    none."""
    wanted = set(names)
    of_row = AuditEvent.objects.filter(object_id=row.public_id)  # type: ignore[attr-defined]  # what is audited has one
    events = of_row.order_by("-id")[:50]
    return next((event for event in events if wanted & event.after.keys()), None)
