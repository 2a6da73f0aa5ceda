"""Forms of an account's name, website and monthly cap, for providers whose accounts have these instead of offerings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.accounts.editor import SeenField, SeenForm
from customers.forms import CountField, HostField, host_of
from portal.providers import AccountSettings
from portal.providers.parsing import whole
from portal.query_params import is_storable
from portal.typed_text import TypedText, take_as_shown

CAP_MAX = 1_000_000_000
NO_CAP, CAP = "none", "cap"


class SettingsForm(forms.Form):
    """Name, website and cap. The cap is a choice, so that a blank number is an error and never turns into "no cap".

    `otherwise` holds the name and the website to use where they are left empty.
    """

    name = TypedText(label=gettext_lazy("Account name"), max_length=255, required=False)
    website = HostField(label=gettext_lazy("Website"), max_length=255, required=False)
    cap = forms.ChoiceField(
        label=gettext_lazy("Monthly cap"),
        widget=forms.RadioSelect,
        choices=[(NO_CAP, gettext_lazy("No cap")), (CAP, gettext_lazy("Set a cap"))],
        initial=NO_CAP,
        error_messages={"required": gettext_lazy("Choose “No cap” or “Set a cap”.")},
    )
    monthly_cap = CountField(
        label=gettext_lazy("Emails/month"),
        most=CAP_MAX,
        error_messages={"required": gettext_lazy("Enter the number of emails per month, or choose “No cap”.")},
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
        if start:
            take_as_shown(self, {name: initial[name] for name in ("name", "website", "monthly_cap")})
        # It belongs to its choice: required with a cap, not shown without.
        self.fields["monthly_cap"].required = data is None or data.get(self.add_prefix("cap")) == CAP
        if not self.otherwise:
            self.fields["name"].required = True
            self.fields["website"].required = start is None or bool(start.website)

    def clean_name(self) -> str:
        name = self.cleaned_data["name"] or " ".join(self.otherwise.get("name", "").split())
        if not name:
            raise forms.ValidationError(_("Enter a name."))
        return str(name)

    def clean_website(self) -> str:
        website = self.cleaned_data["website"]
        if not website and self.otherwise.get("website"):
            website = self.fields["website"].clean(self.otherwise["website"])
        if not website and self.otherwise:
            raise forms.ValidationError(_("Enter a website hostname, such as shop.example.com."))
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

    def chosen(self) -> AccountSettings:
        """Return the settings of a valid form. 0 is no cap, only where "No cap" was chosen."""
        values = self.cleaned_data
        return AccountSettings(values["name"], values["website"], values["monthly_cap"] or 0)

    @property
    def remarks(self) -> list[str]:
        typed = str(self["website"].value() or "").strip()
        kept = self.cleaned_data["website"]
        if not typed or kept in (typed.casefold(), self["website"].value()):
            return []
        return [_("The website “%(typed)s” was saved as %(kept)s.") % {"typed": typed, "kept": kept}]


def fields_of(settings: AccountSettings) -> dict[str, Any]:
    """Return settings as a `SettingsForm` starts with them."""
    cap = settings.monthly_cap or None
    return {"name": settings.name, "website": settings.website, "cap": CAP if cap else NO_CAP, "monthly_cap": cap}


def settings_of_facts(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the name and website that a customer's details suggest."""
    return {"name": str(facts.get("company_name") or ""), "website": host_of(str(facts.get("website") or ""))}


def _settings(row: Any) -> AccountSettings:
    name, website, cap = row["name"], row["website"], whole(row["monthly_cap"])
    if not is_storable(name) or not is_storable(website) or cap is None:
        raise ValueError
    return AccountSettings(name, website, cap)


class SeenSettingsField(SeenField):
    load = staticmethod(_settings)


class ChangeSettingsForm(SeenForm):
    """The values the user saw, and that a low cap is meant."""

    base = SeenSettingsField(required=False)
    below_use = forms.BooleanField(
        label=gettext_lazy("Set this cap even though usage is already above it"), required=False
    )
