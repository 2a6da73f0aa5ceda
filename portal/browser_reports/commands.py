"""Counting reports, and the notice to admins about a new kind on our own pages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import F
from django.urls import reverse
from django.utils.translation import gettext as _

from portal.browser_reports.models import BrowserReport
from portal.browser_reports.parsing import Violation
from portal.notices import raising

# Anyone can send reports, so the number of rows is bounded: beyond it, extensions' rows go first, then the oldest.
MOST_ROWS = 200
NOTICE = "browser_reports"
# The notice is active until no kind was new for so long: made-up reports raise one email in that time, not one each.
QUIET_FOR = timedelta(days=1)


def count_violations(violations: Iterable[Violation], *, now: datetime) -> None:
    for each in violations:
        kind = {name: getattr(each, name) for name in Violation.__slots__}
        if not _count(kind, now):
            _add(kind, now)


def _count(kind: dict[str, object], now: datetime) -> bool:
    found = BrowserReport.objects.filter(**kind)
    return bool(found.update(count=F("count") + 1, last_seen_at=now))


def _add(kind: dict[str, object], now: datetime) -> None:
    try:
        with transaction.atomic():
            _make_room()
            BrowserReport.objects.create(**kind, first_seen_at=now, last_seen_at=now)
            if not kind["is_extension"]:
                _raise_notice(kind, now)
    except IntegrityError:  # another request added it
        _count(kind, now)


def _make_room() -> None:
    surplus = BrowserReport.objects.count() - MOST_ROWS + 1
    if surplus > 0:
        oldest = BrowserReport.objects.order_by("-is_extension", "last_seen_at", "pk").values_list("pk", flat=True)
        BrowserReport.objects.filter(pk__in=list(oldest[:surplus])).delete()


def _raise_notice(kind: dict[str, object], now: datetime) -> None:
    text = _(
        "A browser refused something on the page %(page)s: %(directive)s, %(blocked)s. Either a page of Postkeeper "
        "has a fault, or somebody tried to run a script in it. Review the browser reports."
    )
    raising.raised(
        NOTICE,
        about="pages",
        title=_("A browser blocked part of a page"),
        text=text % kind,
        path=reverse("browser-reports:list"),
        now=now,
    )


def end_notice(*, now: datetime) -> None:
    """End the notice once no kind was new on our pages for a day."""
    is_quiet = not BrowserReport.objects.filter(is_extension=False, first_seen_at__gt=now - QUIET_FOR).exists()
    if is_quiet:
        raising.ended(NOTICE, about="pages", now=now)
