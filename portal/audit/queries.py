"""Queries of the audit pages."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from django.db.models import Model, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.access.models import User
from portal.access.roles import Role
from portal.audit.differences import Difference, differences
from portal.audit.models import AuditEvent
from portal.audit.verbs import icon_of, title_of
from portal.filters import Filter, ListFilters
from portal.formats import day_text
from portal.paging import KeyedRows, LongPage, long_page
from portal.query_params import day_or_none, line, searchable, uuid_or_none
from portal.typed_text import matches

# Instead of a user: what the portal did automatically.
PORTAL = "portal"


def _actor(text: str) -> str | None:
    return text if text == PORTAL or uuid_or_none(text) else None


def _day_words(day: date) -> str:
    return day_text(day, today=date.min)


def _actor_words(actor: str) -> str:
    if actor == PORTAL:
        return _("The portal")
    return User.objects.filter(public_id=actor).values_list("name", flat=True).first() or _("unknown")


def account_words(account: uuid.UUID | str) -> str:
    """Return the customer of an account, by its newest event."""
    labels = AuditEvent.objects.filter(account_id=account).values_list("customer_label", flat=True)
    return labels.order_by("-id").first() or _("unknown")


def _customer_words(words: str) -> str:
    key = uuid_or_none(words)
    labels = AuditEvent.objects.filter(customer_id=key).values_list("customer_label", flat=True) if key else None
    return (labels.order_by("-id").first() if labels is not None else "") or words


class AuditFilters(ListFilters):
    person = Filter(gettext_lazy("Actor"), _actor, words=_actor_words)
    verb = Filter(gettext_lazy("Event"), line, lookup="verb", words=title_of)
    customer = Filter(gettext_lazy("Customer or object"), searchable, words=_customer_words)
    account = Filter(gettext_lazy("Account"), uuid_or_none, lookup="account_id", words=account_words)
    start_on = Filter(gettext_lazy("From"), day_or_none, param="from", words=_day_words)
    end_on = Filter(gettext_lazy("To"), day_or_none, param="to", words=_day_words)


def events(filters: AuditFilters) -> QuerySet[AuditEvent]:
    """Return matching events, newest first. Days begin and end in the active time zone."""
    found = filters.narrow(AuditEvent.objects.order_by("-id"))
    if filters.person == PORTAL:
        found = found.filter(actor__isnull=True)
    elif filters.person:
        found = found.filter(Q(actor__public_id=filters.person) | Q(object_id=filters.person))
    words = filters.customer
    if customer := uuid_or_none(words):
        found = found.filter(customer_id=customer)
    elif words:
        found = found.filter(matches("customer_label__icontains", words) | matches("object_label__icontains", words))
    if filters.start_on:
        found = found.filter(at__gte=_midnight(filters.start_on))
    if filters.end_on:
        found = found.filter(at__lt=_midnight(filters.end_on + timedelta(days=1)))
    return found


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One event as shown on a page."""

    event: AuditEvent
    title: str
    icon: str
    who: str
    role: str
    differences: list[Difference]


def entry_of(event: AuditEvent) -> AuditEntry:
    who = event.actor_label or _("The portal")
    role = str(dict(Role.choices).get(event.actor_role, event.actor_role))
    return AuditEntry(event, title_of(event.verb), icon_of(event.verb), who, role, differences(event))


def events_page(filters: AuditFilters, number: str | None, *, size: int = 50) -> LongPage:
    return long_page(KeyedRows(events(filters), AuditEvent.objects.all()), number, size)


def people_choices() -> list[tuple[str, str]]:
    people = User.objects.order_by("name").values_list("public_id", "name")
    return [(PORTAL, _("The portal")), *((str(public_id), name) for public_id, name in people)]


def last_change(row: Model, names: Iterable[str]) -> AuditEvent | None:
    """Return the newest event, among the last 50 of the row, that changed one of these fields; None if there is
    none."""
    wanted = set(names)
    of_row = AuditEvent.objects.filter(object_id=row.public_id)  # type: ignore[attr-defined]  # what is audited has one
    events = of_row.order_by("-id")[:50]
    return next((event for event in events if wanted & event.after.keys()), None)
