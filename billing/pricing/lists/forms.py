"""Forms of price lists: a list, one item of a draft, and publishing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext_lazy as _

from billing.models import PriceList, Side
from billing.pricing.amounts import MOST_TIERS
from billing.pricing.form_fields import (
    MOST_UNITS,
    AmountField,
    CodeField,
    CurrencyField,
    DayField,
    TiersForm,
    UnitsField,
)
from billing.pricing.lists.kinds import EDGES, FIELDS, MODES, PACKAGE, WHEN_CHANGED, has_offerings
from billing.pricing.lists.offerings import exact_name, offerings_of
from billing.pricing.lists.prices import Price, item_fields
from billing.pricing.rating import case
from customers.connections.catalogue import NAME_MAX
from portal.edits import EditForm
from portal.formats import number_text
from portal.providers import CAPABILITIES
from portal.typed_text import TypedText


class PriceListForm(EditForm):
    """The name of a list; what it is for is fixed once it exists."""

    name = TypedText(label=_("Name"), max_length=80)


class NewListForm(PriceListForm):
    """A new list. `sides`: those that the user may see."""

    side = forms.ChoiceField(label=_("Side"), widget=forms.RadioSelect, initial=Side.SELL)
    provider_kind = forms.ChoiceField(label=_("Provider"), widget=forms.RadioSelect)
    currency = CurrencyField(label=_("Currency"))

    def __init__(self, *args: Any, with_cost: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        sides = [(Side.SELL.value, _("Sell prices: what customers pay"))]
        if with_cost:
            sides.append((Side.COST.value, _("Cost prices: what the provider charges")))
        self.fields["side"].choices = sides  # type: ignore[attr-defined]  # a choice, as declared above
        kinds = [(each.kind, each.label) for each in CAPABILITIES.values()]
        self.fields["provider_kind"].choices = kinds  # type: ignore[attr-defined]  # the same


class ItemForm(TiersForm):
    """One item of a draft, with the fields of its kind: `item` is a key of `kinds.ITEMS`.

    Without `offering` an item is added, and the form asks for the offering where the provider has any.
    """

    labels: ClassVar[Mapping[str, Any]] = FIELDS

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        price_list: PriceList,
        prices: Sequence[Price],
        item: str,
        offering: str | None = None,
        suggested: str = "",
    ) -> None:
        self.price_list, self.item, self.offering = price_list, item, offering
        start = item_fields(prices, offering or "", item)
        self.asks_offering = offering is None and has_offerings(price_list.provider_kind)
        if offering is None:
            start |= {"per": 1000, "offering": suggested}
        super().__init__(data, initial=start)
        if self.asks_offering:
            self.fields["offering"] = TypedText(label=_("Offering"), max_length=NAME_MAX)
            self.fields["offering"].widget.attrs |= {"list": "offerings", "autocomplete": "off", "spellcheck": "false"}
        self.fields |= _package_fields(price_list) if item == PACKAGE else _unit_fields(item)
        if item == PACKAGE:
            self.add_tiers(start)

    @property
    def offering_field(self) -> forms.BoundField:
        return self["offering"]

    @property
    def codes_are_set(self) -> bool:
        return any(self[name].value() for name in self.fields if name.endswith("_code"))

    @property
    def suggestions(self) -> list[tuple[str, str]]:
        return offerings_of(self.price_list.provider_kind) if self.asks_offering else []

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if "offering" in values:
            values["offering"] = exact_name(self.price_list.provider_kind, values["offering"])
        if self.item == PACKAGE and values.get("mode") == case.BLOCK and not values.get("block_size"):
            self.add_error("block_size", _("Enter how many emails a block has."))
        overage = values.get("included") is not None or values.get("rate_1") is not None
        if self.item == PACKAGE and overage and not any(values.get(f"rate_{n}") for n in range(1, MOST_TIERS + 1)):
            self.add_error("rate_1", _("Enter a rate, or 0 if overage is free."))
        return values | {"when_changed": values.get("when_changed") or None}

    def facts_to_write(self) -> dict[str, Any]:
        """Return the changed fields; of a new item all, so that its defaults are stored as they were shown."""
        facts = self.facts() if self.offering is None else self.changed_facts()
        return facts if self.item == PACKAGE else {name: each for name, each in facts.items() if name != "when_changed"}


def _package_fields(price_list: PriceList) -> dict[str, forms.Field]:
    default = case.INCURRED if price_list.side == Side.COST else case.LAST
    rules = [("", _("Default: %(rule)s") % {"rule": WHEN_CHANGED[default]}), *WHEN_CHANGED.items()]
    labels: dict[str, Any] = dict(FIELDS)
    return {
        "amount": AmountField(label=_("Base fee per billing period"), required=False, may_be_negative=True),
        **_edges(),
        "account_code": CodeField(label=_("Account code of the base fee")),
        "tax_code": CodeField(label=_("Tax code of the base fee")),
        "included": UnitsField(label=_("Emails included"), most=MOST_UNITS, required=False),
        "per": UnitsField(label=_("Rates are per so many emails"), least=1),
        "mode": forms.ChoiceField(label=labels["mode"], choices=list(MODES.items())),
        "block_size": UnitsField(label=labels["block_size"], least=1, required=False),
        "when_changed": forms.ChoiceField(label=labels["when_changed"], choices=rules, required=False),
        "overage_account_code": CodeField(label=_("Account code of overage")),
        "overage_tax_code": CodeField(label=_("Tax code of overage")),
    }


def _unit_fields(item: str) -> dict[str, forms.Field]:
    once = item == case.ONE_TIME
    label = _("Amount per unit, once") if once else _("Amount per unit and billing period")
    fields: dict[str, forms.Field] = {
        "amount": AmountField(label=label, may_be_negative=True),
        "included": UnitsField(label=_("Units included")),
    }
    if not once:
        fields["prorated"] = forms.BooleanField(label=_("Prorate by days when the quantity changes"), required=False)
        fields |= _edges()
    return fields | {
        "account_code": CodeField(label=FIELDS["account_code"]),
        "tax_code": CodeField(label=FIELDS["tax_code"]),
    }


def _edges() -> dict[str, forms.Field]:
    edges = list(EDGES.items())
    return {
        "on_start": forms.ChoiceField(label=_("Account created during the period"), choices=edges),
        "on_close": forms.ChoiceField(label=_("Account deleted during the period"), choices=edges),
        "bill_when_suspended": forms.BooleanField(label=_("Bill suspended days"), required=False),
    }


class PublishForm(forms.Form):
    """The first day of a version. `edits` and `seen`: how often the draft had been changed, and what it was compared
    with, when its differences were shown."""

    valid_from = DayField(label=_("First day"))
    note = TypedText(label=_("Note"), max_length=300, required=False)
    edits = forms.IntegerField(widget=forms.HiddenInput, min_value=0)
    seen = forms.CharField(widget=forms.HiddenInput, max_length=60, required=False)


class ImportForm(forms.Form):
    """A CSV file. Its text is carried from the dry run to the import, together with the draft it was compared with."""

    file = forms.FileField(label=_("CSV file"), required=False, allow_empty_file=True)
    file_text = forms.CharField(required=False, widget=forms.HiddenInput, strip=False)
    edits = forms.IntegerField(required=False, widget=forms.HiddenInput, min_value=0)

    MOST_BYTES = 1_000_000

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        upload = values.get("file")
        if upload is None:
            if not values.get("file_text"):
                self.add_error("file", _("Select a CSV file."))
            return values
        if not upload.name.lower().endswith(".csv"):
            self.add_error("file", _("Select a file whose name ends with .csv."))
            return values
        if upload.size > self.MOST_BYTES:
            limit = number_text(self.MOST_BYTES // 1000)
            self.add_error("file", _("The file is too large. The maximum is %(n)s kB.") % {"n": limit})
            return values
        try:
            values["file_text"] = upload.read().decode("utf-8-sig")
        except UnicodeDecodeError:
            self.add_error("file", _("The file isn't UTF-8. Save it as “CSV UTF-8”, then select it again."))
        return values
