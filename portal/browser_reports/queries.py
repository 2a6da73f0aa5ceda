"""Reports grouped for the page: one line per thing blocked, with the pages and browsers it was blocked in."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from django.utils.translation import gettext as _

from portal.browser_reports.models import BrowserReport
from portal.browser_reports.parsing import OTHER, UNKNOWN


@dataclass
class ReportGroup:
    directive: str
    blocked: str
    is_extension: bool
    first_seen_at: datetime
    last_seen_at: datetime
    count: int = 0
    pages: set[str] = field(default_factory=set)
    browsers: set[str] = field(default_factory=set)

    @property
    def title(self) -> str:
        return _titles().get(self.directive.removesuffix("-elem").removesuffix("-attr"), _("Other content"))

    @property
    def blocked_text(self) -> str:
        return _sources().get(self.blocked, self.blocked)

    @property
    def page_names(self) -> str:
        return ", ".join(_("Unknown page") if each == UNKNOWN else each for each in sorted(self.pages))

    @property
    def browser_names(self) -> str:
        return ", ".join(_("Other") if each == OTHER else each for each in sorted(self.browsers))


def report_groups() -> list[ReportGroup]:
    """Return what was blocked on our own pages first, then what extensions caused, each with the latest first."""
    found: dict[tuple[str, str, bool], ReportGroup] = {}
    for row in BrowserReport.objects.all():
        key = (row.directive, row.blocked, row.is_extension)
        group = found.setdefault(key, ReportGroup(*key, row.first_seen_at, row.last_seen_at))
        group.first_seen_at = min(group.first_seen_at, row.first_seen_at)
        group.last_seen_at = max(group.last_seen_at, row.last_seen_at)
        group.count += row.count
        group.pages.add(row.page)
        group.browsers.add(row.browser)
    latest_first = sorted(found.values(), key=lambda each: each.last_seen_at, reverse=True)
    return sorted(latest_first, key=lambda each: each.is_extension)


def _titles() -> dict[str, str]:
    return {
        "script-src": _("Script"),
        "style-src": _("Style"),
        "img-src": _("Image"),
        "font-src": _("Font"),
        "connect-src": _("Request"),
        "form-action": _("Form target"),
        "frame-src": _("Embedded page"),
        "child-src": _("Embedded page"),
        "frame-ancestors": _("Embedding of a page"),
        "base-uri": _("Base address"),
        "require-trusted-types-for": _("Text used as HTML or script"),
        "trusted-types": _("Trusted Types policy"),
    }


def _sources() -> dict[str, str]:
    return {
        "inline": _("Inside the page"),
        "eval": _("Text run as a script"),
        "trusted-types-sink": _("Text used as HTML or script"),
        "trusted-types-policy": _("Trusted Types policy"),
        UNKNOWN: _("Unknown address"),
    }
