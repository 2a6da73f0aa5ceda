"""Versions of a price list on the calendar: which is in force on a day, scheduled, or replaced.

On a day the version with the latest first day is in force, and of two with the same first day the one with the greater
number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

from django.db.models import OuterRef, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing.models import PriceList, PriceVersion

DRAFT, IN_FORCE, SCHEDULED, REPLACED = "draft", "in_force", "scheduled", "replaced"
STATES: dict[str, str | Promise] = {
    DRAFT: _("Draft"),
    IN_FORCE: _("In force"),
    SCHEDULED: _("Scheduled"),
    REPLACED: _("Replaced"),
}


@dataclass(frozen=True)
class VersionRow:
    """A version with its state on a day. `last_on`: the day before the next version; None while none follows."""

    version: PriceVersion
    state: str
    last_on: date | None = None

    @property
    def label(self) -> str:
        return str(STATES[self.state])


def in_force_on(price_list: PriceList, day: date) -> PriceVersion | None:
    """Return the published version in force on a day; None before the first one."""
    found = price_list.versions.filter(published_at__isnull=False, valid_from__lte=day)
    return found.select_related("published_by").order_by("-valid_from", "-n").first()


def newest_in_force(day: date) -> QuerySet[PriceVersion]:
    """Return the version in force on a day of the price list `OuterRef("pk")`, for a subquery."""
    found = PriceVersion.objects.filter(price_list=OuterRef("pk"), published_at__isnull=False, valid_from__lte=day)
    return found.order_by("-valid_from", "-n")


def version_rows(versions: Iterable[PriceVersion], today: date) -> list[VersionRow]:
    """Return the versions of one list with their states, the draft first and then the newest."""
    every = list(versions)
    drafts = [each for each in every if each.published_at is None]
    published = [each for each in every if each.published_at]
    effective = effective_versions(published)
    following = {each.pk: later.valid_from for each, later in pairwise(effective)}
    current = max((each for each in effective if _first(each) <= today), key=_first, default=None)
    rows = [
        _row(each, current, following.get(each.pk), is_effective=each in effective, today=today)
        for each in sorted(published, key=lambda each: each.n, reverse=True)
    ]
    return [*(VersionRow(each, DRAFT) for each in drafts), *rows]


def effective_versions(published: Sequence[PriceVersion]) -> list[PriceVersion]:
    """Return the versions that are in force on some day, by their first day."""
    last = {each.valid_from: each for each in sorted(published, key=lambda each: each.n)}
    return sorted(last.values(), key=_first)


def _first(version: PriceVersion) -> date:
    return version.valid_from or date.max


def _row(
    version: PriceVersion, current: PriceVersion | None, following: date | None, *, is_effective: bool, today: date
) -> VersionRow:
    last_on = following - timedelta(days=1) if following else None
    if not is_effective:
        return VersionRow(version, REPLACED)
    if _first(version) > today:
        return VersionRow(version, SCHEDULED, last_on)
    return VersionRow(version, IN_FORCE if version == current else REPLACED, last_on)
