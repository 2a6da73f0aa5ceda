"""Form of an exchange rate."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from billing.pricing.form_fields import AmountField, CurrencyField, DayField
from portal.typed_text import TypedText


class ExchangeRateForm(forms.Form):
    """ "1 USD = 0.92 EUR on 30 Nov 2026, source ECB"."""

    from_currency = CurrencyField(label=_("One unit of"))
    rate = AmountField(
        label=_("Is worth"), error_messages={"invalid": _("Enter a rate with a decimal point, such as 0.92.")}
    )
    to_currency = CurrencyField(label=_("Units of"))
    on = DayField(label=_("Day"))
    source = TypedText(label=_("Source"), max_length=120)

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if values.get("from_currency") and values.get("from_currency") == values.get("to_currency"):
            self.add_error("to_currency", _("Enter another currency."))
        return values

    def clean_rate(self) -> Decimal:
        rate = Decimal(self.cleaned_data["rate"])
        if rate <= 0:
            raise forms.ValidationError(_("Enter a rate above 0."))
        return rate
