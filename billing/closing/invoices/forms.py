"""Forms of provider invoices: header, line, file, account of a line, and reason of a withdrawal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from billing.closing.invoices.csv_file import COMMA, POINT
from billing.models import InvoiceLineKind
from billing.pricing.amounts import COMMON
from billing.pricing.form_fields import MOST_UNITS, AmountField, CurrencyField, DayField, UnitsField
from customers.models import Connection
from portal.edits import EditForm
from portal.formats import number_text
from portal.typed_text import TypedText

MOST_BYTES = 40_000_000
_NO_FILE = _("Select a CSV file.")


def _connections() -> Any:
    return forms.ModelChoiceField(
        label=_("Connection"),
        queryset=Connection.objects.order_by("name"),
        to_field_name="public_id",
        empty_label=_("Select a connection"),
        error_messages={"required": _("Select the connection whose provider sent the invoice.")},
    )


class HeaderForm(EditForm):
    """The header of an invoice. `connection` is set once, when it is entered."""

    number = TypedText(label=_("Invoice number"), max_length=60)
    issued_on = DayField(label=_("Invoice date"))
    currency = CurrencyField(label=_("Currency"))
    total = AmountField(label=_("Total"), may_be_negative=True)
    note = TypedText(label=_("Note"), max_length=300, required=False)
    currencies = COMMON


class NewInvoiceForm(HeaderForm):
    connection = _connections()
    field_order = ("connection",)


class LineForm(EditForm):
    kind = forms.ChoiceField(label=_("Kind"), choices=InvoiceLineKind.choices)
    account_text = TypedText(label=_("Account"), max_length=300, required=False)
    offering = TypedText(label=_("Offering"), max_length=200, required=False)
    start_on = DayField(label=_("Service from"))
    end_on = DayField(label=_("Service until"))
    quantity = UnitsField(label=_("Quantity"), most=MOST_UNITS, required=False)
    amount = AmountField(label=_("Amount"), may_be_negative=True)
    description = TypedText(label=_("Description"), max_length=300, required=False)


class ImportInvoiceForm(forms.Form):
    connection = _connections()
    file = forms.FileField(label=_("File"), error_messages={"required": _NO_FILE, "empty": _NO_FILE})
    decimal = forms.ChoiceField(
        label=_("Decimals are separated by"),
        choices=[(POINT, _("A point: 1,234.50")), (COMMA, _("A comma: 1.234,50"))],
        widget=forms.RadioSelect,
        error_messages={"required": _("Select how amounts in the file are written.")},
    )
    total = AmountField(label=_("Total"), may_be_negative=True, required=False)

    def clean_file(self) -> Any:
        upload = self.cleaned_data["file"]
        if not upload.name.lower().endswith(".csv"):
            raise forms.ValidationError(_("Select a file whose name ends with .csv."))
        if upload.size > MOST_BYTES:
            limit = number_text(MOST_BYTES // 1_000_000)
            raise forms.ValidationError(_("The file is too large. The maximum is %(n)s MB.") % {"n": limit})
        return upload


class WithdrawForm(forms.Form):
    reason = TypedText(
        label=_("Reason"), max_length=300, error_messages={"required": _("Enter why the invoice doesn't count.")}
    )


class RemoveLineForm(forms.Form):
    edits = forms.IntegerField(widget=forms.HiddenInput, min_value=0)


class AssignForm(forms.Form):
    account = forms.UUIDField()

    def __init__(self, data: Mapping[str, Any]) -> None:
        super().__init__(data)
