"""Differences between the desired state and the provider's that a user snoozed."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from customers.models.account import Account


class DriftIgnore(models.Model):
    """A snoozed difference: ignored until a day, and only while the provider's value is still the same (`found`)."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="drift_ignores")
    field = models.CharField(max_length=12)
    found = models.JSONField()
    until_on = models.DateField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=500)
    at = models.DateTimeField()

    class Meta:
        ordering = ("account", "field")
        constraints = [models.UniqueConstraint(fields=("account", "field"), name="drift_ignore_once")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.field} until {self.until_on}"
