"""Parallel months: a spreadsheet of what customers were billed elsewhere, compared with the draft statements.

All amounts are whole minor units of their currency.
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
from customers.models import Account, Customer
from portal.leases import Fenced


class ParallelMonth(Fenced):
    """A file of one month, and the state of its comparison. `edits` rises with every change of what its rows belong
    to, `currency` is that of rows without one, `ignored` are columns of the file that mean nothing here."""

    LEASE: ClassVar[timedelta] = timedelta(minutes=15)

    class State(models.TextChoices):
        COMPARING = "comparing", _("In progress")
        READY = "ready", _("Compared")
        FAILED = "failed", _("Failed")

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    month = models.DateField()
    filename = models.CharField(max_length=200)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    uploaded_at = models.DateTimeField()
    currency = models.CharField(max_length=3)
    ignored = models.JSONField(default=list)
    edits = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=10, choices=State.choices, default=State.COMPARING)
    tries = models.PositiveSmallIntegerField(default=0)
    compared_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-month", "-uploaded_at", "-pk")
        indexes = [models.Index(fields=("state", "not_before"), name="parallel_month_due")]

    def __str__(self) -> str:
        return self.filename


class ParallelRow(models.Model):
    """One line of the file, and the customer that it belongs to. With an account it is about that account alone."""

    class Match(models.TextChoices):
        REFERENCE = "reference", _("External reference")
        NAME = "name", _("Name")
        HAND = "hand", _("By hand")
        LEFT_OUT = "left_out", _("Left out")
        NONE = "none", _("No customer found")
        SEVERAL = "several", _("Several customers have this name")
        NO_ACCOUNT = "no_account", _("The customer has no such account")

    parallel = models.ForeignKey(ParallelMonth, on_delete=models.CASCADE, related_name="rows", db_index=False)
    line = models.PositiveIntegerField()
    customer_text = models.CharField(max_length=300)
    account_text = models.CharField(max_length=300, default="", blank=True)
    currency = models.CharField(max_length=3)
    amount_minor = models.BigIntegerField()
    note = models.CharField(max_length=500, default="", blank=True)
    match = models.CharField(max_length=10, choices=Match.choices)
    customer = models.ForeignKey(Customer, null=True, on_delete=models.PROTECT, related_name="+")
    account = models.ForeignKey(Account, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering = ("parallel", "line")
        constraints = [
            models.UniqueConstraint(fields=("parallel", "line"), name="parallel_row_once"),
            models.CheckConstraint(
                condition=Q(match__in=("reference", "name", "hand"), customer__isnull=False)
                | ~Q(match__in=("reference", "name", "hand")) & Q(customer=None, account=None),
                name="parallel_row_matched_has_customer",
            ),
        ]

    def __str__(self) -> str:
        return f"line {self.line}"


class ParallelResult(models.Model):
    """The comparison of one customer, or of one of its accounts, in one currency: the file and the draft statement.

    `reasons` are where the difference comes from (`billing.pricing.parallel.reasons`), `findings` what keeps ours from
    being exact, with how often, `lines` those of the file. `distance` is the size of the difference, to sort by.
    """

    class State(models.TextChoices):
        DIFFERENT = "different", _("Different")
        UNFINISHED = "unfinished", _("Ours isn't exact")
        ONLY_THEIRS = "only_theirs", _("Only in the file")
        ONLY_OURS = "only_ours", _("Only in Postkeeper")
        UNMATCHED = "unmatched", _("Not matched")
        EQUAL = "equal", _("Equal")

    parallel = models.ForeignKey(ParallelMonth, on_delete=models.CASCADE, related_name="results", db_index=False)
    customer = models.ForeignKey(Customer, null=True, on_delete=models.PROTECT, related_name="+")
    account = models.ForeignKey(Account, null=True, on_delete=models.PROTECT, related_name="+")
    statement = models.ForeignKey(Statement, null=True, on_delete=models.SET_NULL, related_name="+")
    label = models.CharField(max_length=300)
    currency = models.CharField(max_length=3)
    state = models.CharField(max_length=12, choices=State.choices)
    theirs_minor = models.BigIntegerField(null=True)
    ours_minor = models.BigIntegerField(null=True)
    ours_high_minor = models.BigIntegerField(null=True)
    open_ended = models.BooleanField(default=False)
    distance = models.BigIntegerField(default=0)
    reasons = models.JSONField(default=list, encoder=DjangoJSONEncoder)
    findings = models.JSONField(default=list, encoder=DjangoJSONEncoder)
    lines = models.JSONField(default=list)

    class Meta:
        ordering = ("parallel", "pk")
        indexes = [
            models.Index(fields=("parallel", "currency", "-distance", "id"), name="parallel_result_by_distance"),
            models.Index(fields=("parallel", "state"), name="parallel_result_of_state"),
        ]

    def __str__(self) -> str:
        return self.label
