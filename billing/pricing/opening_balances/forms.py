"""Form of an opening balance."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from django import forms
from django.db.models import Q
from django.utils.dateformat import format as date_format
from django.utils.translation import gettext_lazy as _

from billing.models import MonthClosing
from billing.pricing.amounts import COMMON
from billing.pricing.form_fields import AmountField, CodeField, CurrencyField
from billing.usage.periods import month_after, month_or_none
from customers.models import Connection, Customer
from portal.typed_text import TypedText

EARLIER, LATER = 12, 1


class OpeningBalanceForm(forms.Form):
    """An amount of a customer or of a connection. The customer is typed: there can be very many."""

    customer = TypedText(label=_("Customer"), max_length=200, required=False)
    connection = forms.ModelChoiceField(
        label=_("Connection"),
        queryset=Connection.objects.none(),
        required=False,
        to_field_name="public_id",
        empty_label=_("None"),
    )
    month = forms.TypedChoiceField(label=_("Month"), coerce=month_or_none)
    amount = AmountField(label=_("Amount"), may_be_negative=True)
    currency = CurrencyField(label=_("Currency"))
    description = TypedText(label=_("Description"), max_length=200)
    account_code = CodeField(label=_("Account code"))
    tax_code = CodeField(label=_("Tax code"))

    def __init__(self, *args: Any, today: date, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["connection"].queryset = Connection.objects.order_by("name")  # type: ignore[attr-defined]  # a choice of rows
        closed = set(MonthClosing.objects.filter(state=MonthClosing.State.CLOSED).values_list("month", flat=True))
        near = [month_after(today.replace(day=1), -step) for step in range(-LATER, EARLIER + 1)]
        months = [month for month in near if month not in closed]
        self.fields["month"].choices = [(f"{month:%Y-%m}", date_format(month, "F Y")) for month in months]  # type: ignore[attr-defined]  # of a ChoiceField
        self.fields["month"].initial = f"{month_after(today.replace(day=1), -1):%Y-%m}"

    @property
    def currencies(self) -> tuple[str, ...]:
        return COMMON

    def clean_amount(self) -> Decimal:
        return Decimal(self.cleaned_data["amount"])

    def clean_customer(self) -> Customer | None:
        text = self.cleaned_data["customer"]
        if not text:
            return None
        found = list(Customer.objects.filter(Q(company_name__iexact=text) | Q(external_reference__iexact=text))[:2])
        if not found:
            raise forms.ValidationError(_("No customer has this name or external reference. Check the spelling."))
        if len(found) > 1:
            raise forms.ValidationError(_("Several customers have this name. Enter the external reference instead."))
        return found[0]

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if values.get("customer") and values.get("connection"):
            self.add_error("connection", _("Enter a customer or select a connection, not both."))
        return values
