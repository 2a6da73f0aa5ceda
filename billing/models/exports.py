"""Exports of the usage report as they were downloaded, and the moments of ledger batches."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from portal.leases import Fenced


class LedgerBatch(models.Model):
    """When a ledger batch got its number, by the database's clock.

    Batches are committed one after the other: a later one gets its number only after this one was committed.
    """

    number = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"batch {self.number} at {self.at:%Y-%m-%d %H:%M}"


class UsageExport(Fenced):
    """One export of the usage report of a month, with its file.

    `filters` are those of the report's page by name, `batch` the last ledger batch in the file, `periods` the billing
    periods of its rows, `sha256` the digest of the file as it is downloaded, `size` its bytes. `changed` counts figures
    that were not open in the file and differ now, as of the ledger batch `compared`.
    """

    LEASE: ClassVar[timedelta] = timedelta(minutes=15)

    class State(models.TextChoices):
        PREPARING = "preparing", _("In progress")
        READY = "ready", _("Completed")
        FAILED = "failed", _("Failed")

    class Format(models.TextChoices):
        CSV = "csv", _("CSV")
        XLSX = "xlsx", _("Excel (XLSX)")

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="usage_exports")
    requested_at = models.DateTimeField()
    month = models.DateField()
    filters = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    with_cost = models.BooleanField()
    format = models.CharField(max_length=4, choices=Format.choices)
    state = models.CharField(max_length=10, choices=State.choices, default=State.PREPARING)
    tries = models.PositiveSmallIntegerField(default=0)
    # Rows to expect, and those that are in the file.
    expected = models.PositiveIntegerField(default=0)
    rows = models.PositiveIntegerField(null=True)
    ready_at = models.DateTimeField(null=True)
    batch = models.BigIntegerField(null=True)
    size = models.BigIntegerField(null=True)
    sha256 = models.CharField(max_length=64, default="", blank=True)
    # Compressed with gzip: the file, and the keys of its periods as 64-bit numbers in order.
    file = models.BinaryField(null=True)
    periods = models.BinaryField(null=True)
    # When retention emptied `file`. The rest stays, so that changes since the export are still found.
    file_removed_at = models.DateTimeField(null=True, blank=True)
    changed = models.PositiveIntegerField(default=0)
    compared = models.BigIntegerField(default=0)

    class Meta:
        ordering = ("-requested_at", "-pk")
        constraints = [
            models.CheckConstraint(
                condition=~Q(state="ready")
                | Q(batch__isnull=False, rows__isnull=False, size__isnull=False, file__isnull=False)
                & Q(periods__isnull=False, ready_at__isnull=False)
                & ~Q(sha256=""),
                name="usage_export_ready_has_its_file",
            ),
        ]
        indexes = [
            models.Index(fields=("month", "-requested_at"), name="usage_export_of_month"),
            models.Index(fields=("state", "not_before"), name="usage_export_due"),
        ]

    def __str__(self) -> str:
        return self.filename

    @property
    def filename(self) -> str:
        return f"usage-{self.month:%Y-%m}.{self.format}"

    @property
    def is_ready(self) -> bool:
        return self.state == self.State.READY

    @property
    def has_file(self) -> bool:
        return self.is_ready and self.file_removed_at is None

    @property
    def changes_query(self) -> str:
        """Return the query string of the page about what changed since this export."""
        return f"?month={self.month:%Y-%m}&since={self.public_id}"

    @property
    def as_of_query(self) -> str:
        """Return the query string of the page with the figures of this export."""
        return f"?month={self.month:%Y-%m}&at={self.public_id}"
