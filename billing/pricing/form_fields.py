"""Form fields of amounts, rates, units, currencies and days."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.utils.translation import gettext_lazy as _

from billing.pricing.amounts import MOST_CODE, MOST_TIERS, canonical_amount, check_currency
from billing.pricing.rating.currency import as_amount, minor_unit_places
from portal.edits import EditForm
from portal.formats import number_text
from portal.refusals import Refusal
from portal.typed_text import AsShown, TypedText

# Nine digits before and nine after the point, as the database stores a rate.
_AMOUNT = re.compile(r"-?(\d{1,9}|\d{1,3}(,\d{3}){1,2})(\.\d{1,9})?", re.ASCII)
_COUNT = re.compile(r"\d{1,15}|\d{1,3}(,\d{3}){1,4}", re.ASCII)
MOST_UNITS = 10**15
FIRST_TIERS = 4
_SANE_DAYS = [
    MinValueValidator(date(2000, 1, 1), message=_("Check the year.")),
    MaxValueValidator(date(2200, 1, 1), message=_("Check the year.")),
]


class AmountField(AsShown, forms.Field):
    """An amount or a rate, as text of a rating case ("49.00"). Commas are marks between thousands: "1,50" is refused,
    because it may mean either."""

    widget = forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off", "maxlength": 24})
    default_error_messages = {
        "invalid": _("Enter an amount with a decimal point, such as 1,250.50."),
        "negative": _("Enter 0 or more."),
    }

    def __init__(self, *, may_be_negative: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.may_be_negative = may_be_negative

    def to_python(self, value: Any) -> str | None:
        text = str(value or "").strip()
        if not text:
            return None
        if not _AMOUNT.fullmatch(text):
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        amount = canonical_amount(text.replace(",", ""))
        if Decimal(amount) < 0 and not self.may_be_negative:
            raise forms.ValidationError(self.error_messages["negative"], code="negative")
        return amount


class MinorUnitsField(AmountField):
    """An amount, stored in minor units of `currency`; of a currency with two decimal places where it isn't known."""

    currency = ""

    @property
    def _places(self) -> int:
        return minor_unit_places(self.currency) if self.currency else 2

    def prepare_value(self, value: Any) -> Any:
        return canonical_amount(str(as_amount(value, self._places))) if isinstance(value, int) else value

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        minor = Decimal(text).scaleb(self._places) if text else Decimal()
        if minor != int(minor):
            words = {"n": self._places}
            raise forms.ValidationError(_("Enter %(n)d decimal places at most.") % words, code="places")
        return int(minor) if text else None


class UnitsField(AsShown, forms.Field):
    """A whole number, 0 or more, with or without commas between thousands; None where nothing is entered."""

    widget = forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off", "maxlength": 20})
    default_error_messages = {"invalid": _("Enter a whole number, such as 250,000.")}

    def __init__(self, *, least: int = 0, most: int = 10**9, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.validators += [
            MinValueValidator(least, _("Enter %(limit_value)s or more.")),
            MaxValueValidator(most, _("Enter %(limit_value)s or less.")),
        ]

    def to_python(self, value: Any) -> int | None:
        if isinstance(value, int):
            return value
        text = str(value or "").strip()
        if not text:
            return None
        if not _COUNT.fullmatch(text):
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        return int(text.replace(",", ""))

    def prepare_value(self, value: Any) -> Any:
        return number_text(value) if isinstance(value, int) and not isinstance(value, bool) else value


class CurrencyField(TypedText):
    """A currency code of ISO 4217. The page offers the common ones."""

    def __init__(self, *, label: Any) -> None:
        super().__init__(label=label, max_length=3)
        self.widget.attrs |= {"list": "currencies", "autocomplete": "off", "spellcheck": "false"}

    def to_python(self, value: Any) -> str:
        code = str(super().to_python(value) or "").strip().upper()
        if code:
            try:
                check_currency(code)
            except Refusal as refusal:
                raise forms.ValidationError(str(refusal), code="unknown") from None
        return code


class DayField(forms.DateField):
    """A day, with a year that was not mistyped."""

    def __init__(self, *, label: Any, required: bool = True) -> None:
        widget = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
        super().__init__(
            label=label, required=required, widget=widget, input_formats=["%Y-%m-%d"], validators=_SANE_DAYS
        )


class CodeField(TypedText):
    """An account or tax code. What separates cells of a file stands in none, so that each has one form there."""

    default_validators = [RegexValidator(r"\A[^;|\"]*\Z", _('A code has none of ; | and ".'))]

    def __init__(self, *, label: Any) -> None:
        super().__init__(label=label, max_length=MOST_CODE, required=False)


class TiersForm(EditForm):
    """A form with the fields `up_to_1`, `rate_1` and so on, of as many tiers as an overage can have. The first rows are
    always shown."""

    shown_tiers = 0

    def add_tiers(self, start: Mapping[str, Any]) -> None:
        """Add the fields of all tiers; those that are filled in `start`, and some more, are always shown."""
        for n in range(1, MOST_TIERS + 1):
            words = {"n": n}
            bound = UnitsField(label=_("Up to, tier %(n)d") % words, least=1, most=MOST_UNITS, required=False)
            rate = AmountField(label=_("Rate, tier %(n)d") % words, required=False)
            for each in (bound, rate):
                each.widget.attrs["class"] = "pk-input"
            self.fields |= {f"up_to_{n}": bound, f"rate_{n}": rate}
        filled = sum(1 for n in range(1, MOST_TIERS + 1) if start.get(f"rate_{n}") is not None)
        self.shown_tiers = min(MOST_TIERS, max(FIRST_TIERS, filled + 1))

    def _tiers(self, first: int, last: int) -> list[tuple[int, forms.BoundField, forms.BoundField]]:
        return [(n, self[f"up_to_{n}"], self[f"rate_{n}"]) for n in range(first, last + 1)]

    @property
    def tiers(self) -> list[tuple[int, forms.BoundField, forms.BoundField]]:
        return self._tiers(1, self.shown_tiers)

    @property
    def more_tiers(self) -> list[tuple[int, forms.BoundField, forms.BoundField]]:
        return self._tiers(self.shown_tiers + 1, MOST_TIERS) if self.shown_tiers else []

    @property
    def opens_more_tiers(self) -> bool:
        """Return whether a tier below the first rows was filled or refused."""
        return any(each.value() or each.errors for _n, *bounds in self.more_tiers for each in bounds)
