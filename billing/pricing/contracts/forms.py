"""Forms of contracts: the main terms of a draft, one discount, one override, publishing, and the end."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing.models import Contract, PriceList, Side
from billing.pricing.contracts.terms import (
    LIST_FIELD,
    contract_fields,
    discount_fields,
    lists_of,
    override_fields,
    terms_of,
)
from billing.pricing.form_fields import MOST_UNITS, AmountField, CodeField, DayField, TiersForm, UnitsField
from billing.pricing.lists.kinds import COMPONENTS, FIELDS, WORDS, provider_label
from billing.pricing.rating.case_json import MEMBERS
from portal.edits import EditForm
from portal.providers import CAPABILITIES
from portal.typed_text import TypedText

KEEP: tuple[str, str | Promise] = ("", _("As in the price list"))


class ContractForm(EditForm):
    """The main terms of a draft. A field `list_<kind>` for each provider that has a sell list."""

    valid_from = DayField(label=_("First day"), required=False)
    valid_until = DayField(label=_("Last day"), required=False)
    commit = AmountField(label=_("Minimum commit per month"), required=False)
    commit_prorated = forms.BooleanField(label=_("Prorate by days in the first month"), required=False)
    purchase_order = TypedText(label=_("Purchase order"), max_length=60, required=False)
    accounting_reference = TypedText(label=_("Accounting reference"), max_length=60, required=False)
    note = TypedText(label=_("Note"), max_length=300, required=False)

    def __init__(self, data: Mapping[str, Any] | None = None, *, contract: Contract) -> None:
        super().__init__(data, initial=contract_fields(contract))
        chosen = lists_of(terms_of(contract))
        offered = {each.pk: each for each in [*chosen, *PriceList.objects.filter(side=Side.SELL, archived_at=None)]}
        for kind in CAPABILITIES:
            lists = [each for each in offered.values() if each.provider_kind == kind]
            if not lists:
                continue
            name = f"{LIST_FIELD}{kind}"
            self.fields[name] = forms.ChoiceField(
                label=_("Price list for %(provider)s") % {"provider": provider_label(kind)}, required=False
            )
            choices = [(str(each.public_id), f"{each.name} ({each.currency})") for each in lists]
            self.fields[name].choices = [("", _("None")), *sorted(choices, key=lambda each: each[1])]  # type: ignore[attr-defined]  # a choice
            self.initial.setdefault(name, "")

    @property
    def list_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name.startswith(LIST_FIELD)]


class DiscountForm(EditForm):
    """One discount of a draft. It is written as a whole."""

    percent = AmountField(
        label=_("Discount in percent"),
        error_messages={"invalid": _("Enter a number without a percent sign, such as 7.5.")},
    )
    kinds = forms.MultipleChoiceField(
        label=_("Applies to"), choices=list(COMPONENTS.items()), widget=forms.CheckboxSelectMultiple
    )
    valid_from = DayField(label=_("First day"))
    valid_until = DayField(label=_("Last day"), required=False)

    def __init__(
        self, data: Mapping[str, Any] | None = None, *, contract: Contract, discount: Mapping[str, Any] | None
    ) -> None:
        super().__init__(data, initial=discount_fields(discount, start=contract.valid_from))

    def clean_percent(self) -> str:
        percent: str = self.cleaned_data["percent"]
        if not 0 < Decimal(percent) <= 100:
            raise forms.ValidationError(_("Enter a percentage above 0, up to 100."))
        return percent


class OverrideForm(TiersForm):
    """One override of a draft, with the fields of its component. What stays empty is as in the price list."""

    labels: ClassVar[Mapping[str, Any]] = FIELDS

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        contract: Contract,
        component: str,
        override: Mapping[str, Any] | None,
    ) -> None:
        self.component = component
        start = override_fields(component, override, start=contract.valid_from)
        super().__init__(data, initial={name: _as_choice(value) for name, value in start.items()})
        self.fields["valid_from"] = DayField(label=_("First day"))
        self.fields["valid_until"] = DayField(label=_("Last day"), required=False)
        for member in MEMBERS[component]:
            if member != "tiers":
                self.fields[member] = _field_of(member)
        if "tiers" in MEMBERS[component]:
            self.add_tiers(start)

    @property
    def members(self) -> list[forms.BoundField]:
        return [self[member] for member in MEMBERS[self.component] if member != "tiers"]

    def values(self) -> dict[str, Any]:
        """Return the fields of a valid form; None for what stays as in the price list."""
        return {name: _from_choice(name, value) for name, value in self.cleaned_data.items()}


_YES_NO = {"yes": True, "no": False}
_BOOLEANS = ("prorated", "bill_when_suspended")


def _as_choice(value: Any) -> Any:
    return ("yes" if value else "no") if isinstance(value, bool) else value


def _from_choice(name: str, value: Any) -> Any:
    return _YES_NO.get(value) if name in _BOOLEANS else value


def _field_of(member: str) -> forms.Field:
    label: Any = FIELDS[member]
    if member == "amount":
        return AmountField(label=label, required=False, may_be_negative=True)
    if member in ("included", "per", "block_size"):
        least, most = (0, MOST_UNITS) if member == "included" else (1, 10**9)
        return UnitsField(label=label, least=least, most=most, required=False)
    if member in _BOOLEANS:
        return forms.ChoiceField(label=label, choices=[KEEP, ("yes", _("Yes")), ("no", _("No"))], required=False)
    if member in WORDS:
        return forms.ChoiceField(label=label, choices=[KEEP, *WORDS[member].items()], required=False)
    return CodeField(label=label)


class PublishContractForm(forms.Form):
    """`edits`: how often the draft had been changed when it was shown."""

    edits = forms.IntegerField(widget=forms.HiddenInput, min_value=0)


class EndForm(forms.Form):
    """`edits`: how often the customer's draft, which the end replaces, had been changed when the form was shown."""

    edits = forms.IntegerField(widget=forms.HiddenInput, min_value=0, required=False)
    last_on = DayField(label=_("Last day"))
