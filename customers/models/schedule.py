"""What is to happen to an account on a day to come, and what keeps that from happening.

Nothing outside `customers.schedules.commands` and `customers.schedules.holds` writes these rows.
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
        """Those that hold at this moment."""
        return self.filter(Q(until=None) | Q(until__gt=now), released_at=None)

    def of(self, account_id: int, *, now: datetime) -> Hold | None:
        """The live hold of an account."""
        return self.live(now=now).filter(account=account_id).select_related("owner").order_by("pk").last()


class Hold(models.Model):
    """A person's word that an account is not to be suspended by a schedule or in bulk. It falls silent by itself: who
    asks reads the time (`customers.schedules.holds.held`), no job ends it."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="holds")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=500)
    placed_at = models.DateTimeField()
    # The first moment it does not hold any more; None = until a person releases it.
    until = models.DateTimeField(null=True, blank=True)
    released_at = models.DateTimeField(null=True, blank=True)
    released_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    # What `customers.schedules.holds.place_hold` cancelled for it; of no stored row.
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
        return f"{self.account_id} held by {self.owner_id}"

    @property
    def text(self) -> str:
        """Why nothing suspends the account by itself or in bulk, as a sentence."""
        return _("Held by %(name)s: %(why)s") % {"name": self.owner, "why": self.reason}


class Schedule(models.Model):
    """One change that is asked for by itself when its time comes. While it waits nothing is promised: everything is
    looked at again then. `version` rises with every edit."""

    class Kind(models.TextChoices):
        SUSPEND = "suspend", gettext_lazy("Suspend")
        UNSUSPEND = "unsuspend", gettext_lazy("Unsuspend")
        OFFERINGS = "offerings", gettext_lazy("Change package")

    class State(models.TextChoices):
        WAITING = "waiting", gettext_lazy("Waiting")
        DONE = "done", gettext_lazy("Asked")
        SKIPPED = "skipped", gettext_lazy("Skipped")
        CANCELLED = "cancelled", gettext_lazy("Cancelled")

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="schedules")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    # {"offerings": rows} for a change of package, else {}.
    payload = models.JSONField(default=dict, blank=True)
    # What the person saw: {"state", "offerings"}, and the account's version then.
    base = models.JSONField(default=dict, blank=True)
    base_version = models.PositiveIntegerField()
    reason = models.CharField(max_length=1000)
    due_at = models.DateTimeField()
    # The zone the time was chosen in, to say it the same way again.
    zone = models.CharField(max_length=64, default="UTC")
    # The last day of the cycle it waits for; None where a person chose the time.
    cycle_end_on = models.DateField(null=True, blank=True)
    # Whose word it is: the person who asked, or who edited it last. Their role is looked at again when it is due.
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="schedules")
    client_token = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    version = models.PositiveIntegerField(default=1)

    state = models.CharField(max_length=20, choices=State.choices, default=State.WAITING)
    # A sentence for people: why it was skipped, how late it ran.
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
