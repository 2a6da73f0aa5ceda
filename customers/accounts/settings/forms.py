"""Forms of an account's name, website and monthly cap, for providers whose accounts have these instead of offerings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.forms import CountField, HostField, host_of
from portal.providers import AccountSettings
from portal.providers.parsing import read_json, whole
from portal.query_params import is_storable

CAP_MAX = 1_000_000_000
NO_CAP, CAP = "none", "cap"


class SettingsForm(forms.Form):
    """Name, website and cap. The cap is a choice, so that a blank number is an error and never turns into "no cap".

    `otherwise` holds the name and the website to use where they are left empty.
    """

    name = forms.CharField(label=gettext_lazy("Name at the provider"), max_length=255, required=False)
    website = HostField(label=gettext_lazy("Website"), max_length=255, required=False)
    cap = forms.ChoiceField(
        label=gettext_lazy("Monthly cap"),
        widget=forms.RadioSelect,
        choices=[(NO_CAP, gettext_lazy("No cap")), (CAP, gettext_lazy("A cap"))],
        initial=NO_CAP,
        error_messages={"required": gettext_lazy("Choose a cap, or none.")},
    )
    monthly_cap = CountField(
        label=gettext_lazy("E-mails a month"),
        max_length=20,
        most=CAP_MAX,
        error_messages={"required": gettext_lazy("Write how many e-mails a month, or choose No cap.")},
    )

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        start: AccountSettings | None = None,
        otherwise: Mapping[str, str] | None = None,
        prefix: str | None = None,
    ) -> None:
        self.otherwise = otherwise or {}
        initial = fields_of(start) if start else {name: value for name, value in self.otherwise.items() if value}
        super().__init__(data, initial=initial, prefix=prefix)
        # It belongs to its choice: required with a cap, not shown without.
        self.fields["monthly_cap"].required = data is None or data.get(self.add_prefix("cap")) == CAP
        if not self.otherwise:
            self.fields["name"].required = self.fields["website"].required = True

    def clean_name(self) -> str:
        name = self.cleaned_data["name"] or " ".join(self.otherwise.get("name", "").split())
        if not name:
            raise forms.ValidationError(_("A name is needed."))
        return str(name)

    def clean_website(self) -> str:
        website = self.cleaned_data["website"]
        if not website and self.otherwise.get("website"):
            website = self.fields["website"].clean(self.otherwise["website"])
        if not website:
            raise forms.ValidationError(_("A website is needed: a host name such as shop.example.com."))
        return str(website)

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if values.get("cap") == NO_CAP:  # ignore the value of the field that is then not shown
            self.errors.pop("monthly_cap", None)
            values["monthly_cap"] = None
        return values

    @property
    def has_cap(self) -> bool:
        """True if a cap is chosen, valid or not."""
        return bool(self["cap"].value() == CAP)

    @property
    def settings(self) -> AccountSettings:
        """The settings of a valid form. 0 is no cap, only where "No cap" was chosen."""
        values = self.cleaned_data
        return AccountSettings(values["name"], values["website"], values["monthly_cap"] or 0)

    @property
    def remarks(self) -> list[str]:
        typed = str(self["website"].value() or "").strip()
        kept = self.cleaned_data["website"]
        if not typed or typed.casefold() == kept:
            return []
        return [_("The website “%(typed)s” is taken as %(kept)s.") % {"typed": typed, "kept": kept}]


def fields_of(settings: AccountSettings) -> dict[str, Any]:
    """Return settings as a `SettingsForm` starts with them."""
    cap = settings.monthly_cap or None
    return {"name": settings.name, "website": settings.website, "cap": CAP if cap else NO_CAP, "monthly_cap": cap}


def settings_of_facts(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the name and website that a customer's details suggest."""
    return {"name": str(facts.get("company_name") or ""), "website": host_of(str(facts.get("website") or ""))}


class SeenSettingsField(forms.Field):
    """The settings the user saw, as our own page wrote them. A forged one can at most end as a conflict: the worker
    compares it with what the provider has."""

    widget = forms.HiddenInput

    def to_python(self, value: Any) -> AccountSettings:
        try:
            return _settings(read_json(value or ""))
        except (ValueError, TypeError, KeyError):
            raise forms.ValidationError(_("The page is out of date. Open it again.")) from None

    def prepare_value(self, value: Any) -> Any:
        return json.dumps(asdict(value)) if isinstance(value, AccountSettings) else value


def _settings(row: Any) -> AccountSettings:
    name, website, cap = row["name"], row["website"], whole(row["monthly_cap"])
    if not is_storable(name) or not is_storable(website) or cap is None:
        raise ValueError
    return AccountSettings(name, website, cap)


class ChangeSettingsForm(forms.Form):
    """The context of the fields: the values and version the user saw, the reason, and that a low cap is meant."""

    base = SeenSettingsField(required=False)
    version = forms.IntegerField(widget=forms.HiddenInput, min_value=1)
    read_at = forms.CharField(widget=forms.HiddenInput, required=False, max_length=40)
    client_token = forms.CharField(widget=forms.HiddenInput, max_length=64, min_length=8)
    reason = forms.CharField(label=gettext_lazy("Why"), max_length=500, required=False)
    below_use = forms.BooleanField(label=gettext_lazy("Set this cap although more was sent already"), required=False)
