"""Connections: one reseller credential at one provider each, with the catalog it can sell from."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils.translation import gettext_lazy as _

from portal import encryption, providers
from portal.typed_text import visible_name

CATALOGUE_AGE = timedelta(hours=24)


def last4(secret: str) -> str:
    """Return the end of a key, by which users tell it from another; "" for one too short to show any of it."""
    return secret[-4:] if len(secret) >= 12 else ""


class Connection(models.Model):
    class UsageSource(models.TextChoices):
        CREDITS = "credits", _("Credits API")
        OVERVIEW_JSON = "overview_json", _("v2 overview (JSON)")
        OVERVIEW_XML = "overview_xml", _("v2 overview (XML)")
        POOLED = "pooled", _("Pooled usage report")

    class V2Auth(models.TextChoices):
        KEY_IN_FORM = "key_in_form", _("API key in form data")
        HEADER = "header", _("API key in header")
        PASSWORD = "password", _("Username and password")

    class Paused(models.TextChoices):
        NO = "", _("Not paused")
        BY_PERSON = "person", _("Paused manually")
        BY_AUTH = "auth", _("The provider rejected the key")
        BY_RESTORE = "restore", _("On hold after a restore")

    # Read, but not changed, in the second of these.
    READABLE: ClassVar[tuple[str, ...]] = (Paused.NO, Paused.BY_RESTORE)

    # Encrypted columns and the name each is bound to; the rotation command goes through these.
    SEALED_FIELDS: ClassVar[dict[str, str]] = {"api_key_sealed": "api_key", "v2_password_sealed": "v2_password"}

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=20)
    region = models.CharField(max_length=20, default="global")
    base_url = models.URLField(max_length=200)
    api_key_sealed = models.TextField(default="", blank=True)
    api_key_last4 = models.CharField(max_length=4, default="", blank=True)
    # Keyed hash of kind, address and key (customers.connections.credentials): the same credential is connected once.
    # None: not computed yet, or from before this rule, when the same credential could be connected twice.
    credential_hash = models.CharField(max_length=200, null=True, default=None, editable=False, unique=True)
    # Another connection with the same key at another address, whose account list had no account in common.
    same_key_as = models.ForeignKey(
        "self", null=True, blank=True, default=None, on_delete=models.SET_NULL, related_name="same_key", editable=False
    )
    v2_auth = models.CharField(max_length=20, choices=V2Auth.choices, default=V2Auth.KEY_IN_FORM)
    v2_username = models.CharField(max_length=120, default="", blank=True)
    v2_password_sealed = models.TextField(default="", blank=True)
    usage_source = models.CharField(max_length=20, choices=UsageSource.choices, default=UsageSource.CREDITS)
    # The source that reported usage of an account we had suspended; "" = none did, or the last such reading was denied.
    usage_source_when_suspended = models.CharField(max_length=20, default="", db_default="", blank=True, editable=False)
    # The reseller's own account at the provider, where its kind requires one.
    account_id = models.CharField(max_length=100, default="", blank=True)
    # Whether users may store a new API key, encrypted, for setting up sending.
    keep_keys = models.BooleanField(default=False)
    requests_per_minute = models.PositiveIntegerField(default=600)
    creates_per_hour = models.PositiveIntegerField(default=50)
    test_accounts_only = models.BooleanField(default=False)
    # The result of the last check; None = never tried. Without the identity probe creates run one at a time.
    probe_available = models.BooleanField(null=True, default=None)
    checks = models.JSONField(default=list, blank=True)
    verified_at = models.DateTimeField(null=True, blank=True)
    paused = models.CharField(max_length=10, choices=Paused.choices, default=Paused.NO, blank=True)
    paused_reason = models.CharField(max_length=300, default="", blank=True)
    paused_at = models.DateTimeField(null=True, blank=True)
    catalogue_read_at = models.DateTimeField(null=True, blank=True)
    last_answer_at = models.DateTimeField(null=True, blank=True)
    # Rises in the database with every change of settings or credential. Cached clients are then discarded, and an
    # answer that was requested under an earlier revision changes nothing about the connection anymore.
    revision = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)

    # True once this row was read without a recent failure of its circuit breaker: an answer has nothing to make up for.
    no_failures = False

    class Meta:
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(Lower("name"), name="connection_name_unique"),
            models.UniqueConstraint(
                "kind",
                "base_url",
                Lower("account_id"),
                condition=~Q(account_id="") & Q(credential_hash__isnull=False),
                name="connection_parent_account_unique",
            ),
        ]

    def __str__(self) -> str:
        return visible_name(self.name)

    def context_of(self, column: str) -> str:
        """Return what an encrypted column is bound to, so that a value copied to another row can't be decrypted."""
        return f"customers.connection:{self.public_id}:{self.SEALED_FIELDS[column]}"

    def seal(self, column: str, secret: str) -> None:
        setattr(self, column, encryption.encrypt(secret, context=self.context_of(column)))
        if column == "api_key_sealed":
            self.api_key_last4 = last4(secret)

    def open(self, column: str) -> str:
        return encryption.decrypt(getattr(self, column), context=self.context_of(column))

    @property
    def is_on_hold(self) -> bool:
        """Return whether the database was restored and the connection not released since: read, but not changed."""
        return self.paused == self.Paused.BY_RESTORE

    @property
    def on_hold_since(self) -> datetime | None:
        return self.paused_at if self.is_on_hold else None

    @property
    def is_readable(self) -> bool:
        return self.paused in self.READABLE

    @property
    def capabilities(self) -> providers.Capabilities:
        return providers.CAPABILITIES[self.kind]

    @property
    def provider_label(self) -> str:
        return self.capabilities.label

    def as_read(self) -> models.QuerySet[Connection]:
        """Match this row as long as settings and credential are unchanged since it was read."""
        return Connection.objects.filter(pk=self.pk, revision=self.revision)

    def is_current(self) -> bool:
        return self.as_read().exists()

    def hold_if_current(self) -> bool:
        """Return whether the row is as it was read, and lock it against changes until the transaction ends."""
        return bool(self.as_read().select_for_update(no_key=True).values_list("pk", flat=True))

    def catalogue_is_old(self, *, now: datetime) -> bool:
        return self.catalogue_read_at is None or now - self.catalogue_read_at > CATALOGUE_AGE


class Offering(models.Model):
    """A catalog entry of a connection. Never deleted: an account may have an offering that is no longer sold
    (`gone_at`)."""

    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="catalogue")
    name = models.CharField(max_length=200)
    type = models.CharField(max_length=20)
    entitlements = models.JSONField(default=dict)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    gone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("type", "name")
        constraints = [models.UniqueConstraint(fields=("connection", "name"), name="offering_unique_in_connection")]

    def __str__(self) -> str:
        return self.name
