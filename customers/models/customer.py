"""The customer is the tenant company. Nothing here calls a provider: a profile is sent once, at a create."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Concat, Lower
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from portal.typed_text import visible_name

MOST_TAGS = 20


class Customer(models.Model):
    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    company_name = models.CharField(_("company"), max_length=200)
    first_name = models.CharField(_("first name"), max_length=100, default="", blank=True)
    last_name = models.CharField(_("last name"), max_length=100, default="", blank=True)
    email = models.EmailField(_("email"), max_length=254)
    phone = models.CharField(_("phone"), max_length=20, default="", blank=True)
    website = models.CharField(_("website"), max_length=255, default="", blank=True)
    timezone = models.CharField(_("time zone"), max_length=64, default="", blank=True)
    external_reference = models.CharField(_("external reference"), max_length=100, default="", blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="customers"
    )
    tags = models.JSONField(default=list, blank=True)
    archived_at = models.DateTimeField(null=True, blank=True)
    # False once an account was requested. Only a hint that shortens the search for customers without any account (the
    # accounts themselves decide): it may be true for too many, never for too few.
    may_be_bare = models.BooleanField(default=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)
    # One lower-cased column to search, maintained by the database itself; PostgreSQL has a trigram index on it.
    search = models.GeneratedField(
        expression=Lower(
            Concat(
                "company_name",
                Value(" "),
                "email",
                Value(" "),
                "external_reference",
                Value(" "),
                "first_name",
                Value(" "),
                "last_name",
                output_field=models.TextField(),
            )
        ),
        output_field=models.TextField(),
        db_persist=True,
    )

    class Meta:
        ordering = ("company_name", "id")
        constraints = [
            models.UniqueConstraint(
                fields=("external_reference",),
                condition=~Q(external_reference=""),
                name="customer_reference_unique",
                violation_error_message=_("Another customer already has this external reference."),
            ),
        ]
        indexes = [
            models.Index(Lower("email"), name="customer_email_lower"),
            models.Index(Lower("company_name"), name="customer_company_lower"),
            models.Index(fields=("archived_at",), condition=Q(archived_at__isnull=False), name="customer_archived"),
            models.Index(fields=("changed_at",), condition=Q(may_be_bare=True), name="customer_bare"),
        ]

    def __str__(self) -> str:
        return visible_name(self.company_name)

    def get_absolute_url(self) -> str:
        return reverse("customers:detail", args=[self.public_id])

    def lock(self) -> None:
        """Lock the row until the transaction ends, and reload when it was archived. Adding an account and archiving
        both do this first, so the later of the two sees what the first did."""
        row = Customer.objects.select_for_update(no_key=True).only("archived_at").get(pk=self.pk)
        self.archived_at = row.archived_at


class Note(models.Model):
    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="notes")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    text = models.TextField(max_length=4000)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.text[:60]
