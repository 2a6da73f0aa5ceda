"""A bulk change: a plan with a row for each account, then a run over the rows that can be changed.

Nothing outside `customers.bulk.commands`, `customers.bulk.plan` and `customers.bulk.run` writes these rows.
"""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from customers.models.account import Account
from customers.models.operation import Operation
from portal.leases import Fenced


class ChangeSet(Fenced):
    LEASE = timedelta(seconds=60)

    class Kind(models.TextChoices):
        SUSPEND = "suspend", _("Suspend")
        UNSUSPEND = "unsuspend", _("Unsuspend")
        PACKAGE = "package", _("Change package")
        ADDON_ADD = "addon_add", _("Add add-on")
        ADDON_REMOVE = "addon_remove", _("Remove add-on")
        CAP = "cap", _("Set monthly cap")
        TAG_ADD = "tag_add", _("Add tag")
        TAG_REMOVE = "tag_remove", _("Remove tag")
        DELETE = "delete", _("Delete account")
        KEY_ROTATE = "key_rotate", _("Rotate API keys")
        KEY_DELETE = "key_delete", _("Delete API keys")

    class State(models.TextChoices):
        LISTING = "listing", _("Listing keys")
        PLANNED = "planned", _("Draft")
        WAITING = "waiting", _("Waiting for approval")
        RUNNING = "running", _("In progress")
        PAUSED = "paused", _("Paused")
        ENDED = "ended", _("Completed")
        CANCELLED = "cancelled", _("Canceled")
        REFUSED = "refused", _("Rejected")

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    # The change for every account: {"offering"}, {"cap"}, {"tag"}, {"without_reading"}, {"despite_hold"}, {"old"}
    # (of keys, `customers.bulk.keys`) or {}.
    wanted = models.JSONField(default=dict, blank=True)
    reason = models.CharField(max_length=1000)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="change_sets")
    client_token = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    # When it was applied, or approval was requested; None for a draft.
    submitted_at = models.DateTimeField(null=True, blank=True)
    # Hash of everything that is to be done. An approval names the hash it was given for.
    plan_hash = models.CharField(max_length=64, default="", blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.PLANNED)
    second_person = models.BooleanField(default=False)
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    approved_hash = models.CharField(max_length=64, default="", blank=True)
    # Why it was rejected, is paused or waits.
    message = models.CharField(max_length=1000, default="", blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    # Of keys: from when on the lists are that show what is still alive. None until the operations ended.
    checked_from = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(fields=("requested_by", "client_token"), name="change_set_asked_once"),
            models.CheckConstraint(
                condition=Q(approved_by=None) | ~Q(approved_by=F("requested_by")), name="change_set_second_is_another"
            ),
            models.CheckConstraint(
                condition=Q(approved_by=None, approved_hash="") | (Q(approved_by__isnull=False) & ~Q(approved_hash="")),
                name="change_set_approval_names_a_plan",
            ),
            models.CheckConstraint(
                condition=Q(second_person=False)
                | Q(approved_by__isnull=False)
                | ~Q(state__in=("running", "paused", "ended")),
                name="change_set_runs_once_approved",
            ),
        ]
        indexes = [models.Index(fields=("state", "not_before"), name="change_set_due")]

    def __str__(self) -> str:
        return f"{self.kind} {self.created_at:%Y-%m-%d %H:%M}"

    def get_absolute_url(self) -> str:
        return reverse("customers:bulk", args=[self.public_id])

    @property
    def code(self) -> str:
        return f"cs_{self.public_id.hex[:6]}"


class ChangeSetItem(models.Model):
    """One account, or one API key of it. A row whose keys are not listed yet stands for all of them, or for one."""

    class State(models.TextChoices):
        LISTING = "listing", _("Not listed yet")
        READY = "ready", _("Ready")
        ASIDE = "aside", _("Skipped")
        ASKED = "asked", _("Requested")
        MOVED = "moved", _("Changed since preview")
        FAILED = "failed", _("No longer possible")
        CANCELLED = "cancelled", _("Canceled")

    change_set = models.ForeignKey(ChangeSet, on_delete=models.CASCADE, related_name="items")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+")
    # "" where the change is about the account, or about all of its keys that are not listed yet.
    key_id = models.CharField(max_length=100, default="", db_default="", blank=True)
    # The account as the plan read it.
    version = models.PositiveIntegerField()
    before = models.JSONField(default=dict, blank=True)
    after = models.JSONField(default=dict, blank=True)
    # The difference in words, the warnings, and why it was left out, skipped or refused.
    was = models.CharField(max_length=500, default="", blank=True)
    becomes = models.CharField(max_length=500, default="", blank=True)
    warnings = models.JSONField(default=list, blank=True)
    note = models.CharField(max_length=500, default="", blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.READY)
    operation = models.OneToOneField(
        Operation, null=True, blank=True, on_delete=models.PROTECT, related_name="change_set_item"
    )

    class Meta:
        ordering = ("id",)
        constraints = [models.UniqueConstraint(fields=("change_set", "account", "key_id"), name="change_set_key_once")]
        indexes = [
            models.Index(fields=("change_set", "state"), name="change_set_item_state"),
            models.Index(fields=("account", "key_id"), condition=~Q(key_id=""), name="change_set_item_key"),
        ]

    def __str__(self) -> str:
        return f"{self.change_set_id}/{self.account_id} {self.state}"
