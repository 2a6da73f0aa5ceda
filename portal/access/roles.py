"""The four built-in roles, whose permissions are in permissions.toml."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Role(models.TextChoices):
    ADMIN = "admin", _("Admin")
    CUSTOMER_SUCCESS = "customer_success", _("Customer success")
    FINANCE = "finance", _("Finance")
    AUDITOR = "auditor", _("Auditor")


# `User.role` of a user who has a `CustomRole`.
CUSTOM = "custom"
ROLE_CHOICES = [*Role.choices, (CUSTOM, _("Custom role"))]
