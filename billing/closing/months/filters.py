"""Filters of the blockers of a month, read from the query string."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from django.db.models import Q, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing.closing.blockers.kinds import KINDS
from billing.closing.blockers.queries import OPEN
from billing.models import Blocker
from customers.models import Customer
from portal.access.models import User
from portal.filters import Filter, ListFilters, one_of, page_filter
from portal.query_params import searchable

ME, NOBODY = "me", "nobody"
OWNERS: dict[str, str | Promise] = {ME: _("Me"), NOBODY: _("Unassigned")}
STATES: dict[str, str | Promise] = {"open": _("Open"), "accepted": _("Accepted"), "resolved": _("Resolved")}


class BlockerFilters(ListFilters):
    kind = Filter(_("Blocker"), one_of(KINDS))
    owner = Filter(_("Owner"), one_of(OWNERS))
    state = Filter(_("State"), one_of(STATES), initial="open")
    q = Filter(_("Search"), lambda text: searchable(text).lower())
    page = page_filter()

    def __init__(self, query: Mapping[str, str], *, month: date, person: User) -> None:
        self.month, self.person = month, person
        super().__init__(query)

    @property
    def narrowed(self) -> bool:
        return bool(self.kind or self.owner or self.q or self.state != "open" or self.lists_nothing)

    @property
    def is_one_kind(self) -> bool:
        """Return whether all open blockers of one kind are listed, which can be assigned together."""
        return bool(self.kind) and self.state == "open" and not (self.owner or self.q or self.lists_nothing)

    def ordered(self) -> QuerySet[Blocker]:
        """Return the blockers that all filters leave, those with the most money at stake first."""
        found = Blocker.objects.filter(month=self.month).order_by("-weight", "id")
        if self.lists_nothing:
            return found.none()
        if self.state == "open":
            found = found.filter(OPEN)
        else:
            is_resolved = self.state == "resolved"
            found = found.filter(resolved_at__isnull=not is_resolved)
            found = found if is_resolved else found.filter(accepted_at__isnull=False)
        if self.kind:
            found = found.filter(kind=self.kind)
        if self.owner:
            found = found.filter(owner=self.person if self.owner == ME else None)
        if self.q:
            named = Customer.objects.filter(search__contains=self.q)
            found = found.filter(Q(customer__in=named) | Q(connection__name__icontains=self.q))
        return found
