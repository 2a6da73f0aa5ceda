"""Statements: what a customer pays for a month, and what a provider charges for a connection, line by line.

All amounts are whole minor units of the statement's currency (cents of EUR, yen of JPY). An amount that depends on a
figure that is an interval is stored at its least usage in `..._minor` and at its most usage in `..._high_minor`, which
can be the smaller amount: more usage can reach a cheaper tier or a smaller true-up. None there is exact in money, and
`open_ended` has no known most.
"""

from __future__ import annotations

import uuid

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from billing.models.figures import FigureVersion
from billing.models.pricing import Contract, PriceVersion, Side
from customers.models import Account, Connection, Customer
from portal.money_field import RateField


class LineKind(models.TextChoices):
    """Components of a price list, and lines that come from the statement as a whole, in the order of statements."""

    BASE = "base", _("Base fee")
    ADDON = "addon", _("Add-on")
    DEDICATED_IP = "dedicated_ip", _("Dedicated IP")
    OVERAGE = "overage", _("Overage")
    INVOICE_SHARE = "invoice_share", _("Share of the invoice")
    COMMIT = "commit", _("Minimum commit")
    ONE_TIME = "one_time", _("One-time fee")
    OPENING = "opening", _("Opening balance")
    ADJUSTMENT = "adjustment", _("Adjustment")


class Statement(models.Model):
    """A month of one customer (side sell) or of one connection (side cost) in one currency.

    A draft is rated again whenever its inputs changed: `inputs` is the SHA-256 of everything that it was rated from,
    `versions` are the public IDs of price versions and contracts, `batch` the ledger batch of its figures. A customer
    with accounts and without a contract has a draft without a currency and without lines, for its findings.

    A closed statement never changes: the database refuses it. `closing` is the run that closed it, `digest` the SHA-256
    of all its columns, lines and findings. One of a customer that has lines has a `number`; no number is missing.
    """

    class State(models.TextChoices):
        DRAFT = "draft", _("Draft")
        CLOSED = "closed", _("Closed")

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    side = models.CharField(max_length=4, choices=Side.choices)
    customer = models.ForeignKey(Customer, null=True, on_delete=models.PROTECT, related_name="statements")
    connection = models.ForeignKey(Connection, null=True, on_delete=models.PROTECT, related_name="cost_statements")
    month = models.DateField()
    currency = models.CharField(max_length=3)
    state = models.CharField(max_length=10, choices=State.choices, default=State.DRAFT)
    total_minor = models.BigIntegerField(default=0)
    total_high_minor = models.BigIntegerField(null=True)
    open_ended = models.BooleanField(default=False)
    # False: a figure is missing or not final, something has no price, or an interval leaves the total open.
    is_exact = models.BooleanField(default=True)
    lines_count = models.PositiveIntegerField(default=0)
    findings_count = models.PositiveIntegerField(default=0)
    versions = models.JSONField(default=list, encoder=DjangoJSONEncoder)
    inputs = models.CharField(max_length=64, default="", blank=True)
    batch = models.BigIntegerField(default=0)
    rated_at = models.DateTimeField()
    number = models.BigIntegerField(null=True, unique=True)
    closing = models.ForeignKey(
        "billing.MonthClosing", null=True, on_delete=models.PROTECT, related_name="statements", db_index=False
    )
    closed_at = models.DateTimeField(null=True)
    digest = models.CharField(max_length=64, default="", db_default="", blank=True)

    class Meta:
        ordering = ("-month", "side", "pk")
        constraints = [
            models.CheckConstraint(
                condition=Q(side="sell", customer__isnull=False, connection=None)
                | Q(side="cost", customer=None, connection__isnull=False),
                name="statement_of_customer_or_connection",
            ),
            models.UniqueConstraint(
                fields=("customer", "month", "currency"), condition=Q(side="sell"), name="statement_once_per_customer"
            ),
            models.UniqueConstraint(
                fields=("connection", "month", "currency"),
                condition=Q(side="cost"),
                name="statement_once_per_connection",
            ),
            models.CheckConstraint(
                condition=Q(state="draft", closing=None, closed_at=None, number=None, digest="")
                | Q(state="closed", closing__isnull=False, closed_at__isnull=False) & ~Q(digest=""),
                name="statement_closed_by_a_run",
            ),
        ]
        indexes = [
            models.Index(fields=("month", "side", "customer"), name="statement_of_month"),
            models.Index(fields=("month", "side", "currency", "-total_minor", "-id"), name="statement_by_amount"),
            models.Index(fields=("closing",), condition=Q(closing__isnull=False), name="statement_of_closing"),
        ]

    def __str__(self) -> str:
        return f"{self.side} {self.month:%Y-%m} {self.currency}"


class StatementLine(models.Model):
    """One line of a statement. `because` is what it was made from, in the form of a rating case's result.

    `key` names the line within its statement: rating again gives the same keys. `customer` is who owned the account on
    the last day of the billing period, also on the cost side. A line without an account concerns the whole statement.
    `package` is the account's package, for sums by package.

    An adjustment is a line of the open month: `adjusts` is the closed statement that it corrects, `figure` the version
    of the figure that changed it, and `because` names the original line. Its quantity is a difference, so it may be
    negative.
    """

    # Indexes are few, because hundreds of thousands of lines are written at once: the unique constraints serve
    # `statement`, and nothing is searched by connection, price version or contract alone.
    statement = models.ForeignKey(Statement, on_delete=models.CASCADE, related_name="lines", db_index=False)
    n = models.PositiveIntegerField()
    key = models.CharField(max_length=300)
    kind = models.CharField(max_length=14, choices=LineKind.choices)
    account = models.ForeignKey(Account, null=True, on_delete=models.PROTECT, related_name="statement_lines")
    customer = models.ForeignKey(Customer, null=True, on_delete=models.PROTECT, related_name="statement_lines")
    connection = models.ForeignKey(
        Connection, null=True, on_delete=models.PROTECT, related_name="statement_lines", db_index=False
    )
    offering = models.CharField(max_length=200, default="", blank=True)
    package = models.CharField(max_length=200, default="", blank=True)
    tier = models.PositiveSmallIntegerField(default=0)
    start_on = models.DateField()
    end_on = models.DateField()
    days = models.PositiveSmallIntegerField(null=True)
    of_days = models.PositiveSmallIntegerField(null=True)
    quantity = models.BigIntegerField(default=0)
    quantity_high = models.BigIntegerField(null=True)
    rate = RateField(null=True)
    per = models.PositiveIntegerField(default=1)
    gross_minor = models.BigIntegerField()
    discount_minor = models.BigIntegerField(default=0)
    amount_minor = models.BigIntegerField()
    amount_high_minor = models.BigIntegerField(null=True)
    open_ended = models.BooleanField(default=False)
    account_code = models.CharField(max_length=40, default="", blank=True)
    tax_code = models.CharField(max_length=40, default="", blank=True)
    price_version = models.ForeignKey(
        PriceVersion, null=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    contract = models.ForeignKey(Contract, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    adjusts = models.ForeignKey(
        Statement, null=True, on_delete=models.PROTECT, related_name="adjustments", db_index=False
    )
    figure = models.ForeignKey(FigureVersion, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    because = models.JSONField(default=dict, encoder=DjangoJSONEncoder)

    class Meta:
        ordering = ("statement", "n")
        constraints = [
            models.UniqueConstraint(fields=("statement", "n"), name="statement_line_once"),
            models.UniqueConstraint(fields=("statement", "key"), name="statement_line_key_once"),
            models.CheckConstraint(
                condition=Q(amount_minor=F("gross_minor") - F("discount_minor")), name="statement_line_adds_up"
            ),
            models.CheckConstraint(
                condition=Q(kind="adjustment", adjusts__isnull=False) | ~Q(kind="adjustment") & Q(adjusts=None),
                name="statement_line_adjusts_a_statement",
            ),
        ]
        indexes = [
            models.Index(fields=("adjusts",), condition=Q(adjusts__isnull=False), name="statement_line_adjusts"),
            models.Index(fields=("figure",), condition=Q(figure__isnull=False), name="statement_line_of_figure"),
        ]

    def __str__(self) -> str:
        return self.key


class StatementFinding(models.Model):
    """An obstacle to an exact statement: a missing figure, an offering without a price, an uncertain day.

    `kind` is a code of `billing.pricing.rating`, `detail` what it says about it. Rated again, they are made anew.
    """

    statement = models.ForeignKey(Statement, on_delete=models.CASCADE, related_name="findings")
    account = models.ForeignKey(Account, null=True, on_delete=models.PROTECT, related_name="statement_findings")
    kind = models.CharField(max_length=30)
    offering = models.CharField(max_length=200, default="", blank=True)
    detail = models.JSONField(default=dict, encoder=DjangoJSONEncoder)

    class Meta:
        ordering = ("statement", "pk")
        indexes = [models.Index(fields=("kind", "statement"), name="statement_finding_of_kind")]

    def __str__(self) -> str:
        return f"{self.kind} {self.offering}"


class AccountMove(models.Model):
    """A move of an account to another customer whose audit event was removed by retention: figures of that time are
    still billed to the customer before. `event_number` is the primary key that the event had."""

    event_number = models.PositiveBigIntegerField(unique=True)
    account = models.ForeignKey("customers.Account", on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(db_index=True)
    # None: it couldn't be told.
    customer = models.ForeignKey("customers.Customer", null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering = ("event_number",)

    def __str__(self) -> str:
        return f"{self.account_id} {self.at:%Y-%m-%d}"
