"""Append-only audit log. Database triggers refuse changing or deleting any row here."""

from __future__ import annotations

import uuid
from typing import Any

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
    """One link of the hash chain; altering, removing, swapping or inserting one breaks it.

    `key_id` is that of the key it was made with (portal/audit/keys.py). "": a release before that sealed it, and its
    hash doesn't cover `sealed_at`.
    """

    seq = models.PositiveBigIntegerField(unique=True)
    event = models.OneToOneField(AuditEvent, on_delete=models.PROTECT, related_name="seal")
    prev_hash = models.CharField(max_length=64, unique=True)
    row_hash = models.CharField(max_length=64, unique=True)
    sealed_at = models.DateTimeField(default=timezone.now)
    key_id = models.CharField(max_length=12, default="", db_default="", blank=True)

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


def _kept(to: str) -> models.ForeignKey[Any, Any]:
    """A reference that outlives its event: retention removes events, and what is signed keeps their numbers."""
    return models.ForeignKey(to, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+")


class AuditRedaction(models.Model):
    """A signed erasure of personal data in one event (portal/audit/redaction.py). Verification takes the event's
    content as this row has it, in place of the sealed one.

    `seq` and `row_hash` are those of the event's seal, `content_hash` the keyed hash of the new content. The event
    `ordered_by` names the rows of its batch, and is sealed itself.
    """

    n = models.PositiveBigIntegerField(primary_key=True)
    event = _kept("audit.AuditEvent")
    seq = models.PositiveBigIntegerField()
    row_hash = models.CharField(max_length=64)
    content_hash = models.CharField(max_length=64)
    at = models.DateTimeField()
    ordered_by = _kept("audit.AuditEvent")
    key_id = models.CharField(max_length=12)
    signature = models.CharField(max_length=64)

    class Meta:
        ordering = ("n",)

    def __str__(self) -> str:
        return f"{self.n} {self.content_hash[:12]}"


class AuditCheckpoint(models.Model):
    """A signed beginning of the chain, after retention removed what was before (portal/audit/expiry.py).

    `first_seq` is the first seal that remains, `prev_hash` the hash before it. `removed` events, of the times between
    `from_at` and `until_at`, went with this checkpoint. `first_redaction` is the first redaction that remains. The
    event `ordered_by` names the checkpoint, and is sealed itself.
    """

    n = models.PositiveIntegerField(primary_key=True)
    first_seq = models.PositiveBigIntegerField()
    prev_hash = models.CharField(max_length=64)
    removed = models.PositiveBigIntegerField()
    from_at = models.DateTimeField()
    until_at = models.DateTimeField()
    first_redaction = models.PositiveBigIntegerField()
    at = models.DateTimeField()
    ordered_by = _kept("audit.AuditEvent")
    key_id = models.CharField(max_length=12)
    signature = models.CharField(max_length=64)

    class Meta:
        ordering = ("n",)

    def __str__(self) -> str:
        return f"{self.n} from {self.first_seq}"
