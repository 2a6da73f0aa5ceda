"""Usage as providers reported it. Append only."""

from __future__ import annotations

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q

from customers.models import Account, Connection, UsageReading
from portal.money_field import ScaledDecimalField


class UsageSnapshot(models.Model):
    """One account's usage in one billing period as reported by the provider at a time. Append only.

    A row is added only when the answer differs from the last one; confirmations are recorded on
    `UsagePeriod`. What contradicts an earlier reading is stored all the same, with an `Anomaly`.
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
    allocated_cost = ScaledDecimalField(null=True)
    currency = models.CharField(max_length=3, default="", blank=True)
    raw = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    raw_sha256 = models.CharField(max_length=64)
    batch = models.BigIntegerField(default=0)
    run = models.ForeignKey("billing.SyncRun", null=True, on_delete=models.PROTECT, related_name="snapshots")
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
        # All that is asked about the readings of a billing period, in their order, without reading the wide rows.
        indexes = [
            models.Index(
                fields=("period_start_on", "account", "as_of", "seq", "id", "batch", "used"),
                name="usage_snapshot_of_period",
            )
        ]

    def __str__(self) -> str:
        return f"{self.account_id} {self.period_start_on} as of {self.as_of:%Y-%m-%d %H:%M}"

    @property
    def is_final(self) -> bool:
        """True if this is the reading taken before a delete by the portal."""
        return self.final_reading is not None and self.final_reading.moment == UsageReading.Moment.FINAL


class PooledSnapshot(models.Model):
    """Usage of a connection's whole pool in one billing period as reported by the provider at a time. Append only.

    Counts are emails, costs are shares of one invoice in `currency`. `accounts` are those stored in the portal,
    `unmapped` the others, `removed` the provider's sum of accounts deleted there. `shares` lists the first two one by
    one: `{"id", "name", "count", "cost" (text), "known"}`. A report that does not add up is stored with `adds_up`
    false.
    """

    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="pooled_snapshots")
    run = models.ForeignKey("billing.SyncRun", null=True, on_delete=models.PROTECT, related_name="pooled_snapshots")
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
    parent_cost = ScaledDecimalField()
    accounts_count = models.BigIntegerField()
    accounts_cost = ScaledDecimalField()
    unmapped_count = models.BigIntegerField()
    unmapped_cost = ScaledDecimalField()
    removed_count = models.BigIntegerField()
    removed_cost = ScaledDecimalField()
    total_count = models.BigIntegerField()
    total_cost = ScaledDecimalField()
    adds_up = models.BooleanField()
    shares = models.JSONField(default=list, encoder=DjangoJSONEncoder)
    raw = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    raw_sha256 = models.CharField(max_length=64)
    batch = models.BigIntegerField(default=0)

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


class MidnightReading(models.Model):
    """Credits of an account right after midnight of its own time zone, to be compared with statistics of whole days.
    Append only.

    `day` begins at that midnight. A row is added even if usage is unchanged. `reported_start_on` is the start of the
    billing period that the provider reported.
    """

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="midnight_readings")
    day = models.DateField()
    zone = models.CharField(max_length=64)
    at = models.DateTimeField()
    reported_start_on = models.DateField()
    used = models.BigIntegerField()

    class Meta:
        ordering = ("account", "day")
        constraints = [models.UniqueConstraint(fields=("account", "day", "zone"), name="midnight_reading_once")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.day}: {self.used}"
