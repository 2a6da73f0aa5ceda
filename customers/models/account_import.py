"""Imports of accounts that exist at a provider: one run over a connection, one item for each account found."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from customers.models.connection import Connection
from customers.models.customer import Customer
from customers.models.remote_account import RemoteAccount
from portal.leases import Fenced


class AccountImport(Fenced):
    """An import: a proposal first; once a user starts it, a run that lasts until every chosen item is done."""

    class State(models.TextChoices):
        PROPOSED = "proposed", _("Draft")
        RUNNING = "running", _("In progress")
        PAUSED = "paused", _("Paused")
        ENDED = "ended", _("Completed")

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="account_imports")
    state = models.CharField(max_length=10, choices=State.choices, default=State.PROPOSED)
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    message = models.CharField(max_length=500, default="", blank=True)
    # Rows of the list without an account: their count and the first ones.
    unmatched = models.JSONField(default=dict, db_default={}, blank=True)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "customers_takeover"
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=("connection",), condition=~Q(state="ended"), name="takeover_one_open_per_connection"
            ),
            models.CheckConstraint(condition=Q(total__gte=F("done") + F("failed")), name="takeover_counts_fit"),
        ]

    def __str__(self) -> str:
        return f"{self.connection} {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def settled(self) -> int:
        return self.done + self.failed


class AccountImportItem(models.Model):
    """One account found, and the customer it seems to belong to. `group` names the customer to create where there is
    none: accounts of one group become one customer's."""

    class Basis(models.TextChoices):
        LISTED = "listed", _("In your list")
        EMAIL = "email", _("Same email")
        COMPANY = "company", _("Same company")
        NEW = "new", _("New customer")
        NONE = "none", _("No clear match")

    class State(models.TextChoices):
        WAITING = "waiting", _("Pending")
        DONE = "done", _("Imported")
        FAILED = "failed", _("Failed")
        LEFT = "left", _("Not selected")

    account_import = models.ForeignKey(
        AccountImport, on_delete=models.CASCADE, related_name="items", db_column="takeover_id"
    )
    remote_account = models.ForeignKey(
        RemoteAccount, on_delete=models.PROTECT, related_name="+", db_column="sighting_id"
    )
    basis = models.CharField(max_length=10, choices=Basis.choices)
    customer = models.ForeignKey(Customer, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    group = models.CharField(max_length=300, default="", blank=True)
    company = models.CharField(max_length=200, default="", blank=True)
    email = models.CharField(max_length=254, default="", blank=True)
    reference = models.CharField(max_length=100, default="", blank=True)
    note = models.CharField(max_length=300, default="", blank=True)
    take = models.BooleanField(default=False)
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    tries = models.PositiveSmallIntegerField(default=0)  # failed readings; after a few the account is marked as failed
    message = models.CharField(max_length=500, default="", blank=True)

    class Meta:
        db_table = "customers_takeoveritem"
        ordering = ("id",)
        constraints = [
            models.UniqueConstraint(fields=("account_import", "remote_account"), name="takeover_item_once"),
            models.CheckConstraint(
                condition=Q(take=False) | Q(customer__isnull=False) | ~Q(group=""), name="takeover_taken_by_somebody"
            ),
        ]
        indexes = [models.Index(fields=("account_import", "state", "take"), name="takeover_item_due")]

    def __str__(self) -> str:
        return f"{self.account_import_id}/{self.remote_account_id} {self.basis}"
