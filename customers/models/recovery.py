"""Recovery of a connection after a restore from a backup: on hold until what happened since the backup was scanned."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from customers.models.connection import Connection
from customers.models.remote_account import Scan


class Recovery(models.Model):
    """A connection's hold after one restore. Rows are written by `customers.recovery.hold` in plain SQL, in the
    transaction of the restore; no column may need a value that is computed in Python."""

    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="recoveries")
    # The installation's epoch that the restore began, when, and the moment whose rows were restored.
    epoch = models.PositiveIntegerField()
    began_at = models.DateTimeField()
    backup_at = models.DateTimeField()
    # The pause of the connection at that moment: in force again after the release.
    paused_before = models.CharField(max_length=10, default="", blank=True)
    reason_before = models.CharField(max_length=300, default="", blank=True)
    # Remote accounts and scans up to these keys are from before the backup.
    remote_account_mark = models.BigIntegerField()
    scan_mark = models.BigIntegerField()
    # The complete scan that the release was based on.
    scan = models.ForeignKey(Scan, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    # Without `released_by`: replaced by a later restore.
    released_at = models.DateTimeField(null=True, blank=True)
    released_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ("-epoch", "connection__name")
        constraints = [
            models.UniqueConstraint(fields=("connection", "epoch"), name="recovery_once"),
            models.UniqueConstraint(fields=("connection",), condition=Q(released_at=None), name="recovery_on_hold"),
        ]

    def __str__(self) -> str:
        return f"{self.connection} since {self.backup_at:%Y-%m-%d %H:%M}"
