"""API keys of accounts as the provider lists them, and the few secrets that wait to be revealed or are stored.

A secret is encrypted from the moment it arrives. It waits for the requester, is shown once and then deleted; only where
the connection allows it and the requester chose so is it stored, still encrypted, for setting up sending.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from customers.models.account import Account
from customers.models.operation import Operation
from portal import encryption

WAITS = timedelta(minutes=15)
# Of a key that a bulk change made: nobody can reveal hundreds within minutes.
WAITS_IN_BULK = timedelta(hours=24)


LIVING = Q(gone_at=None)


class AccountKey(models.Model):
    """One API key of an account, as last read. Written by `customers.observed.accounts` alone."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="keys")
    key_id = models.CharField(max_length=100)
    label = models.CharField(max_length=255)
    public_key = models.CharField(max_length=120, default="", blank=True)
    scopes = models.JSONField(default=list)
    ip_allow_list = models.JSONField(default=list)
    made_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    read_at = models.DateTimeField()
    # When a complete list first lacked it.
    gone_at = models.DateTimeField(null=True)
    # Whether it has every scope that its provider offers, and whether it works from any address: what lists count by.
    # None until the key was read by a release that knows them.
    is_full_access = models.BooleanField(null=True, editable=False)
    is_open_to_all = models.BooleanField(null=True, editable=False)
    # When a reminder told that it is older than the limit.
    reminded_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("account", "made_at", "id")
        constraints = [models.UniqueConstraint(fields=("account", "key_id"), name="account_key_once")]
        indexes = [
            # The order of the list of all keys, and what it counts.
            models.Index(fields=("made_at", "id"), condition=LIVING, name="account_key_by_age"),
            models.Index(fields=("last_used_at", "id"), condition=LIVING, name="account_key_by_use"),
        ]

    def __str__(self) -> str:
        return self.label


class KeySecret(models.Model):
    """The secret of one key. `sealed` is emptied when it was shown, when it was not revealed in time, or when the key
    no longer exists, unless it is `kept` (stored)."""

    SEALED_FIELDS: ClassVar[dict[str, str]] = {"sealed": "secret"}

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="key_secrets")
    operation = models.ForeignKey(Operation, on_delete=models.PROTECT, related_name="key_secrets")
    key_id = models.CharField(max_length=100)
    last4 = models.CharField(max_length=4)
    sealed = models.TextField(default="", blank=True)
    holder = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    shown_at = models.DateTimeField(null=True)
    kept = models.BooleanField(default=False)

    class Meta:
        ordering = ("-id",)
        constraints = [models.UniqueConstraint(fields=("account", "key_id"), name="key_secret_once")]
        indexes = [
            models.Index(fields=("expires_at",), condition=Q(kept=False) & ~Q(sealed=""), name="key_secret_to_forget")
        ]

    def __str__(self) -> str:
        return f"secret of {self.key_id}"

    def context_of(self, column: str) -> str:
        """Return what the encrypted column is bound to, so that a value copied to another row can't be decrypted."""
        return f"customers.keysecret:{self.public_id}:{self.SEALED_FIELDS[column]}"

    def seal(self, secret: str) -> None:
        self.sealed = encryption.encrypt(secret, context=self.context_of("sealed"))
        self.last4 = secret[-4:]

    def open(self) -> str:
        return encryption.decrypt(self.sealed, context=self.context_of("sealed"))


class SendingDomain(models.Model):
    """A sending domain of an account, as last read. Written by `customers.observed.accounts` alone."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="domains")
    name = models.CharField(max_length=255)
    valid = models.BooleanField(default=False)
    records = models.JSONField(default=list)
    checked_at = models.DateTimeField(null=True)
    made_at = models.DateTimeField(null=True)
    read_at = models.DateTimeField()
    gone_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("account", "name")
        constraints = [models.UniqueConstraint(fields=("account", "name"), name="sending_domain_once")]

    def __str__(self) -> str:
        return self.name
