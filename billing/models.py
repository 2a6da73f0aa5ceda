"""Usage reported by providers (append only), the billing periods derived from it, and the sync runs that read it.

Missing usage is the absence of a row, never a zero: `used` is not nullable anywhere.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from customers.models import Account, Connection, UsageReading
from portal.leases import Fenced
from portal.texts import StoredTextField

# Digits of an allocated cost: six places, and no more digits than SQLite returns unchanged.
COST_DIGITS, COST_PLACES = 15, 6


def _cost(*, null: bool = False) -> models.DecimalField[Any, Any]:
    return models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES, null=null)


class SyncRun(Fenced):
    """One sync of a connection's accounts.

    `slot` makes a run unique within its kind: the UTC date for a nightly run, the request's token for a requested run,
    the period's end and the time before it for a deadline run.
    """

    class Kind(models.TextChoices):
        NIGHTLY = "nightly", _("Nightly")
        ASKED = "asked", _("Manual")
        DEADLINE = "deadline", _("Before period end")

    class State(models.TextChoices):
        RUNNING = "running", _("In progress")
        COMPLETE = "complete", _("Completed")
        WITH_ERRORS = "complete_with_errors", _("Completed with errors")
        PAUSED = "paused", _("Paused")
        ABORTED = "aborted", _("Stopped")

    ENDED = (State.COMPLETE, State.WITH_ERRORS, State.ABORTED)
    OPEN = (State.RUNNING, State.PAUSED)
    # Runs over all accounts. A connection has at most one of them open.
    FULL = (Kind.NIGHTLY, Kind.ASKED)

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
    # Usage that differed from the last snapshot, and usage lower than it (stored, but not accepted).
    changed = models.PositiveIntegerField(default=0)
    lower = models.PositiveIntegerField(default=0)
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    # Items pending by then fail: the next night, or the next billing period, has begun.
    until = models.DateTimeField()
    message = StoredTextField(default="", blank=True)
    # For a source that reports all accounts at once: the snapshot that was added or confirmed, and when.
    pooled = models.ForeignKey("PooledSnapshot", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    pooled_at = models.DateTimeField(null=True, blank=True)
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


class UsageSnapshot(models.Model):
    """One account's usage in one billing period as reported by the provider at a time. Append only.

    A row is added only when the answer differs from the last one; confirmations are recorded on `SyncItem` and
    `UsagePeriod`. `lower` marks a count below the known one of the same period: stored, but not accepted.
    """

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="usage_snapshots")
    source = models.CharField(max_length=20)
    period_start_on = models.DateField()
    period_end_on = models.DateField()
    period_inferred = models.BooleanField(default=False)
    as_of = models.DateTimeField()
    seq = models.PositiveSmallIntegerField(default=0)
    used = models.BigIntegerField()
    allowed = models.BigIntegerField(null=True)
    remaining = models.BigIntegerField(null=True)
    overage = models.BigIntegerField(null=True)
    requests = models.BigIntegerField(null=True)
    reputation = models.DecimalField(max_digits=6, decimal_places=2, null=True)
    package = models.CharField(max_length=200, default="", blank=True)
    process_on = models.DateField(null=True)
    # The account's share of the invoice for all, where reported. It may change without usage of the account.
    allocated_cost = _cost(null=True)
    currency = models.CharField(max_length=3, default="", blank=True)
    raw = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    raw_sha256 = models.CharField(max_length=64)
    lower = models.BooleanField(default=False)
    run = models.ForeignKey(SyncRun, null=True, on_delete=models.PROTECT, related_name="snapshots")
    # Set for a reading that customers took around a change; that of moment "final" was taken before a delete.
    final_reading = models.OneToOneField(
        UsageReading, null=True, on_delete=models.PROTECT, related_name="usage_snapshot"
    )

    class Meta:
        ordering = ("account", "period_start_on", "as_of", "seq")
        constraints = [
            models.UniqueConstraint(
                fields=("account", "source", "period_start_on", "as_of", "seq"), name="usage_snapshot_once"
            ),
            models.CheckConstraint(
                condition=Q(period_end_on__gte=F("period_start_on")), name="usage_snapshot_period_in_order"
            ),
            models.CheckConstraint(condition=Q(used__gte=0), name="usage_snapshot_used_not_negative"),
            models.CheckConstraint(
                condition=Q(allocated_cost=None) | ~Q(currency=""), name="usage_snapshot_cost_has_currency"
            ),
        ]
        indexes = [models.Index(fields=("account", "as_of"), name="usage_snapshot_of_account")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.period_start_on} as of {self.as_of:%Y-%m-%d %H:%M}"


class PooledSnapshot(models.Model):
    """Usage of a connection's whole pool in one billing period as reported by the provider at a time. Append only.

    Counts are emails, costs are shares of one invoice in `currency`. `accounts` are those stored in the portal,
    `unmapped` the others, `removed` the provider's sum of accounts deleted there. `shares` lists the first two one by
    one: `{"id", "name", "count", "cost" (text), "known"}`. A report that does not add up is stored with `adds_up`
    false.
    """

    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="pooled_snapshots")
    run = models.ForeignKey(SyncRun, null=True, on_delete=models.PROTECT, related_name="pooled_snapshots")
    period_start_on = models.DateField()
    period_end_on = models.DateField()
    # The same as reported; the end is exclusive.
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    as_of = models.DateTimeField()
    seq = models.PositiveSmallIntegerField(default=0)
    currency = models.CharField(max_length=3)
    method = models.CharField(max_length=60, default="", blank=True)
    note = models.TextField(default="", blank=True)
    parent_count = models.BigIntegerField()
    parent_cost = _cost()
    accounts_count = models.BigIntegerField()
    accounts_cost = _cost()
    unmapped_count = models.BigIntegerField()
    unmapped_cost = _cost()
    removed_count = models.BigIntegerField()
    removed_cost = _cost()
    total_count = models.BigIntegerField()
    total_cost = _cost()
    adds_up = models.BooleanField()
    shares = models.JSONField(default=list, encoder=DjangoJSONEncoder)
    raw = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    raw_sha256 = models.CharField(max_length=64)

    class Meta:
        ordering = ("connection", "period_start_on", "as_of", "seq")
        constraints = [
            models.UniqueConstraint(
                fields=("connection", "period_start_on", "as_of", "seq"), name="pooled_snapshot_once"
            ),
            models.CheckConstraint(
                condition=Q(period_end_on__gte=F("period_start_on"), ends_at__gt=F("starts_at")),
                name="pooled_snapshot_period_in_order",
            ),
            models.CheckConstraint(
                condition=Q(adds_up=False)
                | Q(total_count=F("parent_count") + F("accounts_count") + F("unmapped_count") + F("removed_count")),
                name="pooled_snapshot_counts_add_up",
            ),
            models.CheckConstraint(
                condition=Q(
                    parent_count__gte=0,
                    accounts_count__gte=0,
                    unmapped_count__gte=0,
                    removed_count__gte=0,
                    total_count__gte=0,
                ),
                name="pooled_snapshot_not_negative",
            ),
            models.CheckConstraint(condition=~Q(currency=""), name="pooled_snapshot_has_currency"),
        ]
        indexes = [models.Index(fields=("connection", "period_end_on"), name="pooled_snapshot_of_month")]

    def __str__(self) -> str:
        return f"{self.connection_id} {self.period_start_on} as of {self.as_of:%Y-%m-%d %H:%M}"


class Acceptance(models.Model):
    """Acceptance of a held snapshot by finance: who, when and why. Append only."""

    snapshot = models.OneToOneField(UsageSnapshot, on_delete=models.PROTECT, related_name="acceptance")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    reason = models.TextField(max_length=1000)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.snapshot_id} by {self.by_id}"


class UsagePeriod(models.Model):
    """One account's billing period, derived from its snapshots for pages and totals.

    `current` is the last accepted snapshot, `latest` the last one of all, `held` one that waits for finance. `read_at`
    also moves when a sync confirms the usage. `month` is the month of the period's end.
    """

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="usage_periods")
    start_on = models.DateField()
    end_on = models.DateField()
    ends_at = models.DateTimeField()
    month = models.DateField()
    current = models.ForeignKey(UsageSnapshot, on_delete=models.PROTECT, related_name="+")
    latest = models.ForeignKey(UsageSnapshot, on_delete=models.PROTECT, related_name="+")
    held = models.ForeignKey(UsageSnapshot, null=True, on_delete=models.PROTECT, related_name="+")
    used = models.BigIntegerField()
    allowed = models.BigIntegerField(null=True)
    overage = models.BigIntegerField(null=True)
    allocated_cost = _cost(null=True)
    currency = models.CharField(max_length=3, default="", blank=True)
    read_at = models.DateTimeField()
    # Seconds between the last snapshot and the end of the period; 0 = taken at the end or later.
    unread_seconds = models.PositiveIntegerField()
    # The usage was read before a delete, so the figure is final.
    final = models.BooleanField(default=False)
    readings = models.PositiveIntegerField(default=1)

    class Meta:
        ordering = ("account", "-start_on")
        constraints = [models.UniqueConstraint(fields=("account", "start_on"), name="usage_period_once")]
        indexes = [models.Index(fields=("month", "account"), name="usage_period_of_month")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.start_on} to {self.end_on}"


class SyncItem(models.Model):
    """One account in one run."""

    class State(models.TextChoices):
        PENDING = "pending", _("Pending")
        DONE = "done", _("Synced")
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
    # The snapshot that was added or confirmed, and when it was read.
    snapshot = models.ForeignKey(UsageSnapshot, null=True, on_delete=models.PROTECT, related_name="items")
    read_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("id",)
        constraints = [
            models.UniqueConstraint(fields=("run", "account"), name="usage_item_once"),
            models.CheckConstraint(
                condition=Q(state="done", snapshot__isnull=False, read_at__isnull=False)
                | (~Q(state="done") & Q(snapshot__isnull=True, read_at__isnull=True)),
                name="usage_item_done_has_reading",
            ),
        ]
        indexes = [
            models.Index(fields=("run", "state", "not_before"), name="usage_item_due"),
            models.Index(fields=("account", "read_at"), name="usage_item_of_account"),
        ]

    def __str__(self) -> str:
        return f"{self.run_id}/{self.account_id} {self.state}"
