"""Forms of parallel months: the file with its month, currency and decimal mark."""

from __future__ import annotations

from datetime import date
from typing import Any

from django import forms
from django.utils.dateformat import format as date_format
from django.utils.translation import gettext_lazy as _

from billing.pricing.amounts import COMMON, check_currency
from billing.pricing.parallel.spreadsheet import COMMA, POINT
from billing.usage.periods import month_after, month_or_none
from portal.formats import number_text
from portal.refusals import Refusal
from portal.typed_text import TypedText

MONTHS_OFFERED = 12
MOST_BYTES = 5_000_000


class UploadForm(forms.Form):
    file = forms.FileField(label=_("File"), error_messages={"required": _("Select a CSV or XLSX file.")})
    month = forms.TypedChoiceField(label=_("Month"), coerce=month_or_none)
    decimal = forms.ChoiceField(
        label=_("Decimals are separated by"),
        choices=[(POINT, _("A point: 1,234.50")), (COMMA, _("A comma: 1.234,50"))],
        widget=forms.RadioSelect,
        error_messages={"required": _("Select how amounts in the file are written.")},
    )
    currency = TypedText(
        label=_("Currency"),
        max_length=3,
        widget=forms.TextInput(attrs={"list": "currencies", "autocomplete": "off"}),
        error_messages={"required": _("Enter the currency of rows that name none.")},
    )

    def __init__(self, *args: Any, today: date, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        months = [month_after(today.replace(day=1), -step) for step in range(MONTHS_OFFERED)]
        choices = [(f"{month:%Y-%m}", date_format(month, "F Y")) for month in months]
        self.fields["month"].choices = choices  # type: ignore[attr-defined]  # of a ChoiceField
        self.fields["month"].initial = f"{months[1]:%Y-%m}"

    @property
    def currencies(self) -> tuple[str, ...]:
        return COMMON

    def clean_currency(self) -> str:
        code = str(self.cleaned_data["currency"]).upper()
        try:
            check_currency(code)
        except Refusal as refusal:
            raise forms.ValidationError(str(refusal)) from None
        return code

    def clean_file(self) -> Any:
        upload = self.cleaned_data["file"]
        if not upload.name.lower().endswith((".csv", ".xlsx")):
            raise forms.ValidationError(_("Select a file whose name ends with .csv or .xlsx."))
        if upload.size > MOST_BYTES:
            limit = number_text(MOST_BYTES // 1_000_000)
            raise forms.ValidationError(_("The file is too large. The maximum is %(n)s MB.") % {"n": limit})
        return upload


class EditsForm(forms.Form):
    """The version of a comparison that a page shows."""

    edits = forms.IntegerField(widget=forms.HiddenInput, min_value=0)


class MatchForm(EditsForm):
    """The customer that rows belong to; "" leaves them out."""

    customer = forms.UUIDField(required=False)
