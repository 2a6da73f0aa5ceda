"""Approval rules, and requests that wait for another team member.

Only `portal.approvals.rules` writes rules, only `portal.approvals.gate` and `portal.approvals.commands` write requests.
"""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from hashlib import sha256
from typing import Any, ClassVar

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from portal import encryption
from portal.approvals.kinds import ApprovalKind

EXPIRES_AFTER = timedelta(days=7)
THRESHOLD, WINDOW_HOURS = 10, 24


class ApprovalRule(models.Model):
    """The rule that changes of a kind need approval. A kind without a row is off."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    kind = models.CharField(max_length=30, unique=True, choices=ApprovalKind.choices)
    is_on = models.BooleanField(default=False)
    # Of bulk changes: more accounts than this, within so many hours. Of closing a month: a larger difference, in whole
    # units of its currency.
    threshold = models.PositiveIntegerField(default=THRESHOLD)
    window_hours = models.PositiveIntegerField(default=WINDOW_HOURS)
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    changed_at = models.DateTimeField(null=True, blank=True)
    on_since = models.DateTimeField(null=True, blank=True)
    version = models.PositiveIntegerField(default=1)

    class Meta:
        ordering = ("id",)
        constraints = [
            models.CheckConstraint(condition=Q(threshold__gte=1, window_hours__gte=1), name="approval_rule_limits"),
            models.CheckConstraint(
                condition=Q(is_on=False) | Q(on_since__isnull=False), name="approval_rule_on_since_is_known"
            ),
        ]

    def __str__(self) -> str:
        return str(self.get_kind_display())


class Approval(models.Model):
    """A requested change, kept as data until another team member approves it, and then applied in the same transaction.

    Triggers refuse to change what was requested, and everything once it ended.
    """

    class State(models.TextChoices):
        WAITING = "waiting", _("Waiting for approval")
        APPLIED = "applied", _("Approved and applied")
        REJECTED = "rejected", _("Rejected")
        CANCELED = "canceled", _("Canceled")
        EXPIRED = "expired", _("Expired")

    # Encrypted columns and the name each is bound to; the rotation command goes through these.
    SEALED_FIELDS: ClassVar[dict[str, str]] = {"secret_sealed": "secret"}

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    kind = models.CharField(max_length=30, choices=ApprovalKind.choices)
    # The row it is about, by its public ID: "access.user". Empty where the row is made by the change.
    subject_type = models.CharField(max_length=60, default="", blank=True)
    subject_id = models.UUIDField(null=True, blank=True)
    subject_label = models.CharField(max_length=200)
    # What will be done, without secrets, and the version of what it starts from.
    payload = models.JSONField(encoder=DjangoJSONEncoder)
    # JSON of secrets such as a new API key, encrypted; emptied when the request ends.
    secret_sealed = models.TextField(default="", blank=True)
    payload_hash = models.CharField(max_length=64)
    reason = models.CharField(max_length=1000, default="", blank=True)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    requested_at = models.DateTimeField()
    client_token = models.CharField(max_length=64)
    expires_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    # The hash of the request that the approver saw.
    approved_hash = models.CharField(max_length=64, default="", blank=True)
    decision_reason = models.CharField(max_length=1000, default="", blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(fields=("requested_by", "client_token"), name="approval_requested_once"),
            models.CheckConstraint(
                condition=Q(decided_by=None) | ~Q(decided_by=F("requested_by")), name="approval_decided_by_another"
            ),
            models.CheckConstraint(
                condition=Q(state__in=("applied", "rejected"), decided_by__isnull=False)
                | Q(state__in=("waiting", "canceled", "expired"), decided_by=None),
                name="approval_decision_has_a_decider",
            ),
            models.CheckConstraint(
                condition=Q(state="applied", approved_hash=F("payload_hash"))
                | (~Q(state="applied") & Q(approved_hash="")),
                name="approval_applied_as_approved",
            ),
            models.CheckConstraint(
                condition=Q(state="waiting", finished_at=None) | (~Q(state="waiting") & Q(finished_at__isnull=False)),
                name="approval_ends_once",
            ),
            models.CheckConstraint(
                condition=Q(state="waiting") | Q(secret_sealed=""), name="approval_keeps_no_secret_after_its_end"
            ),
        ]
        indexes = [models.Index(fields=("state", "-id"), name="approval_state")]

    def __str__(self) -> str:
        return f"{self.code} {self.get_kind_display()}: {self.subject_label}"[:200]

    def get_absolute_url(self) -> str:
        return reverse("approvals:detail", args=[self.public_id])

    @property
    def code(self) -> str:
        return f"APP-{self.pk}"

    @property
    def is_waiting(self) -> bool:
        return self.state == self.State.WAITING

    def context_of(self, column: str) -> str:
        """Return what the encrypted column is bound to, so that a value copied to another row can't be decrypted."""
        return f"approvals.approval:{self.public_id}:{self.SEALED_FIELDS[column]}"

    def seal(self, secrets: dict[str, str]) -> None:
        text = json.dumps(secrets) if secrets else ""
        self.secret_sealed = encryption.encrypt(text, context=self.context_of("secret_sealed"))

    def secrets(self) -> dict[str, str]:
        """Return the decrypted secrets. Raises `DecryptionError`."""
        text = encryption.decrypt(self.secret_sealed, context=self.context_of("secret_sealed"))
        found: dict[str, str] = json.loads(text) if text else {}
        return found

    def hash_of_payload(self) -> str:
        """Return the hash of all that is to be done. The secrets are bound to this row by their encryption."""
        said = [self.kind, self.subject_type, str(self.subject_id or ""), self.payload, self.reason]
        return sha256(canonical_json(said).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """Return a value as JSON text that is equal for equal values."""
    return json.dumps(value, sort_keys=True, cls=DjangoJSONEncoder)
