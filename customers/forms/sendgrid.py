"""What SendGrid takes of a customer when an account is created. There is no call to change any of it afterwards."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from customers.forms.fields import PhoneField, WebsiteField, ZoneField
from portal.providers import Profile


class ProfileForm(forms.Form):
    """Fields carry the provider's names, so that its errors find their place. Only the e-mail is needed."""

    email = forms.EmailField(label=_("E-mail"), max_length=254)
    company_name = forms.CharField(label=_("Company"), max_length=200, required=False)
    first_name = forms.CharField(label=_("First name"), max_length=100, required=False)
    last_name = forms.CharField(label=_("Last name"), max_length=100, required=False)
    phone = PhoneField(label=_("Phone"), max_length=40, required=False)
    company_website = WebsiteField(label=_("Website"), max_length=255, required=False)
    timezone = ZoneField(label=_("Time zone"), max_length=64, required=False)

    @property
    def profile(self) -> Profile:
        return Profile(**self.cleaned_data)
