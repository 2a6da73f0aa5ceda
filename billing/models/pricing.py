"""Prices that customers pay and that providers charge: price lists with their versions, contracts, exchange rates.

The prices of a version and the terms of a contract are JSON in the form of a rating case: what is stored is what is
rated (docs/reference/rating-case.md). Until it is published, a version or a contract is a draft and may be edited; from
then on the database refuses every change.
"""

from __future__ import annotations

import uuid

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.utils.translation import gettext_lazy as _

from customers.models import Connection, Customer
from portal.money_field import RateField


class Side(models.TextChoices):
    SELL = "sell", _("Sell prices")
    COST = "cost", _("Cost prices")


class PriceList(models.Model):
    """Prices of one provider's offerings in one currency: those customers pay, or those the provider charges."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=80)
    side = models.CharField(max_length=4, choices=Side.choices)
    provider_kind = models.CharField(max_length=20)
    currency = models.CharField(max_length=3)
    created_at = models.DateTimeField(auto_now_add=True)
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("side", "name")
        constraints = [models.UniqueConstraint(Lower("name"), name="price_list_name_unique")]

    def __str__(self) -> str:
        return self.name


class PriceVersion(models.Model):
    """The prices of a list from a day on. A list has one draft at most.

    Of two versions with the same first day the one published later, with the greater `n`, replaces the other.
    `edits` rises with every change of a draft.
    """

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    price_list = models.ForeignKey(PriceList, on_delete=models.PROTECT, related_name="versions")
    n = models.PositiveIntegerField()
    valid_from = models.DateField(null=True, blank=True)
    prices = models.JSONField(default=list, encoder=DjangoJSONEncoder)
    note = models.CharField(max_length=300, default="", blank=True)
    edits = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    published_at = models.DateTimeField(null=True, blank=True)
    published_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ("price_list", "n")
        constraints = [
            models.UniqueConstraint(fields=("price_list", "n"), name="price_version_once"),
            models.UniqueConstraint(
                fields=("price_list",), condition=Q(published_at=None), name="price_version_one_draft"
            ),
            models.CheckConstraint(
                condition=Q(published_at=None) | Q(valid_from__isnull=False), name="price_version_published_has_a_day"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.price_list_id} version {self.n}"

    @property
    def is_published(self) -> bool:
        return self.published_at is not None


class Contract(models.Model):
    """Terms agreed with a customer from a day on: price lists, discounts, minimum commit, overrides.

    On a day the contract with the latest `valid_from`, and of these with the greatest `n`, is in force; after its
    `valid_until` the customer has none. A customer has one draft at most. `terms` are those of a rating case:
    `price_lists` (public IDs), `discounts`, `commit`, `overrides`. `edits` rises with every change of a draft.
    """

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="contracts")
    n = models.PositiveIntegerField()
    valid_from = models.DateField(null=True, blank=True)
    valid_until = models.DateField(null=True, blank=True)
    currency = models.CharField(max_length=3, default="", blank=True)
    terms = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    purchase_order = models.CharField(max_length=60, default="", blank=True)
    accounting_reference = models.CharField(max_length=60, default="", blank=True)
    note = models.CharField(max_length=300, default="", blank=True)
    edits = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    published_at = models.DateTimeField(null=True, blank=True)
    published_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ("customer", "n")
        constraints = [
            models.UniqueConstraint(fields=("customer", "n"), name="contract_once"),
            models.UniqueConstraint(fields=("customer",), condition=Q(published_at=None), name="contract_one_draft"),
            models.CheckConstraint(
                condition=Q(published_at=None) | Q(valid_from__isnull=False) & ~Q(currency=""),
                name="contract_published_is_complete",
            ),
            models.CheckConstraint(
                condition=Q(valid_until=None) | Q(valid_until__gte=F("valid_from")), name="contract_days_in_order"
            ),
        ]
        indexes = [models.Index(fields=("customer", "valid_from"), name="contract_of_customer")]

    def __str__(self) -> str:
        return f"{self.customer_id} contract {self.n}"

    @property
    def is_published(self) -> bool:
        return self.published_at is not None


class ContractPriceList(models.Model):
    """A price list of a published contract: one of each provider."""

    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="price_lists")
    price_list = models.ForeignKey(PriceList, on_delete=models.PROTECT, related_name="contracts")
    provider_kind = models.CharField(max_length=20)

    class Meta:
        ordering = ("contract", "provider_kind")
        constraints = [
            models.UniqueConstraint(fields=("contract", "provider_kind"), name="contract_one_list_per_provider")
        ]

    def __str__(self) -> str:
        return f"{self.contract_id} {self.provider_kind}"


class ConnectionBilling(models.Model):
    """How a connection is billed: its time zone, from when on, and what the provider charges for it.

    Periods that end before `starts_on` are never rated. The cost is that of a price list, or the connection's one
    invoice, shared among its accounts. A difference between the provider's invoices and the cost by our figures of more
    than `tolerance_minor`, in minor units of the invoice, blocks the month.
    """

    class CostSource(models.TextChoices):
        NONE = "", _("Not known")
        PRICE_LIST = "price_list", _("Cost price list")
        BY_VOLUME = "volume", _("Shared invoice, by volume")
        BY_PROVIDER_SHARE = "provider_share", _("Shared invoice, by the provider's shares")

    connection = models.OneToOneField(Connection, on_delete=models.PROTECT, related_name="billing")
    zone = models.CharField(max_length=64, default="UTC")
    starts_on = models.DateField(null=True, blank=True)
    cost_source = models.CharField(max_length=14, choices=CostSource.choices, default=CostSource.NONE, blank=True)
    cost_list = models.ForeignKey(PriceList, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    tolerance_minor = models.PositiveBigIntegerField(default=0, db_default=0)
    edits = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(cost_source="price_list") | Q(cost_list__isnull=False),
                name="connection_billing_has_its_list",
            )
        ]

    def __str__(self) -> str:
        return f"billing of {self.connection_id}"


class ExchangeRate(models.Model):
    """`rate` units of `to_currency` for one unit of `from_currency` on a day, and its source. Append only: of two
    rates for the same day the one entered later counts."""

    from_currency = models.CharField(max_length=3)
    to_currency = models.CharField(max_length=3)
    rate = RateField()
    on = models.DateField()
    source = models.CharField(max_length=120)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField()

    class Meta:
        ordering = ("from_currency", "to_currency", "-on", "-id")
        constraints = [
            models.CheckConstraint(condition=~Q(from_currency=F("to_currency")), name="exchange_rate_two_currencies"),
            models.CheckConstraint(condition=Q(rate__gt=0), name="exchange_rate_positive"),
        ]
        indexes = [models.Index(fields=("from_currency", "to_currency", "on"), name="exchange_rate_on")]

    def __str__(self) -> str:
        return f"{self.from_currency} to {self.to_currency} on {self.on}"
