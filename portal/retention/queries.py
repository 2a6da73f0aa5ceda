"""Queries of the page "Retention"."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from portal.formats import number_text
from portal.retention import periods, runs
from portal.retention.models import RetentionPeriod, RetentionRun
from portal.retention.rules import COUNTED, RetentionRule, find_rule

RUNS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class RetentionRow:
    rule: RetentionRule
    days: int | None
    stored: RetentionPeriod | None

    @property
    def period_label(self) -> str:
        return _("Once they end") if self.rule.is_fixed else period_label(self.days)

    @property
    def due_text(self) -> str:
        due = self.stored.due if self.stored else None
        return "" if due is None else count_text(due)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run with what it removed, and what failed, by the label of the rule."""

    run: RetentionRun
    removed: list[tuple[str, int]]
    failed: list[tuple[str, str]]


def period_label(days: int | None) -> str:
    if days is None:
        return _("Never")
    return ngettext("%(n)s day", "%(n)s days", days) % {"n": number_text(days)}


def count_text(n: int) -> str:
    return _("more than %(n)s") % {"n": number_text(COUNTED)} if n > COUNTED else number_text(n)


def retention_rows() -> list[RetentionRow]:
    return [RetentionRow(*each) for each in periods.all_periods()]


def retention_row(rule: RetentionRule) -> RetentionRow:
    stored = RetentionPeriod.objects.filter(code=rule.code).select_related("changed_by").first()
    return RetentionRow(rule, periods.retention_days(rule), stored)


def run_rows() -> list[RunRow]:
    """Return the last runs, newest first."""
    return [
        RunRow(
            run,
            [(_label(code), n) for code, n in run.removed.items()],
            [(_label(code), error) for code, error in run.errors.items()],
        )
        for run in RetentionRun.objects.all()[:RUNS_SHOWN]
    ]


def alarms(*, now: datetime) -> list[tuple[str, str]]:
    """Return what is wrong with the nightly job: title and text."""
    found = [(_("Retention rules weren't applied"), runs.late_text(now=now))]
    if last := RetentionRun.objects.exclude(finished_at=None).first():
        found.append((_("Retention rules failed"), runs.failed_text(last)))
    return [(title, text) for title, text in found if text]


def _label(code: str) -> str:
    rule = find_rule(code)
    return str(rule.label) if rule else code
