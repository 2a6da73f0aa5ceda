"""Append-only audit log. Database triggers refuse changing or deleting any row here."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone


class AuditEvent(models.Model):
    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    at = models.DateTimeField(default=timezone.now)
    # None is the portal itself: a worker, the scheduler. Name and role are as of the event; the role is the code of a
    # built-in one, or the name of a custom one, which is never such a code.
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    actor_label = models.CharField(max_length=120, default="", blank=True)
    actor_role = models.CharField(max_length=60, default="", blank=True)
    verb = models.CharField(max_length=60)
    object_type = models.CharField(max_length=60, default="", blank=True)
    object_id = models.UUIDField(null=True, blank=True)
    object_label = models.CharField(max_length=200, default="", blank=True)
    # Public IDs, so that the timeline of a customer or an account is one indexed read.
    customer_id = models.UUIDField(null=True, blank=True)
    customer_label = models.CharField(max_length=200, default="", blank=True)
    account_id = models.UUIDField(null=True, blank=True)
    before = models.JSONField(default=dict, blank=True, encoder=DjangoJSONEncoder)
    after = models.JSONField(default=dict, blank=True, encoder=DjangoJSONEncoder)
    reason = models.TextField(default="", blank=True)
    ip = models.GenericIPAddressField(null=True, blank=True)
    request_id = models.CharField(max_length=40, default="", blank=True)

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=("customer_id", "-id"), name="audit_customer"),
            models.Index(fields=("account_id", "-id"), name="audit_account"),
            models.Index(fields=("object_id", "-id"), name="audit_object"),
            models.Index(fields=("actor", "-id"), name="audit_actor"),
            models.Index(fields=("verb", "-id"), name="audit_verb"),
            models.Index(fields=("at", "id"), name="audit_at"),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.verb}"


class AuditSeal(models.Model):
    """One link of the hash chain; altering, removing, swapping or inserting one breaks it."""

    seq = models.PositiveBigIntegerField(unique=True)
    event = models.OneToOneField(AuditEvent, on_delete=models.PROTECT, related_name="seal")
    prev_hash = models.CharField(max_length=64, unique=True)
    row_hash = models.CharField(max_length=64, unique=True)
    sealed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("seq",)

    def __str__(self) -> str:
        return f"{self.seq} {self.row_hash[:12]}"


class ErasurePermit(models.Model):
    """A row of an append-only table whose personal data the current transaction may erase; see portal/audit/permits.py.

    `of_table` is the name in the database, `row` the row's primary key. The transaction that adds a permit removes it,
    so that no other transaction ever sees one.
    """

    of_table = models.CharField(max_length=63)
    row = models.BigIntegerField()

    class Meta:
        indexes = [models.Index(fields=("of_table", "row"), name="erasure_permit")]

    def __str__(self) -> str:
        return f"{self.of_table} {self.row}"
