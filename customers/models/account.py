"""A customer's account at one connection: the desired state, what the provider reported, and when it was read.

Readings are written by `customers.observed.accounts`, what an operation concluded by
`customers.operations.conclusions`. `customers.operations.kinds.create` and `customers.reconcile.link` create rows; the
desire is written by `customers.operations.request`, `.transitions` and `customers.monitoring.repair`, an accepted value
by `customers.reconcile.drift`, the v2 username by `customers.accounts.sign_in` too, and duplicates by
`customers.observed.duplicates`.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Case, F, Q, When
from django.db.models.functions import Greatest, Least
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from customers.models.connection import Connection
from customers.models.customer import Customer
from customers.models.operation_states import OPEN
from portal import providers
from portal.email_addresses import domain_key
from portal.providers import AccountSettings
from portal.state_labels import NOT_CREATED
from portal.typed_text import comparable


class AccountState(models.TextChoices):
    PENDING = "pending", _("Pending")
    ACTIVE = "active", _("Active")
    STOPPED_BY_US = "stopped_by_us", _("Suspended")
    STOPPED_BY_PROVIDER = "stopped_by_provider", _("Blocked by provider")
    BANNED = "banned", _("Banned")
    INDETERMINATE = "indeterminate", _("Indeterminate")
    DELETED = "deleted", _("Deleted")
    UNKNOWN = "unknown", _("Unknown")


# Not at the provider (anymore), so there is nothing to read.
NOT_THERE = (AccountState.PENDING, AccountState.DELETED)
HALTED = (AccountState.STOPPED_BY_US, AccountState.STOPPED_BY_PROVIDER, AccountState.BANNED)
# What the lists of living customers show: no duplicate that was merged, and no account of an archived customer.
LISTED = Q(archived=False, merged_at=None)

# From these levels of `Account.quota_level` on an account has used 80% of its quota, or more than all of it.
NEAR_QUOTA, OVER_QUOTA = 8, 11
HIGHEST_LEVEL = 30_000


class Account(models.Model):
    class Desired(models.TextChoices):
        ACTIVE = "active", _("Active")
        STOPPED = "stopped_by_us", _("Suspended")
        DELETED = "deleted", _("Deleted")

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="accounts")
    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="accounts")
    provider_id = models.CharField(max_length=100, null=True, blank=True)
    # The connection's kind, kept equal by a trigger (customers.models.triggers): an ID is unique at its provider.
    provider_kind = models.CharField(max_length=20, default="", editable=False)
    # The account that owns this provider ID, where this row is a second one for it. A duplicate is read-only.
    duplicate_of = models.ForeignKey(
        "self", null=True, blank=True, default=None, on_delete=models.PROTECT, related_name="duplicates", editable=False
    )
    # When a duplicate was merged into the account it points to; from then on it appears in no list.
    merged_at = models.DateTimeField(null=True, blank=True, default=None, editable=False)
    # Whether its customer is archived, who owns it, and its name in lower case. Kept equal by triggers, so that lists
    # find and sort their rows by indexes of one table.
    archived = models.BooleanField(default=False, db_default=False, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        editable=False,
        on_delete=models.DO_NOTHING,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    company = models.TextField(default="", db_default="", editable=False)
    v2_username = models.CharField(max_length=120, default="", blank=True)
    email = models.EmailField(max_length=254, help_text=_("The email address the account was created with."))
    is_test = models.BooleanField(default=False)
    # The desired state. `version` rises with every change of it.
    desired_state = models.CharField(max_length=20, choices=Desired.choices, default=Desired.ACTIVE)
    desired_offerings = models.JSONField(default=list)
    # name, website, monthly_cap (0 = no cap); {} where the provider has offerings instead.
    desired_settings = models.JSONField(default=dict, blank=True)
    version = models.PositiveIntegerField(default=1)
    # The number of the newest operation.
    last_operation = models.PositiveIntegerField(default=0)
    # What the provider reported: our state and its own word for it.
    state = models.CharField(max_length=20, choices=AccountState.choices, default=AccountState.PENDING)
    state_raw = models.CharField(max_length=60, default="", blank=True)
    state_read_at = models.DateTimeField(null=True, blank=True)
    offerings = models.JSONField(null=True, default=None)
    offerings_read_at = models.DateTimeField(null=True, blank=True)
    settings = models.JSONField(null=True, default=None, blank=True)
    settings_read_at = models.DateTimeField(null=True, blank=True)
    domain_count = models.PositiveIntegerField(null=True, blank=True)
    member_count = models.PositiveIntegerField(null=True, blank=True)
    last_activity_at = models.DateTimeField(null=True, blank=True)
    keys_read_at = models.DateTimeField(null=True, blank=True)
    # When the list of keys was last requested for lists of all keys, with or without an answer.
    keys_tried_at = models.DateTimeField(null=True, blank=True, editable=False)
    # The package's name as read (or, before the first reading, as requested): for lists and filters.
    package = models.CharField(max_length=200, default="", blank=True)
    # Usage in the current billing period, as billing read it (`usage_readings.record_usages`). None = not read.
    usage_used = models.BigIntegerField(null=True, blank=True)
    usage_allowed = models.BigIntegerField(null=True, blank=True)
    usage_overage = models.BigIntegerField(null=True, blank=True)
    usage_start_on = models.DateField(null=True, blank=True)
    usage_end_on = models.DateField(null=True, blank=True)
    usage_read_at = models.DateTimeField(null=True, blank=True)
    usage_missing_since = models.DateTimeField(null=True, blank=True)
    # From when on usage is to be read, because a change was noticed that no operation of ours made; None = not due.
    usage_due_at = models.DateTimeField(null=True, blank=True, editable=False)
    # When the provider was last queried, with or without an answer, so that a failing account is not read all the time.
    read_tried_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField()
    changed_what = models.CharField(max_length=120, default="", blank=True)
    # When it was noticed that the last reading is long ago (`customers.observed.usage_readings.mark_late_usage`).
    usage_late_at = models.DateTimeField(null=True, blank=True, editable=False)
    # What lists count and sort by on every page, kept by the database. They change rarely, usage every night: an index
    # on usage itself would make each night's update write all indexes of the table.
    # Tenths of the quota that are used, at least 11 for more than all of it. None where either is unknown.
    quota_level = models.GeneratedField(
        expression=Case(
            When(
                usage_allowed__gt=0,
                usage_used__gt=F("usage_allowed"),
                then=Greatest(OVER_QUOTA, Least(F("usage_used") * 10 / F("usage_allowed"), HIGHEST_LEVEL)),
            ),
            When(usage_allowed__gt=0, usage_used__isnull=False, then=F("usage_used") * 10 / F("usage_allowed")),
            default=None,
        ),
        output_field=models.SmallIntegerField(),
        db_persist=True,
    )
    no_reading = models.GeneratedField(
        expression=Case(
            When(
                (Q(usage_read_at=None) | Q(usage_missing_since__isnull=False))
                & ~Q(state__in=NOT_THERE)
                & Q(duplicate_of=None),
                then=True,
            ),
            default=False,
        ),
        output_field=models.BooleanField(),
        db_persist=True,
    )
    usage_is_late = models.GeneratedField(
        expression=Case(
            When(
                Q(usage_late_at__isnull=False)
                & (Q(usage_read_at=None) | Q(usage_read_at__lt=F("usage_late_at")))
                & ~Q(state__in=NOT_THERE)
                & Q(duplicate_of=None),
                then=True,
            ),
            default=False,
        ),
        output_field=models.BooleanField(),
        db_persist=True,
    )

    class Meta:
        ordering = ("-changed_at", "-id")
        constraints = [
            models.UniqueConstraint(
                fields=("connection", "provider_id"),
                condition=Q(provider_id__isnull=False),
                name="account_unique_at_connection",
            ),
            models.UniqueConstraint(
                fields=("provider_kind", "provider_id"),
                condition=Q(provider_id__isnull=False, duplicate_of__isnull=True),
                name="account_unique_at_provider",
            ),
            models.CheckConstraint(condition=~Q(provider_id=""), name="account_provider_id_not_blank"),
            models.CheckConstraint(
                condition=Q(duplicate_of__isnull=False) | Q(merged_at__isnull=True), name="account_merged_is_duplicate"
            ),
        ]
        indexes = [
            # The order of the list, and the accounts it leaves out. PostgreSQL finds the rows of a late page, and their
            # number, in the index alone.
            models.Index(fields=("-changed_at", "-id", "customer"), condition=LISTED, name="account_changed"),
            models.Index(
                fields=("-changed_at", "-id"), condition=Q(archived=True, merged_at=None), name="account_archived"
            ),
            models.Index(fields=("owner", "-changed_at", "-id"), condition=LISTED, name="account_by_owner"),
            models.Index(fields=("company", "customer", "id"), condition=LISTED, name="account_by_company"),
            models.Index(fields=("state", "id"), name="account_by_state"),
            models.Index(fields=("package", "id"), name="account_by_package"),
            # Its descending order, with unknown levels last, is an index of PostgreSQL alone (migration 0025).
            models.Index(fields=("quota_level", "id"), condition=LISTED, name="account_by_quota"),
            models.Index(fields=("connection", "package"), name="account_package"),
            # Which accounts a connection has: counted where connections are listed.
            models.Index(
                fields=("connection",),
                condition=Q(provider_id__isnull=False) & ~Q(state=AccountState.DELETED),
                name="account_at_connection",
            ),
            models.Index(fields=("usage_due_at",), condition=Q(usage_due_at__isnull=False), name="account_usage_due"),
            models.Index(
                fields=("-changed_at", "-id"),
                condition=LISTED & Q(quota_level__gte=NEAR_QUOTA),
                name="account_near_quota",
            ),
            models.Index(fields=("-changed_at", "-id"), condition=LISTED & Q(state__in=HALTED), name="account_halted"),
            models.Index(
                fields=("-changed_at", "-id"), condition=LISTED & Q(no_reading=True), name="account_no_reading"
            ),
            models.Index(fields=("usage_read_at",), condition=Q(usage_is_late=True), name="account_usage_late"),
        ]

    def __str__(self) -> str:
        return f"{self.customer} at {self.connection}"

    def get_absolute_url(self) -> str:
        return reverse("customers:account", args=[self.public_id])

    @property
    def ref(self) -> providers.AccountRef:
        return providers.AccountRef(id=self.provider_id or "", username=self.v2_username)

    @property
    def provider_label(self) -> str:
        return self.connection.provider_label

    @property
    def shown_state(self) -> str:
        """The state to display: an account whose create was never carried out is "not created" instead of pending."""
        if self.state != AccountState.PENDING or self.provider_id is not None:
            return self.state
        # One query for account and operations: the create may have succeeded since this row was read.
        waits = Account.objects.filter(pk=self.pk, state=AccountState.PENDING, provider_id=None)
        if waits.exclude(operations__state__in=OPEN).exists():
            return NOT_CREATED
        return self.state

    def lock(self) -> None:
        """Lock the row until the transaction ends, and reload it."""
        self.refresh_from_db(from_queryset=Account.objects.select_for_update(no_key=True))

    def next_operation_number(self) -> int:
        """Return the number for a new operation. Locks the account's row until the transaction ends, so that what is
        checked after this still holds when the operation is stored."""
        Account.objects.filter(pk=self.pk).update(last_operation=F("last_operation") + 1)
        return Account.objects.values_list("last_operation", flat=True).get(pk=self.pk)

    @property
    def wanted_offerings(self) -> list[providers.ProviderOffering]:
        return as_offerings(self.desired_offerings)


def as_offerings(rows: list[dict[str, Any]]) -> list[providers.ProviderOffering]:
    return [providers.ProviderOffering(row["name"], row["type"], int(row["quantity"])) for row in rows]


def as_rows(offerings: list[providers.ProviderOffering]) -> list[dict[str, Any]]:
    """Return the stored form of an offering list: packages first, then by name, so that equal lists are equal rows."""
    ordered = sorted(offerings, key=lambda each: (each.type != "package", each.name))
    return [{"name": each.name, "type": each.type, "quantity": each.quantity} for each in ordered]


def package_name_of(rows: list[dict[str, Any]]) -> str:
    """Return the name of the package in a stored offering list; "" when there is none."""
    return next((row["name"] for row in rows if row["type"] == "package"), "")


def identity_of(settings: AccountSettings) -> str:
    """Return the identity by which an account without an email is found again."""
    return f"{comparable(settings.name).lower()}|{domain_key(settings.website)}"[:520]
