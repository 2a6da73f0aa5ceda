"""Periods that an admin chose, and the runs of the nightly job.

Only `portal.retention.periods` writes periods, only `portal.retention.runs` writes runs and estimates.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from portal.leases import Fenced
from portal.retention.rules import find_rule


class RetentionPeriod(models.Model):
    """The period of a rule. `days` None keeps the rows; a rule without a row has its default.

    `due` is how many rows the next run will remove, as last counted; None: not counted yet.
    """

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    code = models.CharField(max_length=40, unique=True)
    days = models.PositiveIntegerField(null=True, blank=True)
    due = models.PositiveIntegerField(null=True, blank=True)
    counted_at = models.DateTimeField(null=True, blank=True)
    # None: nobody chose it, the default of the rule applies.
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    changed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        rule = find_rule(self.code)
        return str(rule.label) if rule else self.code


class RetentionRun(Fenced):
    """One run over all rules. `slot` makes the nightly one unique: the UTC date; for one started by hand, its time.

    `remaining` are the codes of rules that it has not finished, in their order. `removed` counts rows by rule, and
    `errors` names the kind of error of rules that failed. `only_counts`: it removes nothing, because admins need
    time to look at the periods first.
    """

    LEASE: ClassVar[timedelta] = timedelta(minutes=5)

    class State(models.TextChoices):
        RUNNING = "running", _("In progress")
        ENDED = "ended", _("Completed")
        STOPPED = "stopped", _("Stopped at the time limit")

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    slot = models.CharField(max_length=40, unique=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    only_counts = models.BooleanField(default=False)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    remaining = models.JSONField(default=list, blank=True)
    removed = models.JSONField(default=dict, blank=True)
    errors = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ("-started_at", "-id")
        constraints = [
            models.UniqueConstraint(fields=("state",), condition=Q(state="running"), name="retention_run_one_open"),
            models.CheckConstraint(
                condition=Q(state="running", finished_at=None) | (~Q(state="running") & Q(finished_at__isnull=False)),
                name="retention_run_finished_fits_state",
            ),
        ]
        indexes = [models.Index(fields=("-started_at",), name="retention_run_latest")]

    def __str__(self) -> str:
        return self.slot

    @property
    def removed_total(self) -> int:
        return sum(self.removed.values())
