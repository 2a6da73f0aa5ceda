"""The stage of a month: draft until its grace days are over, then in review, then closed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from django.db import models
from django.utils.translation import gettext_lazy as _

from billing.models import BillingTerms, MonthClosing
from billing.usage.periods import last_day

DAY = timedelta(days=1)


class Stage(models.TextChoices):
    DRAFT = "draft", _("Draft")
    IN_REVIEW = "in_review", _("In review")
    CLOSING = "closing", _("Closing")
    CLOSED = "closed", _("Closed")


def billing_terms() -> BillingTerms:
    """Return the stored settings, or the defaults without storing them."""
    return BillingTerms.objects.filter(pk=1).first() or BillingTerms(pk=1)


def review_starts_on(month: date, terms: BillingTerms) -> date:
    """Return the first day of the review: so many days after the month's end, late figures have arrived."""
    return last_day(month) + DAY + timedelta(days=terms.grace_days)


def stage_of(month: date, terms: BillingTerms, last: MonthClosing | None, *, now: datetime) -> Stage:
    """Return the stage. `last`: the month's last closing, if it has one."""
    if last and last.state == MonthClosing.State.RUNNING:
        return Stage.CLOSING
    if last and last.state == MonthClosing.State.CLOSED:
        return Stage.CLOSED
    return Stage.DRAFT if now.astimezone(UTC).date() < review_starts_on(month, terms) else Stage.IN_REVIEW
