"""Figures that changed after they were exported: counted per export, and told once to whoever exported them."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing.models import NOT_OVER, FigureVersion, UsageExport
from billing.reports.exports import exported_periods
from billing.usage.figures import FIGURE
from billing.usage.ledger import last_batch
from portal.access.models import User
from portal.access.permissions import Permission
from portal.formats import day_text
from portal.notices import raising

NOTICE = "usage.export_changed"
TOGETHER = 1000


def compare_exports(*, now: datetime) -> int:
    """Count for each export the figures that differ from it now; return how many exports were looked at.

    Only exports of months in which a version ended since they were compared last.
    """
    upto = last_batch()
    ready = UsageExport.objects.filter(state=UsageExport.State.READY)
    looked_at = 0
    for month in ready.order_by("month").values_list("month", flat=True).distinct():
        stale = [each for each in ready.filter(month=month, compared__lt=upto).defer("file") if _is_stale(each)]
        for export in stale:
            changed = changed_figures(export)
            UsageExport.objects.filter(pk=export.pk).update(changed=changed, compared=upto)
        if stale:
            _notify(ready.filter(month=month), now=now)
        looked_at += len(stale)
    return looked_at


def _is_stale(export: UsageExport) -> bool:
    return FigureVersion.objects.filter(month=export.month, to_batch__gt=export.compared).exists()


def changed_figures(export: UsageExport) -> int:
    """Return how many figures of the file, apart from those that were open in it, differ now."""
    ended = FigureVersion.objects.filter(month=export.month, from_batch__lte=export.batch, to_batch__gt=export.batch)
    rows = ended.exclude(status__in=NOT_OVER).order_by().values_list("period", *FIGURE)
    was = {period: tuple(values) for period, *values in rows}
    if not was:
        return 0
    in_file = sorted(exported_periods(export) & was.keys())
    changed = 0
    for start in range(0, len(in_file), TOGETHER):
        some = in_file[start : start + TOGETHER]
        current = FigureVersion.objects.filter(period__in=some, to_batch=None)
        now = {period: tuple(values) for period, *values in current.order_by().values_list("period", *FIGURE)}
        changed += sum(now.get(period) != was[period] for period in some)
    return changed


def latest_exports(exports: QuerySet[UsageExport]) -> list[UsageExport]:
    """Return each person's last export of the same month and filters: it replaces the ones before it."""
    found: dict[tuple[Any, ...], UsageExport] = {}
    for export in exports.select_related("by").defer("file", "periods").order_by("requested_at", "pk"):
        found[export.by_id, export.month, json.dumps(export.filters, sort_keys=True)] = export
    return list(found.values())


def visible_exports(reader: User) -> QuerySet[UsageExport]:
    """Return the exports that exist for the user: with cost only for those who may see it."""
    exports = UsageExport.objects.all()
    return exports if reader.may(Permission.VIEW_COST) else exports.filter(with_cost=False)


def changed_exports(month: date, *, reader: User) -> list[tuple[UsageExport, str]]:
    """Return the exports of a month whose figures changed, each with a sentence, newest first. Without those that a
    later one replaces."""
    ready = visible_exports(reader).filter(state=UsageExport.State.READY, month=month)
    return [(export, change_text(export)) for export in reversed(latest_exports(ready)) if export.changed]


def _notify(exports: QuerySet[UsageExport], *, now: datetime) -> None:
    """Notify the person of each export that changed, once, however many figures follow."""
    latest = {export.pk: export for export in latest_exports(exports)}
    for export in exports.defer("file", "periods"):
        about = str(export.public_id)
        if export.pk in latest and export.changed:
            _raise(latest[export.pk], about, now=now)
        else:
            raising.ended(NOTICE, about=about, now=now)


def _raise(export: UsageExport, about: str, *, now: datetime) -> None:
    title = _("Usage of %(month)s changed after the export") % {"month": date_format(export.month, "F Y")}
    path = f"{reverse('billing:usage-changes')}{export.changes_query}&only=settled"
    raising.raised(NOTICE, about=about, title=title, text=change_text(export), path=path, now=now, to=export.by)


def change_text(export: UsageExport) -> str:
    """Return how many figures changed since the export, in a sentence."""
    facts = {"n": export.changed, "name": export.by.name, "day": day_text(export.requested_at)}
    return (
        ngettext(
            "%(n)d figure changed since the export of %(day)s by %(name)s.",
            "%(n)d figures changed since the export of %(day)s by %(name)s.",
            export.changed,
        )
        % facts
    )
