"""Staff users. There is no superuser: permissions follow from the role alone."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _

from portal.access.fields import FoldedEmailField
from portal.access.permissions import Permission, allowed
from portal.access.roles import Role


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **facts: Any) -> User:
        """Create a user. Without a password, sign-in is impossible until an invitation is accepted."""
        user = self.model(email=email, **facts)
        user.set_password(password)
        user.save(using=self._db)
        return user


class User(AbstractBaseUser):
    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    email = FoldedEmailField(
        _("email"),
        max_length=254,
        unique=True,
        error_messages={"unique": _("A team member with this email already exists.")},
    )
    name = models.CharField(_("name"), max_length=120)
    role = models.CharField(_("role"), max_length=20, choices=Role.choices)
    is_active = models.BooleanField(_("active"), default=True)
    timezone = models.CharField(_("time zone"), max_length=64, default="UTC")
    locale = models.CharField(_("language"), max_length=12, default="en")
    created_at = models.DateTimeField(auto_now_add=True)
    invited_at = models.DateTimeField(null=True, blank=True)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    # Part of every session's hash and of every one-time link: raising it invalidates them all.
    session_epoch = models.PositiveIntegerField(default=0)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["name", "role"]

    class Meta:
        ordering = ("name", "id")
        constraints = [
            models.UniqueConstraint(Lower("email"), name="user_email_unique_folded"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="user_role_is_known"),
        ]

    def __str__(self) -> str:
        return self.name or self.email

    def may(self, permission: Permission) -> bool:
        """Return whether the user is active and their role has the permission."""
        return self.is_active and allowed(self.role, permission)

    @property
    def has_joined(self) -> bool:
        """False until the invitation is accepted."""
        return self.has_usable_password()

    def _get_session_auth_hash(self, secret: str | bytes | None = None) -> str:
        """Return the hash Django compares at every request: a change of password, role or epoch ends the session."""
        kept = f"{self.password}|{self.role}|{self.session_epoch}"
        return salted_hmac("portal.access.session", kept, secret=secret, algorithm="sha256").hexdigest()


class CacheEntry(models.Model):
    """Table of Django's database cache, used without Redis. Accessed only by Django's cache."""

    cache_key = models.CharField(max_length=255, primary_key=True)
    value = models.TextField()
    expires = models.DateTimeField(db_index=True)

    class Meta:
        db_table = "portal_cache"

    def __str__(self) -> str:
        return self.cache_key
