"""Form of the billing settings of a connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from billing.models import ConnectionBilling, PriceList, Side
from billing.pricing.connections.commands import FIELDS, Source
from billing.pricing.form_fields import DayField, MinorUnitsField
from customers.forms import ZoneField
from portal.edits import EditForm

# Shares of one invoice, which a connection has whose usage is reported for all accounts at once.
_SHARED = (Source.BY_VOLUME, Source.BY_PROVIDER_SHARE)


class ConnectionBillingForm(EditForm):
    zone = ZoneField(label=_("Billing time zone"), max_length=64)
    starts_on = DayField(label=_("Billing starts on"), required=False)
    cost_source = forms.ChoiceField(label=_("Cost"), required=False, widget=forms.RadioSelect)
    cost_list = forms.ModelChoiceField(
        label=_("Cost price list"),
        queryset=PriceList.objects.none(),
        required=False,
        to_field_name="public_id",
        empty_label=_("None"),
    )
    tolerance_minor = MinorUnitsField(label=_("Tolerance of invoices"))

    def __init__(self, data: Mapping[str, Any] | None = None, *, billing: ConnectionBilling) -> None:
        super().__init__(data, initial={name: getattr(billing, name) for name in FIELDS})
        connection = billing.connection
        if billing.cost_list:
            self.fields["tolerance_minor"].currency = billing.cost_list.currency  # type: ignore[attr-defined]  # its own
        lists = Q(side=Side.COST, provider_kind=connection.kind, archived_at=None)
        if billing.cost_list_id:
            lists |= Q(pk=billing.cost_list_id)
        self.fields["cost_list"].queryset = PriceList.objects.filter(lists).order_by("name")  # type: ignore[attr-defined]  # a choice of rows
        shared = connection.usage_source == connection.UsageSource.POOLED or billing.cost_source in _SHARED
        self.fields["cost_source"].choices = [  # type: ignore[attr-defined]  # a choice, as declared above
            (value, label) for value, label in Source.choices if shared or value not in _SHARED
        ]
