"""The stage of a month: draft until its grace days are over, then in review, then closed."""

from __future__ import annotations

from datetime import UTC, date, datetime

from django.db import models
from django.utils.translation import gettext_lazy as _

from billing.models import MonthClosing


class Stage(models.TextChoices):
    DRAFT = "draft", _("Draft")
    IN_REVIEW = "in_review", _("In review")
    CLOSING = "closing", _("Closing")
    CLOSED = "closed", _("Closed")


def stage_of(review_on: date, last: MonthClosing | None, *, now: datetime) -> Stage:
    """Return the stage of a month whose review begins on `review_on`. `last`: its last closing, if it has one."""
    if last and last.state == MonthClosing.State.RUNNING:
        return Stage.CLOSING
    if last and last.state == MonthClosing.State.CLOSED:
        return Stage.CLOSED
    return Stage.DRAFT if now.astimezone(UTC).date() < review_on else Stage.IN_REVIEW
