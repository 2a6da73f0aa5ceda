"""Offerings and states of accounts as spans: values, the times in which they may have been in force, and evidence."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from customers.models.account import Account
from customers.models.operation import Operation


class AccountSpan(models.Model):
    """One value of an account, and the time in which it may have been in force.

    Providers do not report when something changed. A change that a reading showed lies between `from_at`, the last
    reading of the value before, and `seen_at`, the reading that showed this one. The value is certain from `seen_at`
    to the `from_at` of the next span, or while current to the account's own `state_read_at` or `offerings_read_at`.
    Append only; a current span is closed once, with the `seen_at` of the next one.
    """

    class Kind(models.TextChoices):
        OFFERINGS = "offerings", _("Offerings")
        STATE = "state", _("State")

    class Source(models.TextChoices):
        OPERATION = "operation", _("Operation")
        READING = "reading", _("Reported by the provider")
        LINKED = "linked", _("Linked to customer")
        DECIDED = "decided", _("Provider value accepted")
        STORED = "stored", _("Stored before spans were kept")

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="spans")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    # A list of offerings as `Account.offerings` has it, or a state.
    value = models.JSONField()
    package = models.CharField(max_length=200, default="", blank=True)
    # None: not known.
    from_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField()
    # The latest moment it may have lasted to; None while current.
    until_at = models.DateTimeField(null=True)
    source = models.CharField(max_length=10, choices=Source.choices)
    operation = models.ForeignKey(Operation, null=True, on_delete=models.PROTECT, related_name="spans")

    class Meta:
        ordering = ("account", "kind", "id")
        constraints = [
            models.UniqueConstraint(
                fields=("account", "kind"), condition=Q(until_at=None), name="account_span_one_current"
            ),
        ]
        indexes = [models.Index(fields=("account", "kind", "until_at"), name="account_span_of_account")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.kind} {self.package or self.value}"
