"""Requests about a person's data, and the list of erased persons."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from portal import encryption
from portal.leases import Fenced
from portal.privacy.subjects import Subject, subject_from_text

# How long the words of a request and the file of an export are kept.
KEPT_FOR = timedelta(days=7)


class SubjectRequest(Fenced):
    """A search for a person's data, and the export or erasure that follows it.

    The person is in `subject_sealed` alone, encrypted, which is emptied once the data is erased or the request expires.
    `code` is their pseudonym. `found` has for each table the rows with the person's words (`rows`), those that keep
    them (`kept`) and, after an erasure, those that were changed (`changed`) or still have them (`left`). `position` is
    where a worker continues.
    """

    class Kind(models.TextChoices):
        CONTACT = "contact", _("Customer contact")
        MEMBER = "member", _("Team member")

    class State(models.TextChoices):
        SEARCHING = "searching", _("Searching")
        FOUND = "found", _("Searched")
        EXPORTING = "exporting", _("Export in progress")
        EXPORTED = "exported", _("Exported")
        ERASING = "erasing", _("Erasure in progress")
        ERASED = "erased", _("Erased")
        EXPIRED = "expired", _("Expired")
        FAILED = "failed", _("Failed")

    LEASE: ClassVar[timedelta] = timedelta(minutes=15)
    # States in which a worker has something to do, and in which a person can start something.
    RUNNING: ClassVar[tuple[str, ...]] = (State.SEARCHING, State.EXPORTING, State.ERASING)
    OPEN: ClassVar[tuple[str, ...]] = (State.FOUND, State.EXPORTED, State.FAILED)
    # Encrypted columns and the name each is bound to.
    SEALED_FIELDS: ClassVar[dict[str, str]] = {"subject_sealed": "subject", "file_sealed": "file"}

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    code = models.CharField(max_length=12, unique=True)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    subject_sealed = models.TextField(default="", blank=True)
    # None: the portal itself, repeating an erasure after a restore.
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    requested_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.SEARCHING)
    tries = models.PositiveSmallIntegerField(default=0)
    reason = models.CharField(max_length=500, default="", blank=True)
    position = models.JSONField(default=dict)
    found = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    # Why an erasure stopped before its end, as sentences.
    blocked = models.JSONField(default=list)
    error = models.CharField(max_length=100, default="", blank=True)
    file_sealed = models.TextField(default="", blank=True)
    size = models.BigIntegerField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.CheckConstraint(
                condition=Q(kind="member", user__isnull=False) | Q(kind="contact", user=None),
                name="subject_request_member_has_a_user",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=("erased", "expired")) | Q(subject_sealed="", file_sealed=""),
                name="subject_request_keeps_no_words_after_its_end",
            ),
        ]
        indexes = [
            models.Index(fields=("state", "not_before"), name="subject_request_due"),
            models.Index(
                fields=("expires_at",), condition=~Q(state__in=("erased", "expired")), name="subject_request_expiry"
            ),
        ]

    def __str__(self) -> str:
        return self.code

    def get_absolute_url(self) -> str:
        return reverse("privacy:detail", args=[self.public_id])

    @property
    def is_running(self) -> bool:
        return self.state in self.RUNNING

    @property
    def is_open(self) -> bool:
        return self.state in self.OPEN

    @property
    def filename(self) -> str:
        return f"personal-data-{self.code}.zip"

    def context_of(self, column: str) -> str:
        """Return what the encrypted column is bound to, so that a value copied to another row can't be decrypted."""
        return f"privacy.subjectrequest:{self.public_id}:{self.SEALED_FIELDS[column]}"

    def seal(self, column: str, text: str) -> str:
        return encryption.encrypt(text, context=self.context_of(column))

    def file_text(self) -> str:
        """Return the decrypted file of the export, in Base64. Raises `DecryptionError`."""
        return encryption.decrypt(self.file_sealed, context=self.context_of("file_sealed"))

    def subject(self) -> Subject:
        """Return the decrypted subject; one without words once they were removed. Raises `DecryptionError`."""
        text = encryption.decrypt(self.subject_sealed, context=self.context_of("subject_sealed"))
        return subject_from_text(text, self.user)


class ErasedSubject(models.Model):
    """An erased person, so that an erasure is repeated after a restore of an older backup. `hashes` are keyed hashes of
    their email addresses, by which they are recognized; nothing else is kept."""

    code = models.CharField(max_length=12, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    hashes = models.JSONField(default=list)
    erased_at = models.DateTimeField()

    class Meta:
        ordering = ("-erased_at",)

    def __str__(self) -> str:
        return self.code
