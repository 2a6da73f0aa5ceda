"""Runs of the usage sync, and their accounts."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from customers.models import Account, Connection
from portal.leases import Fenced
from portal.texts import StoredTextField


class SyncRun(Fenced):
    """One sync of a connection's accounts.

    `slot` makes a run unique within its kind: the UTC date for a nightly run, the request's token for a requested run,
    the period's end and the time before or after it for a deadline run, the day and its time zone for a midnight run.
    Runs of kinds `WITHOUT_ITEMS` count accounts and store no item for each; `position` is the last account they read.
    """

    class Kind(models.TextChoices):
        NIGHTLY = "nightly", _("Nightly")
        ASKED = "asked", _("Manual")
        DEADLINE = "deadline", _("Before period end")
        MIDNIGHT = "midnight", _("At midnight")
        STATISTICS = "statistics", _("Statistics")

    class State(models.TextChoices):
        RUNNING = "running", _("In progress")
        COMPLETE = "complete", _("Completed")
        WITH_ERRORS = "complete_with_errors", _("Completed with errors")
        PAUSED = "paused", _("Paused")
        ABORTED = "aborted", _("Stopped")

    class Limit(models.TextChoices):
        """The limit that a sync's speed met when it last wrote."""

        QUOTA = "quota", _("The connection's requests per minute")
        LATENCY = "latency", _("The provider's response time")
        WORKER = "worker", _("The worker's processor")
        DATABASE = "database", _("The database")

    ENDED = (State.COMPLETE, State.WITH_ERRORS, State.ABORTED)
    OPEN = (State.RUNNING, State.PAUSED)
    # Runs over all accounts. A connection has at most one of them open.
    FULL = (Kind.NIGHTLY, Kind.ASKED)
    WITHOUT_ITEMS = (Kind.MIDNIGHT, Kind.STATISTICS)

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="usage_runs")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    slot = models.CharField(max_length=64)
    # The connection's source when the run began: a run never mixes two.
    source = models.CharField(max_length=20)
    state = models.CharField(max_length=20, choices=State.choices, default=State.RUNNING)
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)
    # Usage that differed from the last snapshot, and anomalies found.
    changed = models.PositiveIntegerField(default=0)
    anomalies = models.PositiveIntegerField(default=0, db_column="lower")
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    # Items pending by then fail: the next night, or the next billing period, has begun.
    until = models.DateTimeField()
    limit = models.CharField(max_length=8, choices=Limit.choices, default="", db_default="", blank=True)
    message = StoredTextField(default="", blank=True)
    # For a source that reports all accounts at once: the snapshot that was added or confirmed, and when.
    pooled = models.ForeignKey("PooledSnapshot", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    pooled_at = models.DateTimeField(null=True, blank=True)
    position = models.BigIntegerField(default=0, db_default=0)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    # Retention: when deletion of the items began, and how many had each cause: {"failed": {cause: number}, ...}.
    items_removed_at = models.DateTimeField(null=True, blank=True)
    removed_causes = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ("-started_at", "-id")
        constraints = [
            models.UniqueConstraint(fields=("connection", "kind", "slot"), name="usage_run_once_per_slot"),
            models.UniqueConstraint(
                fields=("connection",),
                condition=Q(kind__in=("nightly", "asked"), state__in=("running", "paused")),
                name="usage_run_one_open_full_run",
            ),
            models.CheckConstraint(
                condition=Q(total__gte=F("done") + F("failed") + F("skipped")), name="usage_run_counts_fit"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=("complete", "complete_with_errors", "aborted"))
                | Q(total=F("done") + F("failed") + F("skipped")),
                name="usage_run_ended_means_all_settled",
            ),
        ]
        indexes = [
            models.Index(fields=("state", "not_before"), name="usage_run_due"),
            models.Index(fields=("connection", "-started_at"), name="usage_run_latest"),
        ]

    def __str__(self) -> str:
        return f"{self.connection} {self.kind} {self.slot}"

    @property
    def pending(self) -> int:
        return self.total - self.done - self.failed - self.skipped

    @property
    def settled(self) -> int:
        return self.done + self.failed + self.skipped

    @property
    def has_ended(self) -> bool:
        return self.state in self.ENDED

    @property
    def may_be_retried(self) -> bool:
        """True if accounts failed that can be read again in this run."""
        unread = (self.has_ended and self.failed > 0) or self.state == self.State.ABORTED
        return unread and self.kind not in self.WITHOUT_ITEMS and self.items_removed_at is None


class SyncItem(models.Model):
    """One account of a run that was not read: still pending, failed or skipped. It is deleted once its usage is stored,
    so that a night without trouble leaves no rows."""

    class State(models.TextChoices):
        PENDING = "pending", _("Pending")
        FAILED = "failed", _("Failed")
        SKIPPED = "skipped", _("Skipped")

    run = models.ForeignKey(SyncRun, on_delete=models.CASCADE, related_name="items")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="usage_items")
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    tries = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(null=True)
    # A code of billing.usage.failure_reasons; `message` is the provider's or the portal's.
    cause = models.CharField(max_length=20, default="", blank=True)
    message = StoredTextField(default="", blank=True)

    class Meta:
        ordering = ("id",)
        constraints = [models.UniqueConstraint(fields=("run", "account"), name="usage_item_once")]
        indexes = [models.Index(fields=("run", "state", "not_before"), name="usage_item_due")]

    def __str__(self) -> str:
        return f"{self.run_id}/{self.account_id} {self.state}"
