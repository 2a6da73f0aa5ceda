"""Invoices of providers, line by line, and their comparison with cost by our figures and with what is billed.

All amounts are whole minor units of the invoice's currency.
"""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from billing.models.closing import MonthClosing
from customers.models import Account, Connection


class InvoiceLineKind(models.TextChoices):
    BASE = "base", _("Base fee")
    OVERAGE = "overage", _("Overage")
    ADDON = "addon", _("Add-on")
    DEDICATED_IP = "dedicated_ip", _("Dedicated IP")
    CREDIT = "credit", _("Credit")
    TAX = "tax", _("Tax")


class ProviderInvoice(models.Model):
    """An invoice of a connection's provider, as typed in or read from a file. `total_minor` is the total it states.

    It may be edited and withdrawn until a month is closed that compared it: `closing` is the first one. From then on
    the database refuses every change. `edits` rises with every change.
    """

    class State(models.TextChoices):
        ENTERED = "entered", _("Entered")
        WITHDRAWN = "withdrawn", _("Withdrawn")

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="provider_invoices")
    number = models.CharField(max_length=60)
    issued_on = models.DateField()
    currency = models.CharField(max_length=3)
    total_minor = models.BigIntegerField()
    filename = models.CharField(max_length=200, default="", blank=True)
    note = models.CharField(max_length=300, default="", blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.ENTERED)
    withdrawn_reason = models.CharField(max_length=300, default="", blank=True)
    entered_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    entered_at = models.DateTimeField()
    edits = models.PositiveIntegerField(default=0)
    closing = models.ForeignKey(MonthClosing, null=True, blank=True, on_delete=models.PROTECT, related_name="invoices")

    class Meta:
        ordering = ("-issued_on", "-pk")
        constraints = [
            models.UniqueConstraint(
                fields=("connection", "number"), condition=Q(state="entered"), name="provider_invoice_once"
            ),
            models.CheckConstraint(
                condition=~Q(state="withdrawn") | ~Q(withdrawn_reason=""), name="provider_invoice_withdrawn_says_why"
            ),
        ]
        indexes = [models.Index(fields=("connection", "-issued_on"), name="provider_invoice_of")]

    def __str__(self) -> str:
        return self.number


class ProviderInvoiceLine(models.Model):
    """One line of a provider's invoice. `account_text` is the account as the invoice writes it, `account` the one of
    the connection that it names. A line without either concerns the whole connection, as a shared invoice does.
    Service days are inclusive."""

    invoice = models.ForeignKey(ProviderInvoice, on_delete=models.CASCADE, related_name="lines", db_index=False)
    n = models.PositiveIntegerField()
    kind = models.CharField(max_length=14, choices=InvoiceLineKind.choices)
    account = models.ForeignKey(Account, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    account_text = models.CharField(max_length=300, default="", blank=True)
    offering = models.CharField(max_length=200, default="", blank=True)
    description = models.CharField(max_length=300, default="", blank=True)
    start_on = models.DateField()
    end_on = models.DateField()
    quantity = models.BigIntegerField(null=True, blank=True)
    amount_minor = models.BigIntegerField()

    class Meta:
        ordering = ("invoice", "n")
        constraints = [
            models.UniqueConstraint(fields=("invoice", "n"), name="provider_invoice_line_once"),
            models.CheckConstraint(condition=Q(end_on__gte=F("start_on")), name="provider_invoice_line_days"),
        ]
        indexes = [models.Index(fields=("end_on", "invoice"), name="provider_invoice_line_until")]

    def __str__(self) -> str:
        return f"line {self.n}"


class InvoiceComparison(models.Model):
    """A connection's month: what the provider invoiced for service that ended in it, the cost by our figures, what is
    billed to customers for the same accounts, and the difference between the first two.

    `carried_minor` is the difference of earlier months that nobody accepted; `accepted_minor` the part of
    carried + difference that a person accepted with a reason in this month. `stamp` tells if the rows are current.
    Tax is left out. `billed` is by currency, because customers may pay in another one.
    """

    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="invoice_comparisons")
    month = models.DateField()
    currency = models.CharField(max_length=3)
    invoice_minor = models.BigIntegerField(default=0)
    cost_minor = models.BigIntegerField(default=0)
    billed = models.JSONField(default=dict)
    carried_minor = models.BigIntegerField(default=0)
    accepted_minor = models.BigIntegerField(default=0)
    tolerance_minor = models.BigIntegerField(default=0)
    invoices = models.PositiveIntegerField(default=0)
    only_provider = models.PositiveIntegerField(default=0)
    only_ours = models.PositiveIntegerField(default=0)
    different = models.PositiveIntegerField(default=0)
    equal = models.PositiveIntegerField(default=0)
    stamp = models.CharField(max_length=64, default="", blank=True)
    compared_at = models.DateTimeField()
    closing = models.ForeignKey(MonthClosing, null=True, blank=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering = ("-month", "connection", "currency")
        constraints = [
            models.UniqueConstraint(fields=("connection", "month", "currency"), name="invoice_comparison_once")
        ]
        indexes = [models.Index(fields=("month",), name="invoice_comparison_of_month")]

    def __str__(self) -> str:
        return f"{self.connection_id} {self.month:%Y-%m} {self.currency}"

    @property
    def difference_minor(self) -> int:
        """Return what the provider invoiced beyond the cost by our figures."""
        return self.invoice_minor - self.cost_minor

    @property
    def accumulated_minor(self) -> int:
        """Return the difference of this and earlier months that nobody accepted."""
        return self.carried_minor + self.difference_minor - self.accepted_minor


class InvoiceMatch(models.Model):
    """One account, component and service period in a comparison: the provider's amount and the cost by our figures.

    Lines of both sides belong together if their service periods overlap. `billed_minor` is what the account's customer
    is billed for it, None where no statement has a line for it; `is_billed` tells if the account is billed at all in
    this period.
    """

    class Result(models.TextChoices):
        ONLY_PROVIDER = "only_provider", _("Billed by the provider and not by us")
        ONLY_OURS = "only_ours", _("Billed by us and not by the provider")
        DIFFERENT = "different", _("Different amount")
        EQUAL = "equal", _("Equal")

    comparison = models.ForeignKey(InvoiceComparison, on_delete=models.CASCADE, related_name="matches", db_index=False)
    n = models.PositiveIntegerField()
    account = models.ForeignKey(Account, null=True, on_delete=models.PROTECT, related_name="+")
    account_text = models.CharField(max_length=300, default="", blank=True)
    kind = models.CharField(max_length=14)
    start_on = models.DateField()
    end_on = models.DateField()
    invoice_minor = models.BigIntegerField(null=True)
    cost_minor = models.BigIntegerField(null=True)
    billed_minor = models.BigIntegerField(null=True)
    billed_currency = models.CharField(max_length=3, default="", blank=True)
    is_billed = models.BooleanField(default=False)
    result = models.CharField(max_length=14, choices=Result.choices)
    # The size of the difference, to sort by.
    distance = models.BigIntegerField(default=0)
    # Lines of invoices (number of the invoice, n), for the page.
    lines = models.JSONField(default=list)

    class Meta:
        ordering = ("comparison", "n")
        constraints = [models.UniqueConstraint(fields=("comparison", "n"), name="invoice_match_once")]
        indexes = [
            models.Index(fields=("comparison", "result", "-distance", "id"), name="invoice_match_by_distance"),
        ]

    def __str__(self) -> str:
        return f"match {self.n}"
