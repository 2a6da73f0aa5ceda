"""Scheduled changes of an account, and holds ("Do not suspend" on pages), which prevent a suspension.

Nothing outside `customers.schedules.commands`, `customers.schedules.due` and `customers.schedules.holds` writes these
rows.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.models.account import Account
from customers.models.operation import Operation


class HoldQuerySet(models.QuerySet["Hold"]):
    def live(self, *, now: datetime) -> HoldQuerySet:
        """Return the holds that are in force at `now`."""
        return self.filter(Q(until=None) | Q(until__gt=now), released_at=None)

    def of(self, account_id: int, *, now: datetime) -> Hold | None:
        """Return the live hold of an account, or None."""
        return self.live(now=now).filter(account=account_id).select_related("owner").order_by("pk").last()


class Hold(models.Model):
    """A note that an account must not be suspended by a schedule or in bulk. It expires automatically: no job ends
    it, readers compare the time (`customers.schedules.holds.held`)."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="holds")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=500)
    placed_at = models.DateTimeField()
    # The first moment at which it no longer applies; None = until a user releases it.
    until = models.DateTimeField(null=True, blank=True)
    released_at = models.DateTimeField(null=True, blank=True)
    released_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    # What `customers.schedules.holds.place_hold` canceled for it; not a stored column.
    cancelled: Sequence[Operation] = ()

    # django-stubs sees a Manager here, which lacks the methods of the query set.
    objects: ClassVar[HoldQuerySet] = HoldQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.CheckConstraint(
                condition=Q(released_at=None, released_by=None)
                | Q(released_at__isnull=False, released_by__isnull=False),
                name="hold_released_by_somebody",
            ),
            models.CheckConstraint(
                condition=Q(until=None) | Q(until__gt=models.F("placed_at")), name="hold_ends_after_it_begins"
            ),
        ]
        indexes = [
            models.Index(fields=("account",), condition=Q(released_at=None), name="hold_open"),
            models.Index(fields=("until",), name="hold_until"),
        ]

    def __str__(self) -> str:
        return f"{self.account_id} protected by {self.owner_id}"

    @property
    def text(self) -> str:
        """The reason, as a sentence, why no schedule or bulk change suspends the account."""
        return _("Marked “Do not suspend” by %(name)s: %(why)s") % {"name": self.owner, "why": self.reason}


class Schedule(models.Model):
    """One change that is requested automatically when its time comes. While it waits nothing is guaranteed: everything
    is checked again then. `version` rises with every edit."""

    class Kind(models.TextChoices):
        SUSPEND = "suspend", gettext_lazy("Suspend")
        UNSUSPEND = "unsuspend", gettext_lazy("Unsuspend")
        OFFERINGS = "offerings", gettext_lazy("Change package")

    class State(models.TextChoices):
        WAITING = "waiting", gettext_lazy("Scheduled")
        DONE = "done", gettext_lazy("Requested")
        SKIPPED = "skipped", gettext_lazy("Skipped")
        CANCELLED = "cancelled", gettext_lazy("Canceled")

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="schedules")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    # {"offerings": rows} for a change of package, else {}.
    payload = models.JSONField(default=dict, blank=True)
    # What the user saw: {"state", "offerings"}, and the account's version then.
    base = models.JSONField(default=dict, blank=True)
    base_version = models.PositiveIntegerField()
    reason = models.CharField(max_length=1000)
    due_at = models.DateTimeField()
    # The time zone the time was chosen in, to show it the same way again.
    zone = models.CharField(max_length=64, default="UTC")
    # The last day of the billing period it waits for; None where the user chose the time.
    cycle_end_on = models.DateField(null=True, blank=True)
    # The user who requested it or edited it last. Their role is checked again when it is due.
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="schedules")
    client_token = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    version = models.PositiveIntegerField(default=1)

    state = models.CharField(max_length=20, choices=State.choices, default=State.WAITING)
    # A sentence for users: why it was skipped, how late it ran.
    outcome = models.CharField(max_length=500, default="", blank=True)
    operation = models.OneToOneField(
        Operation, null=True, blank=True, on_delete=models.PROTECT, related_name="schedule"
    )
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("due_at", "id")
        constraints = [
            models.UniqueConstraint(fields=("requested_by", "client_token"), name="schedule_asked_once"),
            models.CheckConstraint(
                condition=Q(state="waiting", ended_at=None) | (~Q(state="waiting") & Q(ended_at__isnull=False)),
                name="schedule_ended_at_fits_state",
            ),
            models.CheckConstraint(
                condition=Q(state="done", operation__isnull=False) | (~Q(state="done") & Q(operation=None)),
                name="schedule_done_has_an_operation",
            ),
        ]
        indexes = [
            models.Index(fields=("state", "due_at"), name="schedule_due"),
            models.Index(fields=("account", "-id"), name="schedule_of_account"),
            models.Index(fields=("-ended_at",), name="schedule_ended"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.account_id} at {self.due_at:%Y-%m-%d %H:%M} UTC"

    def get_absolute_url(self) -> str:
        return reverse("customers:account", args=[self.account.public_id])
