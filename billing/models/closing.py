"""Months that finance closes: what blocks them, the run that closes them, and what a closed statement was rated from.

All amounts are whole minor units of their currency. Nothing of a closed month changes: the database refuses it, and the
months form a chain of HMACs that `manage.py verify_closed_months` checks.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from billing.models.statements import Statement
from customers.models import Account, Connection, Customer
from portal.leases import Fenced


class BillingTerms(models.Model):
    """Settings of closing and of the accounting export: one row.

    A month is in review from `grace_days` after its end. `default_account_code` is that of lines whose price names
    none, `accrued_account_code` the balance sheet account of accrued revenue. `number_prefix` stands before statement
    numbers. `edits` rises with every change.
    """

    grace_days = models.PositiveSmallIntegerField(default=3)
    number_prefix = models.CharField(max_length=12, default="", blank=True)
    default_account_code = models.CharField(max_length=40, default="", blank=True)
    accrued_account_code = models.CharField(max_length=40, default="", blank=True)
    edits = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(pk=1), name="billing_terms_one_row"),
            models.CheckConstraint(condition=Q(grace_days__lte=60), name="billing_terms_grace_days"),
        ]

    def __str__(self) -> str:
        return "billing terms"


class StatementCounter(models.Model):
    """The last statement number: one row, locked from the assignment of a number until the commit, so no number is
    missing."""

    last = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"statement {self.last}"


class MonthClosing(Fenced):
    """One run that closes a month: every statement that nothing blocks. What was held back is closed by a later run of
    the same month, with the next `n`.

    `position` is the last customer (pk) of a finished group. Once all are done, `contents` gets the number and SHA-256
    of the closed rows of every table, and the run its place `seq` in the chain: `row_hash` is the HMAC of all this and
    of `prev_hash`, that of the run before.
    """

    LEASE: ClassVar[timedelta] = timedelta(minutes=15)

    class State(models.TextChoices):
        RUNNING = "running", _("Closing")
        CLOSED = "closed", _("Closed")
        FAILED = "failed", _("Failed")

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    month = models.DateField()
    n = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    requested_at = models.DateTimeField()
    note = models.CharField(max_length=300, default="", blank=True)
    tries = models.PositiveSmallIntegerField(default=0)
    position = models.BigIntegerField(default=0)
    customers_total = models.PositiveIntegerField(default=0)
    customers_done = models.PositiveIntegerField(default=0)
    statements_closed = models.PositiveIntegerField(default=0)
    # Customers and connections with a statement that something blocks.
    held_back = models.PositiveIntegerField(default=0)
    # Closed statements that are exact in money, while a quantity is one at least.
    at_least = models.PositiveIntegerField(default=0)
    # By currency: number and sum of closed statements; by connection: invoice, cost by our figures, billed.
    totals = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    contents = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    closed_at = models.DateTimeField(null=True, blank=True)
    seq = models.PositiveIntegerField(null=True, unique=True)
    prev_hash = models.CharField(max_length=64, default="", blank=True)
    row_hash = models.CharField(max_length=64, default="", blank=True)

    class Meta:
        ordering = ("-month", "-n")
        constraints = [
            models.UniqueConstraint(fields=("month", "n"), name="month_closing_once"),
            models.UniqueConstraint(fields=("month",), condition=Q(state="running"), name="month_closing_one_runs"),
            models.CheckConstraint(
                condition=~Q(state="closed") | Q(closed_at__isnull=False, seq__isnull=False) & ~Q(row_hash=""),
                name="month_closing_closed_is_chained",
            ),
        ]
        indexes = [models.Index(fields=("state", "not_before"), name="month_closing_due")]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} closing {self.n}"


class StatementCase(models.Model):
    """The rating case that a closed statement of a customer was rated from: `manage.py rate` gives its lines again.

    `case` is JSON (docs/reference/rating-case.md) in which price versions have no `prices`: published versions never
    change, so `billing.pricing.statements.frozen` adds them again.
    """

    statement = models.OneToOneField(Statement, primary_key=True, on_delete=models.CASCADE, related_name="frozen")
    case = models.TextField()

    def __str__(self) -> str:
        return f"case of {self.statement_id}"


class Blocker(models.Model):
    """Something that keeps a statement of a month from being closed, with the money that depends on it.

    `key` names it within its month, so that looking again finds the same row with its owner and due date. It is open
    until it is gone (`resolved_at`), or accepted with a reason. An acceptance holds while the `fingerprint` of what was
    accepted stays the same.
    """

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    month = models.DateField()
    key = models.CharField(max_length=300)
    # A code of billing.closing.blockers.kinds.
    kind = models.CharField(max_length=30)
    customer = models.ForeignKey(Customer, null=True, on_delete=models.PROTECT, related_name="+")
    connection = models.ForeignKey(Connection, null=True, on_delete=models.PROTECT, related_name="+")
    account = models.ForeignKey(Account, null=True, on_delete=models.PROTECT, related_name="+")
    offering = models.CharField(max_length=200, default="", blank=True)
    currency = models.CharField(max_length=3, default="", blank=True)
    # The size of the amount that depends on it; None: nothing limits it. `weight` sorts, and is never None.
    money_minor = models.BigIntegerField(null=True)
    weight = models.BigIntegerField(default=0)
    detail = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    fingerprint = models.CharField(max_length=64, default="", blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    due_on = models.DateField(null=True, blank=True)
    opened_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, blank=True)
    accepted_at = models.DateTimeField(null=True, blank=True)
    accepted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    accepted_reason = models.TextField(max_length=1000, default="", blank=True)

    class Meta:
        ordering = ("month", "-weight", "pk")
        constraints = [
            models.UniqueConstraint(fields=("month", "key"), name="blocker_once"),
            models.CheckConstraint(
                condition=Q(customer__isnull=False, connection=None) | Q(customer=None, connection__isnull=False),
                name="blocker_of_customer_or_connection",
            ),
            models.CheckConstraint(
                condition=Q(accepted_at=None, accepted_by=None, accepted_reason="")
                | Q(accepted_at__isnull=False, accepted_by__isnull=False) & ~Q(accepted_reason=""),
                name="blocker_accepted_with_reason",
            ),
        ]
        indexes = [
            models.Index(fields=("month", "kind"), name="blocker_of_kind"),
            models.Index(
                fields=("month", "-weight", "id"),
                condition=Q(resolved_at=None, accepted_at=None),
                name="blocker_open_by_money",
            ),
        ]

    def __str__(self) -> str:
        return self.key


class OpeningBalance(models.Model):
    """An amount brought in from before billing started here: one line of a customer's statement of `month`, or, for a
    connection, the difference to its provider's invoices that was accumulated by then. Removed ones stay as rows."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    customer = models.ForeignKey(Customer, null=True, on_delete=models.PROTECT, related_name="opening_balances")
    connection = models.ForeignKey(Connection, null=True, on_delete=models.PROTECT, related_name="opening_balances")
    month = models.DateField()
    currency = models.CharField(max_length=3)
    amount_minor = models.BigIntegerField()
    description = models.CharField(max_length=200)
    account_code = models.CharField(max_length=40, default="", blank=True)
    tax_code = models.CharField(max_length=40, default="", blank=True)
    entered_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    entered_at = models.DateTimeField()
    removed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    removed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("month", "pk")
        constraints = [
            models.CheckConstraint(
                condition=Q(customer__isnull=False, connection=None) | Q(customer=None, connection__isnull=False),
                name="opening_balance_of_customer_or_connection",
            ),
            models.CheckConstraint(condition=~Q(amount_minor=0), name="opening_balance_not_zero"),
        ]
        indexes = [models.Index(fields=("month", "customer"), name="opening_balance_of_month")]

    def __str__(self) -> str:
        return self.description
