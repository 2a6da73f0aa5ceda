"""Periods of the rules: reading them, and changing one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from portal.access.permissions import Permission, require
from portal.commands import Command
from portal.edits import refuse_stale
from portal.refusals import Refusal
from portal.retention.models import RetentionPeriod
from portal.retention.rules import RetentionRule, retention_rules

FIELDS = ("days",)
# The longest period that can be chosen, a hundred years.
MOST_DAYS = 36_500


class Unconfirmed(Exception):
    """The period is shorter, which has to be confirmed. Nothing was changed."""

    def __init__(self, days: int) -> None:
        super().__init__(days)
        self.days = days


def retention_days(rule: RetentionRule) -> int | None:
    """Return the period of a rule in days; None keeps its rows."""
    return _chosen(rule, RetentionPeriod.objects.filter(code=rule.code).first())


def all_periods() -> list[tuple[RetentionRule, int | None, RetentionPeriod | None]]:
    """Return every rule with its period and what is stored about it."""
    stored = {each.code: each for each in RetentionPeriod.objects.select_related("changed_by")}
    return [(rule, _chosen(rule, stored.get(rule.code)), stored.get(rule.code)) for rule in retention_rules()]


def _chosen(rule: RetentionRule, stored: RetentionPeriod | None) -> int | None:
    """Return the chosen period or the default. One below the rule's least, which a release may raise, is the least."""
    if rule.is_fixed:
        return 0
    if stored is None or stored.changed_at is None:
        return rule.days
    if stored.days is None:
        return None if rule.may_keep else rule.days
    return max(stored.days, rule.least)


def ended_before(now: datetime, days: int) -> datetime:
    """Return the moment before which a row must have ended to be removed at `now`."""
    return now - timedelta(days=days)


def count_due(rule: RetentionRule, days: int | None, *, now: datetime) -> int:
    """Return how many rows a run at `now` removes under this period."""
    return 0 if days is None else rule.count(ended_before(now, days))


def change_period(
    command: Command,
    rule: RetentionRule,
    *,
    facts: Mapping[str, Any],
    confirmed: bool = False,
    seen: Mapping[str, Any] | None = None,
) -> int | None:
    """Change the period of a rule, and return it. Raises `EditConflict` if another admin changed it since,
    `Unconfirmed` for a shorter one that isn't `confirmed`, and `Refusal` for one that the rule doesn't allow."""
    require(command.person, Permission.MANAGE_RETENTION)
    if not facts:
        return retention_days(rule)
    days: int | None = facts["days"]
    _check_allowed(rule, days)
    with transaction.atomic():
        RetentionPeriod.objects.get_or_create(code=rule.code)
        row = RetentionPeriod.objects.select_for_update().get(code=rule.code)
        before = _chosen(rule, row)
        refuse_stale({"days": before}, facts, seen)
        if before == days:
            return before
        if days is not None and (before is None or days < before) and not confirmed:
            raise Unconfirmed(days)
        row.days, row.changed_by, row.changed_at = days, command.person, command.now
        row.due, row.counted_at = count_due(rule, days, now=command.now + timedelta(days=1)), command.now
        row.save(update_fields=["days", "changed_by", "changed_at", "due", "counted_at"])
        command.record(verb="retention.period_changed", obj=row, before={"days": before}, after={"days": days})
    return days


def _check_allowed(rule: RetentionRule, days: int | None) -> None:
    if rule.is_fixed:
        raise Refusal(_("This period can't be changed."))
    if days is None and not rule.may_keep:
        raise Refusal(_("These rows can't be kept permanently. Enter a number of days."), field="days")
    if days is not None and not rule.least <= days <= MOST_DAYS:
        text = _("Enter %(least)d to %(most)d days.") % {"least": rule.least, "most": MOST_DAYS}
        raise Refusal(text, field="days")
