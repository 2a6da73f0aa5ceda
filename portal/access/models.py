"""Staff users and custom roles. There is no superuser: permissions follow from the role alone."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _

from portal.access.fields import FoldedEmailField
from portal.access.permissions import Permission, permissions_of, permissions_of_codes
from portal.access.roles import CUSTOM, ROLE_CHOICES, Role


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
    role = models.CharField(_("role"), max_length=20, choices=ROLE_CHOICES)
    custom_role = models.ForeignKey(
        "CustomRole",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="members",
        verbose_name=_("custom role"),
    )
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
            models.CheckConstraint(condition=Q(role__in=[*Role.values, CUSTOM]), name="user_role_is_known"),
            models.CheckConstraint(
                condition=Q(role=CUSTOM, custom_role__isnull=False) | (~Q(role=CUSTOM) & Q(custom_role=None)),
                name="user_custom_role_goes_with_it",
            ),
        ]

    def __str__(self) -> str:
        return self.name or self.email

    @property
    def permissions(self) -> frozenset[Permission]:
        """The permissions of the user's role."""
        return self.custom_role.granted if self.custom_role else permissions_of(self.role)

    def may(self, permission: Permission) -> bool:
        """Return whether the user is active and their role has the permission."""
        return self.is_active and permission in self.permissions

    @property
    def role_code(self) -> str:
        """The role as forms and filters carry it: the code of a built-in one, or the public ID of a custom one."""
        return str(self.custom_role.public_id) if self.custom_role else self.role

    @property
    def audited_role(self) -> str:
        """The role as the audit log keeps it: the code of a built-in one, or the present name of a custom one."""
        return self.custom_role.name if self.custom_role else self.role

    def get_role_display(self) -> str:  # type: ignore[no-redef]  # Django leaves one that the class has
        return self.custom_role.name if self.custom_role else str(dict(ROLE_CHOICES).get(self.role, self.role))

    @property
    def has_joined(self) -> bool:
        """False until the invitation is accepted."""
        return self.has_usable_password() or any(
            link.provider == settings.OIDC_ISSUER
            for link in self.socialaccount_set.all()  # type: ignore[attr-defined]  # allauth has no types
        )

    def _get_session_auth_hash(self, secret: str | bytes | None = None) -> str:
        """Return the hash Django compares at every request: a change of password, role or epoch ends the session."""
        role = f"{self.role}:{self.custom_role_id}" if self.custom_role_id else self.role
        kept = f"{self.password}|{role}|{self.session_epoch}"
        return salted_hmac("portal.access.session", kept, secret=secret, algorithm="sha256").hexdigest()


class CustomRole(models.Model):
    """A role that admins made. Its permissions are those stored and what they include (`permissions_of_codes`)."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(_("name"), max_length=60)
    description = models.CharField(_("description"), max_length=200, default="", blank=True)
    permissions = models.JSONField(default=list)  # codes, sorted
    # Rises with every edit.
    version = models.PositiveIntegerField(default=1)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    is_archived = models.BooleanField(default=False)

    class Meta:
        ordering = ("name", "id")
        constraints = [
            models.UniqueConstraint(
                Lower("name"), condition=Q(is_archived=False), name="custom_role_name_unique_folded"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def granted(self) -> frozenset[Permission]:
        return permissions_of_codes(self.permissions)


class FormerSsoLink(models.Model):
    """A subject of an identity provider that a team member was linked to. Groups there don't make it a new one."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="former_sso_links")
    issuer = models.CharField(max_length=200)
    subject = models.CharField(max_length=191)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["issuer", "subject", "user"], name="former_sso_link_unique"),
        ]

    def __str__(self) -> str:
        return self.subject


class CacheEntry(models.Model):
    """Table of Django's database cache, used without Redis. Accessed only by Django's cache."""

    cache_key = models.CharField(max_length=255, primary_key=True)
    value = models.TextField()
    expires = models.DateTimeField(db_index=True)

    class Meta:
        db_table = "portal_cache"

    def __str__(self) -> str:
        return self.cache_key
