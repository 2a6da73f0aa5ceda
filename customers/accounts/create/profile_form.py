"""Conversion of a customer's details to a provider's profile and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from customers.directory.commands import FACT_OF_PROFILE
from customers.models import Customer
from portal.providers import Profile


class TakeOverForm(forms.Form):
    take_over = forms.BooleanField(label=_("Also update the customer's details"), required=False)


def profile_of(facts: Mapping[str, Any]) -> Profile:
    return Profile(**{part: str(facts[fact]) for part, fact in FACT_OF_PROFILE.items()})


def facts_of(customer: Customer) -> dict[str, Any]:
    """Return the customer's details that a profile is made of."""
    return {fact: getattr(customer, fact) for fact in FACT_OF_PROFILE.values()}


def add_provider_errors(form: forms.Form, errors: Iterable[Mapping[str, str]]) -> list[str]:
    """Add a provider's errors to the fields of a bound form. Returns those that have no field there."""
    form.is_valid()
    rest = []
    for error in errors:
        if error["field"] in form.fields:
            form.add_error(error["field"], error["message"])
        else:
            rest.append(error["message"])
    return rest
