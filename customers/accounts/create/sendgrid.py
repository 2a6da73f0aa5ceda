"""Forms for a new SendGrid account, and requirements of a connection to SendGrid. No call can change a profile
afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from customers.accounts.create.base import AccountPart, Start, with_typed
from customers.accounts.create.commands import AccountRequest
from customers.accounts.create.profile_form import TakeOverForm, add_provider_errors, facts_of, profile_of
from customers.accounts.offerings.forms import OfferingsForm
from customers.forms import PhoneField, WebsiteField, ZoneField, zones
from customers.models.account import as_offerings
from portal.providers import Profile
from portal.typed_text import TypedEmail, TypedText


class SendGridProfileForm(forms.Form):
    """The profile. Fields have the provider's names, for its errors to match. Only the email is required."""

    email = TypedEmail(label=_("Email"), max_length=254)
    company_name = TypedText(label=_("Company"), max_length=200, required=False)
    first_name = TypedText(label=_("First name"), max_length=100, required=False)
    last_name = TypedText(label=_("Last name"), max_length=100, required=False)
    phone = PhoneField(label=_("Phone"), max_length=40, required=False)
    company_website = WebsiteField(label=_("Website"), max_length=255, required=False)
    timezone = ZoneField(label=_("Time zone"), max_length=64, required=False)

    @property
    def profile(self) -> Profile:
        return Profile(**self.cleaned_data)


class SendGridPart(AccountPart):
    """Offerings from the catalog; and for an existing customer, the profile to be sent."""

    template = "customers/_part_sendgrid.html"

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self.profile = self._profile_form(start) if start.customer else None
        take_over = TakeOverForm(start.sent, initial={"take_over": start.failed is not None})
        self.take_over = with_typed(take_over, start.typed, "email")
        self.offerings = self._offerings_form(start)
        self.forms = [each for each in (self.profile, self.offerings) if each is not None]

    def _profile_form(self, start: Start) -> SendGridProfileForm:
        if start.sent is not None:
            return SendGridProfileForm(start.sent)
        if start.failed is None or start.typed is not None:
            facts = profile_of(facts_of(start.customer)) if start.customer else Profile("")
            return with_typed(SendGridProfileForm(initial=vars(facts)), start.typed)
        form = SendGridProfileForm(start.failed.payload["profile"])
        self.other_errors = add_provider_errors(form, start.failed.field_errors)
        return form

    def _offerings_form(self, start: Start) -> OfferingsForm:
        if start.sent is not None:
            return OfferingsForm(start.connection, start.sent)
        offerings = as_offerings(start.failed.payload["offerings"]) if start.failed else []
        return with_typed(OfferingsForm(start.connection, start=offerings), start.typed)

    def wanted(self, facts: Mapping[str, Any], *, is_test: bool) -> AccountRequest:
        profile = self.profile.profile if self.profile else profile_of(facts)
        return AccountRequest(self.connection, profile, self.offerings.chosen(), is_test)

    @property
    def takes_over(self) -> bool:
        return self.take_over.is_valid() and bool(self.take_over.cleaned_data["take_over"])

    def context(self) -> dict[str, Any]:
        return {
            "profile_form": self.profile,
            "take_over_form": self.take_over,
            "offerings_form": self.offerings,
            "zones": zones(),
        }
