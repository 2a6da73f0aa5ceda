"""An operation is one request to a provider. Its row is the queue entry, the outbox and the authoritative record."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.urls import reverse

from customers.models.account import Account, AccountState
from customers.models.connection import Connection
from customers.models.operation_states import BUSY, FINAL, OPEN, OperationKind, OperationState
from portal.leases import Fenced, FencedQuerySet
from portal.texts import StoredTextField

_KIND_LABELS: dict[str, Any] = dict(OperationKind.choices)
_STATE_LABELS: dict[str, Any] = dict(OperationState.choices)


class OperationQuerySet(FencedQuerySet["Operation"]):
    def with_last_step(self) -> OperationQuerySet:
        """Set `last_step`, so that whoever claims a row need not count its steps."""
        last = Step.objects.filter(operation=OuterRef("pk")).order_by("-n").values("n")[:1]
        return self.annotate(last_step=Coalesce(Subquery(last), 0))  # type: ignore[no-redef]  # the same attribute

    def busy(self) -> OperationQuerySet:
        return self.filter(state__in=BUSY)

    def open(self) -> OperationQuerySet:
        return self.exclude(state__in=FINAL)

    def at_front(self) -> OperationQuerySet:
        """Return the operations that have no earlier open one of their account. One at the front stays there: numbers
        only rise, and nothing final opens again."""
        return self.filter(is_first())


class Operation(Fenced):
    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    kind = models.CharField(max_length=20, choices=OperationKind.choices)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="operations")
    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="operations")
    # Its place among the operations of its account, which run in this order: `Account.next_operation_number`.
    number = models.PositiveIntegerField()
    # What is to be sent, complete at the time of the request; never rebuilt from the account afterwards.
    payload = models.JSONField(default=dict)
    # The value of the account's desire that this operation replaces; it is restored when the operation fails or is
    # canceled.
    before = models.JSONField(default=dict)
    # The account's version that this request produced.
    version = models.PositiveIntegerField()
    reason = models.TextField(default="", blank=True)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="operations")
    client_token = models.CharField(max_length=64)
    # Part of a bulk change: it yields to what a person waits for, in the queue and in the connection's rate.
    is_bulk = models.BooleanField(default=False, db_default=False, editable=False)
    follows = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="followers")
    retry_of = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="retries")
    # ID of the page request that caused it, for the log; "" = none did.
    request_id = models.CharField(max_length=40, default="", db_default="", blank=True, editable=False)

    state = models.CharField(max_length=20, choices=OperationState.choices, default=OperationState.QUEUED)
    # Open when a backup was made from which the database was restored: it may have been sent since. Set until that is
    # assumed (`transitions.assume_all_sent`).
    recovery = models.ForeignKey(
        "customers.Recovery",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        editable=False,
        db_index=False,
    )
    # What no two busy operations may share: an account, or the connection's creates.
    concurrency_key = models.CharField(max_length=80, default="", blank=True, db_column="lane")
    # The exact body of a change that is sent under an idempotency key: written once, with the first intent.
    body = models.TextField(default="", blank=True)
    # What a create is found again by (its mailbox, or name and website, normalized): one open create per connection and
    # identity.
    identity = models.CharField(max_length=520, default="", blank=True)
    # Lost claims in a row (the worker never returned); orderly returns to the queue; sends; readings after an unknown.
    lost_claims = models.PositiveIntegerField(default=0, db_column="claims")
    requeues = models.PositiveIntegerField(default=0, db_column="tries")
    attempt_count = models.PositiveIntegerField(default=0, db_column="sends")
    verifications = models.PositiveIntegerField(default=0, db_column="settles")
    unknown_at = models.DateTimeField(null=True, blank=True)
    # A sentence for users: what happened, or what the operation waits for.
    summary = StoredTextField(default="", blank=True)
    error_kind = models.CharField(max_length=40, default="", blank=True)
    field_errors = models.JSONField(default=list, blank=True)
    result = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[OperationQuerySet] = OperationQuerySet.as_manager()  # type: ignore[assignment]

    # The number of its last step, as counted by `with_last_step` or by the step that was added last.
    last_step: int | None = None

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(fields=("requested_by", "client_token"), name="operation_asked_once"),
            models.UniqueConstraint(fields=("account", "number"), name="operation_numbered_in_account"),
            models.UniqueConstraint(
                fields=("concurrency_key",), condition=Q(state__in=BUSY), name="operation_one_busy_per_lane"
            ),
            models.UniqueConstraint(
                fields=("connection", "identity"),
                condition=Q(kind=OperationKind.CREATE) & ~Q(state__in=FINAL),
                name="operation_one_open_create",
            ),
            models.UniqueConstraint(
                fields=("account",),
                condition=Q(kind=OperationKind.CREATE) & ~Q(state__in=FINAL),
                name="operation_one_open_create_of_account",
            ),
            models.CheckConstraint(
                condition=Q(state__in=FINAL, finished_at__isnull=False)
                | (~Q(state__in=FINAL) & Q(finished_at__isnull=True)),
                name="operation_finished_at_fits_state",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=BUSY) | ~Q(concurrency_key=""), name="operation_busy_holds_a_lane"
            ),
        ]
        indexes = [
            models.Index(fields=("state", "not_before"), name="operation_due"),
            models.Index(fields=("account", "-id"), name="operation_of_account"),
            models.Index(fields=("account", "number"), condition=~Q(state__in=FINAL), name="operation_open_in_account"),
            models.Index(fields=("connection", "kind", "created_at"), name="operation_budget"),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.kind}"

    def get_absolute_url(self) -> str:
        return reverse("customers:operation", args=[self.public_id])

    # Django's own make a dictionary of all choices at each call, and a list has hundreds of these.
    def get_kind_display(self) -> str:  # type: ignore[no-redef]  # Django's, which this replaces
        return str(_KIND_LABELS.get(self.kind, self.kind))

    def get_state_display(self) -> str:  # type: ignore[no-redef]  # the same
        return str(_STATE_LABELS.get(self.state, self.state))

    @property
    def code(self) -> str:
        """Short code for users, such as op_7C31AB. The UUID is the identity."""
        return f"op_{self.public_id.hex[:6].upper()}"

    @property
    def log_context(self) -> dict[str, str]:
        """Values for each line of the log about it. Its own request replaces that of the message, even where it has
        none: the message may be about another operation's end."""
        return {"operation": self.code, "kind": self.kind, "request_id": self.request_id}

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    @property
    def was_unknown(self) -> bool:
        """True if its last step came from an unknown outcome: the effect of its send has not been proven since."""
        last = self.steps.last()
        return last is not None and last.before == OperationState.UNKNOWN

    @property
    def needs_a_person(self) -> bool:
        """True if it waits for a review. An unknown create is resolved by reading alone only where it was
        sent under an idempotency key."""
        return self.state == OperationState.NEEDS_ATTENTION or (
            self.state == OperationState.UNKNOWN
            and self.kind == OperationKind.CREATE
            and not self.connection.capabilities.idempotent_create
        )


def is_first() -> Q:
    """Match operations that have no earlier open one of their account."""
    earlier = Operation.objects.filter(account=OuterRef("account"), number__lt=OuterRef("number"), state__in=OPEN)
    return Q(~Exists(earlier))


def never_made() -> Q:
    """Match accounts whose create failed or was canceled: nothing is at the provider, and nothing is in progress."""
    open_ones = Operation.objects.filter(account=OuterRef("pk"), state__in=OPEN)
    return Q(~Exists(open_ones), state=AccountState.PENDING, provider_id=None)


class Step(models.Model):
    """One step of an operation from state to state. Append only."""

    operation = models.ForeignKey(Operation, on_delete=models.PROTECT, related_name="steps")
    n = models.PositiveIntegerField()
    before = models.CharField(max_length=20, blank=True)
    after = models.CharField(max_length=20)
    at = models.DateTimeField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    note = StoredTextField(default="", blank=True)

    class Meta:
        ordering = ("n",)
        constraints = [models.UniqueConstraint(fields=("operation", "n"), name="step_numbered")]

    def __str__(self) -> str:
        return f"{self.before} -> {self.after}"


class Attempt(models.Model):
    """One send: the intent, committed before the first byte, and its outcome, written once. Never deleted; retention
    empties `request` and `response` (customers/retention.py)."""

    class Outcome(models.TextChoices):
        NONE = "", "No response recorded"
        NOT_SENT = "not_sent", "Not sent"
        REJECTED = "rejected", "Rejected"
        APPLIED = "applied", "Applied"
        PREPARED = "prepared", "Applied, operation continues"
        UNKNOWN = "unknown", "Unknown"

    operation = models.ForeignKey(Operation, on_delete=models.PROTECT, related_name="attempts")
    n = models.PositiveIntegerField()
    fence = models.PositiveIntegerField()
    call = models.CharField(max_length=200)
    request = models.TextField(default="", blank=True)
    intended_at = models.DateTimeField()
    # The installation's epoch that the sender knew (`portal.installation`).
    epoch = models.PositiveIntegerField(default=1, db_default=1)
    # Of creates alone: remote accounts and scans up to these keys existed before this send. Keys order events where
    # clocks can't.
    remote_account_mark = models.BigIntegerField(null=True, blank=True, db_column="sighting_mark")
    scan_mark = models.BigIntegerField(null=True, blank=True)
    # By how many seconds the provider's clock was ahead of the database's, just before this send. None: not measured.
    clock_skew = models.IntegerField(null=True, blank=True)
    outcome = models.CharField(max_length=10, choices=Outcome.choices, default=Outcome.NONE, blank=True)
    status = models.PositiveIntegerField(null=True, blank=True)
    provider_request_id = models.CharField(max_length=120, default="", blank=True)
    duration_ms = models.PositiveIntegerField(null=True, blank=True)
    response = models.TextField(default="", blank=True)
    message = StoredTextField(default="", blank=True)
    # What the answer returned (such as the new account's ID), stored even when the operation's row had moved on
    # meanwhile.
    result = models.JSONField(default=dict, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    # When retention emptied the bodies.
    bodies_removed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("n",)
        constraints = [models.UniqueConstraint(fields=("operation", "n"), name="attempt_numbered")]

    def __str__(self) -> str:
        return f"{self.operation_id}/{self.n} {self.call}"


class UsageReading(models.Model):
    """Usage that was read around a change of an account, as the provider returned it. Billing makes it a snapshot.
    Append only."""

    class Moment(models.TextChoices):
        BEFORE = "before", "Before a change"
        AFTER = "after", "After a change"
        FINAL = "final", "Before a delete"
        NOTICED = "noticed", "After a change that was noticed"

    # None where no operation made the change.
    operation = models.ForeignKey(Operation, null=True, on_delete=models.PROTECT, related_name="usage_readings")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="usage_readings")
    moment = models.CharField(max_length=10, choices=Moment.choices, default=Moment.FINAL, db_default=Moment.FINAL)
    source = models.CharField(max_length=20)
    taken_at = models.DateTimeField()
    # {} where the reading failed; `failure` says why.
    usage = models.JSONField(default=dict, blank=True)
    failure = StoredTextField(default="", db_default="", blank=True)

    class Meta:
        db_table = "customers_finalreading"
        ordering = ("-id",)
        constraints = [
            models.CheckConstraint(
                condition=Q(moment="noticed") | Q(operation__isnull=False), name="usage_reading_has_operation"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account_id} {self.moment} {self.taken_at:%Y-%m-%d}"
