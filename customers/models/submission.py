"""One submitted form: who sent it, under which token, with what content, and what it led to.

Only `customers.operations.submissions` writes these rows.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models


class Submission(models.Model):
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    client_token = models.CharField(max_length=64)
    # Keyed hash of kind, target and content. The content itself is not stored here.
    digest = models.CharField(max_length=64)
    submitted_at = models.DateTimeField()
    # What the form led to: its public ID, its short code where it has one, and its page.
    result = models.UUIDField(null=True)
    code = models.CharField(max_length=20, default="", blank=True)
    path = models.CharField(max_length=200, default="", blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = [models.UniqueConstraint(fields=("requested_by", "client_token"), name="submission_once")]

    def __str__(self) -> str:
        return self.code or self.path
