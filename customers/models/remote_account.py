"""Accounts as the provider's own list names them, known to the portal or not, and the scans of that list.

Only a complete and plausible scan shows that something is *not* there. Written by `customers.observed.account_list`;
`customers.operations.create_search` adds what it reads of an account, `customers.reconcile.link` the ignore marks.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext_lazy as _

from customers.models.account import Account
from customers.models.connection import Connection
from portal.leases import Leased


class Scan(Leased):
    """One scan of a connection's whole account list. `slot` makes a scan of a kind unique: the UTC date for the nightly
    one, the request's token for a requested one, its time for one that searches for an unknown create.

    A worker takes it once (`taken_at`), and it ends once: it has no fence, for its state says as much."""

    LEASE = timedelta(minutes=3)

    class Kind(models.TextChoices):
        NIGHTLY = "nightly", _("Nightly")
        ASKED = "asked", _("Manual")
        UNKNOWN = "unknown", _("Account creation check")

    class State(models.TextChoices):
        RUNNING = "running", _("In progress")
        COMPLETE = "complete", _("Completed")
        INCOMPLETE = "incomplete", _("Incomplete")
        REFUSED = "refused", _("Ignored")

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="scans")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    slot = models.CharField(max_length=64)
    state = models.CharField(max_length=12, choices=State.choices, default=State.RUNNING)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    # When a worker started it; a message that is delivered twice finds it started.
    taken_at = models.DateTimeField(null=True, blank=True)
    # A scan whose worker never returned is incomplete after this.
    lease_until = models.DateTimeField()
    seen = models.PositiveIntegerField(default=0)
    first_seen = models.PositiveIntegerField(default=0)
    orphans = models.PositiveIntegerField(default=0)
    missing = models.PositiveIntegerField(default=0)
    message = models.CharField(max_length=500, default="", blank=True)
    # Whether the list had every account of ours that the provider still has: otherwise an absence in it proves nothing.
    proves_absence = models.BooleanField(default=False)
    # By how many seconds the provider's clock was ahead of the database's. None: not measured.
    clock_skew = models.IntegerField(null=True, blank=True)
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ("-started_at", "-id")
        constraints = [
            models.UniqueConstraint(fields=("connection", "kind", "slot"), name="scan_once_per_slot"),
            models.UniqueConstraint(fields=("connection",), condition=Q(state="running"), name="scan_one_at_a_time"),
            models.CheckConstraint(
                condition=Q(state="running", finished_at__isnull=True)
                | (~Q(state="running") & Q(finished_at__isnull=False)),
                name="scan_finished_fits_state",
            ),
        ]
        indexes = [models.Index(fields=("connection", "state", "-started_at"), name="scan_latest")]

    def __str__(self) -> str:
        return f"{self.connection} {self.kind} {self.slot}"

    def as_read(self) -> models.QuerySet[Self]:
        """Match this scan while it runs."""
        return super().as_read().filter(state=self.State.RUNNING)


class RemoteAccountQuerySet(models.QuerySet["RemoteAccount"]):
    def unmapped(self) -> RemoteAccountQuerySet:
        """Return the accounts at the provider that no account of ours at the same connection names."""
        ours = Account.objects.filter(connection=OuterRef("connection"), provider_id=OuterRef("provider_id"))
        return self.filter(~Exists(ours))

    def unowned(self) -> RemoteAccountQuerySet:
        """Return the accounts at the provider that no account of ours names, on any connection to it."""
        ours = Account.objects.filter(
            provider_kind=OuterRef("connection__kind"), provider_id=OuterRef("provider_id"), duplicate_of=None
        )
        return self.filter(~Exists(ours))

    def orphans(self) -> RemoteAccountQuerySet:
        """Return the unlinked accounts: unowned, present at the last complete scan, and not ignored."""
        return self.unowned().filter(missing_since=None, gone_at=None, ignored_at=None)


class RemoteAccount(models.Model):
    """One account of a connection as last listed. `missing_since` is the first complete scan that lacked it, `gone_at`
    the second one, at least twelve hours later."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="remote_accounts")
    provider_id = models.CharField(max_length=100)
    email = models.CharField(max_length=254, default="", blank=True)
    # The first address and offerings read: customers change theirs, and a create is proven by what it created.
    first_email = models.CharField(max_length=254, default="", blank=True)
    first_offerings = models.JSONField(null=True, default=None, blank=True)
    # When they were last read from the account itself, with or without an answer.
    read_tried_at = models.DateTimeField(null=True, blank=True)
    # A create that was sent again after its absence was proven, and whose first send may have created this account.
    possible_duplicate_of = models.ForeignKey(
        "customers.Operation", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    name = models.CharField(max_length=255, default="", blank=True)
    website = models.CharField(max_length=255, default="", blank=True)
    made_at = models.DateTimeField(null=True, blank=True)
    # When the scan that first listed it had been read: it existed by then. None: ours, and no scan has listed it yet.
    first_seen_at = models.DateTimeField(null=True, blank=True)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    missing_since = models.DateTimeField(null=True, blank=True)
    gone_at = models.DateTimeField(null=True, blank=True)
    ignored_at = models.DateTimeField(null=True, blank=True)
    ignored_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    ignored_why = models.CharField(max_length=500, default="", blank=True)

    objects: ClassVar[RemoteAccountQuerySet] = RemoteAccountQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "customers_sighting"
        ordering = ("connection", "provider_id")
        constraints = [models.UniqueConstraint(fields=("connection", "provider_id"), name="sighting_once")]
        indexes = [
            models.Index(fields=("connection", "made_at"), name="sighting_made"),
            models.Index(fields=("connection",), condition=Q(missing_since__isnull=False), name="sighting_missing"),
        ]

    def __str__(self) -> str:
        return self.provider_id
