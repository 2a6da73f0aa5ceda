"""A place in the hourly limit of sign-ins as a customer. Only `customers.accounts.sign_in` writes these rows."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class SignInRequest(models.Model):
    """A sign-in counted before the provider is called, removed when it returns no link, deleted after the hour it
    counts for."""

    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    requested_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=("requested_by", "requested_at"), name="sign_in_request_recent")]

    def __str__(self) -> str:
        return f"{self.requested_by_id} {self.requested_at:%Y-%m-%d %H:%M}"
