"""Usage figures derived from readings: their status, their versions, and what a person has to decide about them.

A figure is the number of emails of one account in one billing period. It is exact, or an interval: `used` is the least
and `high` the most it can be. Every change has the number of its ledger batch, so that "as of batch N" never changes.
"""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from billing.models.readings import PooledSnapshot, UsageSnapshot
from customers.models import Account, Connection, Customer
from portal.money_field import ScaledDecimalField


class Status(models.TextChoices):
    """How reliable a figure is: one vocabulary for pages, charts and exports."""

    FINAL = "final", _("Final")
    DERIVED = "derived", _("Derived")
    INTERVAL = "interval", _("Interval")
    OPEN = "open", _("Open")
    STALE = "stale", _("Stale")
    MISSING = "missing", _("Missing")
    DISPUTED = "disputed", _("Disputed")


# Figures of billing periods that are not over.
NOT_OVER = (Status.OPEN, Status.STALE)
# Those that a person may have to decide about.
UNDECIDED = (Status.INTERVAL, Status.MISSING, Status.DISPUTED)


# The order of the report: figures that are missing come last. SQLite has no NULLS LAST in an index.
MOST_USED = Coalesce("used", -1).desc()


class Ledger(models.Model):
    """The last ledger batch: one row, locked from the assignment of a number until the commit.

    Numbers are therefore committed in order: who sees batch N sees all batches before it.
    """

    last = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"batch {self.last}"


class UsagePeriodManager(models.Manager["UsagePeriod"]):
    """Leaves out the periods that a person split off and joined again: no page, sum or reading knows them."""

    def get_queryset(self) -> models.QuerySet[UsagePeriod]:
        return super().get_queryset().filter(joined=False)


class UsagePeriod(models.Model):
    """One account's billing period and its figure as of now, derived from readings, evidence and decisions.

    `month` is the month of the period's last day. `reported_start_on` is the start as the provider reports it: it is
    earlier than `start_on` where a person decided that the provider restarted the period without saying so; then only
    readings from `counts_from` on count. Where that decision was undone, the later part is `joined`: its readings
    belong to the earlier one again, and the row is kept only for its versions. A missing figure has no reading that
    counts and no `used`: unknown is never zero. A number that a person entered needs no reading.
    `days_read` has a bit for each day of the period on which usage was read.
    """

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="usage_periods")
    start_on = models.DateField()
    end_on = models.DateField()
    reported_start_on = models.DateField()
    ends_at = models.DateTimeField()
    month = models.DateField()
    counts_from = models.DateTimeField(null=True)
    counts_until = models.DateTimeField(null=True)
    inferred = models.BooleanField(default=False)
    status = models.CharField(max_length=10, choices=Status.choices)
    # A code of billing.usage.assess: why the figure has its status.
    reason = models.CharField(max_length=24, default="", blank=True)
    # The last counted reading, and the last one of all.
    current = models.ForeignKey(UsageSnapshot, null=True, on_delete=models.PROTECT, related_name="+")
    latest = models.ForeignKey(UsageSnapshot, null=True, on_delete=models.PROTECT, related_name="+")
    used = models.BigIntegerField(null=True)
    high = models.BigIntegerField(null=True)
    allowed = models.BigIntegerField(null=True)
    overage = models.BigIntegerField(null=True)
    overage_high = models.BigIntegerField(null=True)
    allocated_cost = ScaledDecimalField(null=True)
    currency = models.CharField(max_length=3, default="", blank=True)
    package = models.CharField(max_length=200, default="", blank=True)
    read_at = models.DateTimeField(null=True)
    # The first reading of this period at or after its end, and the first one of a later period.
    read_after_end_at = models.DateTimeField(null=True)
    next_seen_at = models.DateTimeField(null=True)
    # The usage was read before a delete by the portal.
    before_deletion = models.BooleanField(default=False, db_column="final")
    days_read = models.BigIntegerField(default=0)
    readings = models.PositiveIntegerField(default=0)
    joined = models.BooleanField(default=False)
    # Who decides on a figure that has no anomaly.
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    # Versions are kept once the period is over, or its figure was exported or billed.
    exported = models.BooleanField(default=False)
    version = models.PositiveIntegerField(default=0)
    batch = models.BigIntegerField(default=0)
    # A decision about very many accounts was stored and the figure doesn't follow it yet.
    recompute_due = models.BooleanField(default=False)

    objects = UsagePeriodManager()

    class Meta:
        ordering = ("account", "-start_on")
        constraints = [
            models.UniqueConstraint(fields=("account", "start_on"), name="usage_period_once"),
            models.CheckConstraint(
                condition=Q(status="missing", used=None, current=None)
                | (~Q(status="missing") & Q(used__isnull=False) & (Q(current__isnull=False) | Q(reason="quantity"))),
                name="usage_period_missing_has_no_figure",
            ),
            models.CheckConstraint(condition=Q(high=None) | Q(high__gte=F("used")), name="usage_period_low_to_high"),
            models.CheckConstraint(
                condition=~Q(status__in=("final", "derived")) | Q(high=F("used")), name="usage_period_final_is_exact"
            ),
        ]
        indexes = [
            models.Index(fields=("month", "account"), name="usage_period_of_month"),
            models.Index("month", MOST_USED, name="usage_period_most_used"),
            # Partial: one of all figures was taken to sort a month by status, and read every month for it.
            models.Index(fields=("status", "ends_at"), condition=Q(status__in=NOT_OVER), name="usage_period_to_assess"),
            models.Index(fields=("month", "status"), condition=Q(status__in=UNDECIDED), name="usage_period_to_decide"),
            models.Index(fields=("month",), condition=Q(version=0), name="usage_period_unversioned"),
            models.Index(fields=("id",), condition=Q(recompute_due=True), name="usage_period_recompute_due"),
        ]

    def __str__(self) -> str:
        return f"{self.account_id} {self.start_on} to {self.end_on}"

    @property
    def is_over(self) -> bool:
        return self.status not in NOT_OVER

    @property
    def width(self) -> int | None:
        """Return the emails between the least and the most the figure can be; None if there is no known most."""
        return None if self.high is None or self.used is None else self.high - self.used


class FigureVersion(models.Model):
    """A figure as it was from one ledger batch to another. Written once; only `to_batch` is added, by the next one."""

    period = models.ForeignKey(UsagePeriod, on_delete=models.PROTECT, related_name="versions")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+")
    n = models.PositiveIntegerField()
    from_batch = models.BigIntegerField()
    to_batch = models.BigIntegerField(null=True)
    at = models.DateTimeField()
    # A code of billing.usage.figures: why the figure changed.
    cause = models.CharField(max_length=24)
    month = models.DateField()
    start_on = models.DateField()
    end_on = models.DateField()
    status = models.CharField(max_length=10, choices=Status.choices)
    reason = models.CharField(max_length=24, default="", blank=True)
    used = models.BigIntegerField(null=True)
    high = models.BigIntegerField(null=True)
    allowed = models.BigIntegerField(null=True)
    overage = models.BigIntegerField(null=True)
    overage_high = models.BigIntegerField(null=True)
    allocated_cost = ScaledDecimalField(null=True)
    currency = models.CharField(max_length=3, default="", blank=True)
    package = models.CharField(max_length=200, default="", blank=True)
    read_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("period", "n")
        constraints = [
            models.UniqueConstraint(fields=("period", "n"), name="figure_version_once"),
            models.UniqueConstraint(
                fields=("period",), condition=Q(to_batch=None), name="figure_version_one_is_current"
            ),
            models.CheckConstraint(
                condition=Q(to_batch=None) | Q(to_batch__gt=F("from_batch")), name="figure_version_in_order"
            ),
        ]
        indexes = [
            models.Index(fields=("month", "from_batch"), name="figure_version_of_month"),
            models.Index(fields=("month", "to_batch"), name="figure_version_until"),
            models.Index("month", MOST_USED, name="figure_version_most_used"),
        ]

    def __str__(self) -> str:
        return f"{self.period_id} version {self.n}"


class Anomaly(models.Model):
    """A reported value that contradicts another one. It stays open until a person decides.

    `before` and `after` are the contradicting values in words or numbers, `effect` the emails and `effect_cost` the
    amount that depend on the decision; where only a cost does, `effect` is the emails that it pays for. `cause` groups
    anomalies that one event at the provider explains: they are decided together. Those of one pooled report have it as
    `pooled`, also where they are about the share of one account.
    """

    class Kind(models.TextChoices):
        FELL = "fell", _("Counter decreased")
        CONTRADICTION = "contradiction", _("Values don't fit together")
        CEILING = "ceiling", _("More than 2.5 times the quota")
        LONG_PERIOD = "long_period", _("Billing period longer than 35 days")
        COST_FELL = "cost_fell", _("Allocated cost decreased")
        CURRENCY = "currency", _("Currency changed")
        POOL_FELL = "pool_fell", _("Pool total decreased")
        AFTER_DELETION = "after_deletion", _("More usage after the final reading")

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="usage_anomalies")
    account = models.ForeignKey(Account, null=True, on_delete=models.PROTECT, related_name="usage_anomalies")
    period = models.ForeignKey(UsagePeriod, null=True, on_delete=models.PROTECT, related_name="anomalies")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    snapshot = models.ForeignKey(UsageSnapshot, null=True, on_delete=models.PROTECT, related_name="anomalies")
    pooled = models.ForeignKey(PooledSnapshot, null=True, on_delete=models.PROTECT, related_name="anomalies")
    before = models.CharField(max_length=60, default="", blank=True)
    after = models.CharField(max_length=60, default="", blank=True)
    effect = models.BigIntegerField(default=0)
    effect_cost = ScaledDecimalField(null=True)
    cause = models.CharField(max_length=64, default="", blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-effect", "pk")
        constraints = [
            models.UniqueConstraint(
                fields=("snapshot", "kind"), condition=Q(snapshot__isnull=False), name="anomaly_once_per_reading"
            ),
            models.UniqueConstraint(
                fields=("pooled", "kind"),
                condition=Q(pooled__isnull=False, snapshot=None),
                name="anomaly_once_per_pool_reading",
            ),
        ]
        indexes = [
            models.Index(fields=("closed_at", "-effect"), name="anomaly_open_by_effect"),
            models.Index(fields=("cause", "closed_at"), name="anomaly_of_cause"),
        ]

    def __str__(self) -> str:
        return str(self.get_kind_display())


class Decision(models.Model):
    """Decision of a person about an anomaly, or about a figure that will never come. Append only.

    The last decision counts. `quantity` is the typed number of emails of QUANTITY. UNDONE takes the last one back.
    """

    class Verdict(models.TextChoices):
        CORRECTION = "correction", _("Correction: the later values are right")
        RESET = "reset", _("Reset: the counter began again at zero")
        NEW_PERIOD = "new_period", _("New period: the provider restarted the billing period")
        WRONG = "wrong", _("Wrong response: don't count this value")
        COUNTED = "counted", _("Right: count this value")
        AS_KNOWN = "as_known", _("Use the usage known so far")
        QUANTITY = "quantity", _("Enter the number of emails")
        BASE_ONLY = "base_only", _("Base fee only, no overage")
        UNDONE = "undone", _("Decision undone")

    anomaly = models.ForeignKey(Anomaly, null=True, on_delete=models.PROTECT, related_name="decisions")
    period = models.ForeignKey(UsagePeriod, null=True, on_delete=models.PROTECT, related_name="decisions")
    verdict = models.CharField(max_length=12, choices=Verdict.choices)
    quantity = models.BigIntegerField(null=True)
    reason = models.TextField(max_length=1000)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField()
    batch = models.BigIntegerField(default=0)

    class Meta:
        ordering = ("at", "pk")
        constraints = [
            models.CheckConstraint(
                condition=Q(anomaly__isnull=False) | Q(period__isnull=False), name="decision_about_something"
            ),
            models.CheckConstraint(
                condition=Q(verdict="quantity", quantity__gte=0) | (~Q(verdict="quantity") & Q(quantity=None)),
                name="decision_quantity_is_typed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verdict} {self.anomaly_id or self.period_id}"


class FigureSums(models.Model):
    """Sums of figures of one month, connection and currency; a number of figures per status."""

    month = models.DateField()
    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="+")
    currency = models.CharField(max_length=3, default="", blank=True)
    figures = models.IntegerField()
    final = models.IntegerField()
    derived = models.IntegerField()
    interval = models.IntegerField()
    open = models.IntegerField()
    stale = models.IntegerField()
    missing = models.IntegerField()
    disputed = models.IntegerField()
    used = models.BigIntegerField()
    # Emails between the least and the most; `endless` figures have no known most and are left out.
    width = models.BigIntegerField()
    endless = models.IntegerField()
    overage = models.BigIntegerField()
    overage_width = models.BigIntegerField()
    allocated_cost = ScaledDecimalField()

    class Meta:
        abstract = True


class UsageRollup(FigureSums):
    """Sums of the figures of one month, connection, customer and package, recomputed whenever one of them changes."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+")
    package = models.CharField(max_length=200, default="", blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=("month", "customer", "connection", "package", "currency"), name="usage_rollup_once"
            )
        ]
        indexes = [models.Index(fields=("month", "connection"), name="usage_rollup_of_month")]

    def __str__(self) -> str:
        return f"{self.month} {self.customer_id} {self.connection_id}"


class MonthTotal(FigureSums):
    """Sums of all roll-ups of one month and connection, so that a page needs to add up only connections."""

    class Meta:
        constraints = [models.UniqueConstraint(fields=("month", "connection", "currency"), name="month_total_once")]

    def __str__(self) -> str:
        return f"{self.month} {self.connection_id}"


class StatisticsReading(models.Model):
    """Requests per day of one account as the provider's statistics reported them at a time. Append only.

    Days follow the account's own time zone, which no answer returns. `days` maps ISO dates to requests; a day that is
    not in it is unknown.
    """

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="statistics_readings")
    as_of = models.DateTimeField()
    first_on = models.DateField()
    last_on = models.DateField()
    days = models.JSONField(default=dict)
    batch = models.BigIntegerField(default=0)

    class Meta:
        ordering = ("account", "as_of")
        constraints = [models.UniqueConstraint(fields=("account", "as_of"), name="statistics_reading_once")]

    def __str__(self) -> str:
        return f"{self.account_id} as of {self.as_of:%Y-%m-%d %H:%M}"


class ResetZone(models.Model):
    """The learned time zone in which a connection's billing periods end.

    Counts the billing periods whose last reading and the first one after them prove this midnight, and the last day of
    the latest of them. `applied` is the zone that figures are being derived with, `position` the last period derived
    again since it changed; None: all are.
    """

    connection = models.OneToOneField(Connection, on_delete=models.CASCADE, related_name="reset_zone")
    utc = models.PositiveIntegerField(default=0)
    utc_on = models.DateField(null=True)
    pacific = models.PositiveIntegerField(default=0)
    pacific_on = models.DateField(null=True)
    applied = models.CharField(max_length=40, default="", blank=True)
    position = models.BigIntegerField(null=True)

    def __str__(self) -> str:
        return f"{self.connection_id}: UTC {self.utc}, Pacific {self.pacific}"
