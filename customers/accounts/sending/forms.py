"""Forms of the sending setup: a domain, and a test message."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.forms import HostField, TokenForm
from portal.email_addresses import domain_key
from portal.typed_text import TypedEmail


class DomainForm(TokenForm):
    name = HostField(
        label=gettext_lazy("Domain"),
        max_length=255,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "inputmode": "url"}),
        error_messages={
            "required": gettext_lazy("Enter the domain the customer will send from."),
            "invalid": gettext_lazy("Enter a domain name, such as mail.example.com."),
        },
    )

    @property
    def remarks(self) -> list[str]:
        typed, kept = str(self["name"].value()).strip(), self.cleaned_data["name"]
        return [] if typed.casefold() == kept else [_("Saved as %(kept)s.") % {"kept": kept}]


class TestMessageForm(TokenForm):
    """One message from an address at `domain` to an address that a user reads."""

    __test__ = False  # not a test case, whatever its name says to a test runner

    sender = TypedEmail(label=gettext_lazy("From"), max_length=254)
    recipient = TypedEmail(label=gettext_lazy("To"), max_length=254)

    def __init__(self, *args: Any, domain: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.domain = domain

    def clean_sender(self) -> str:
        typed: str = self.cleaned_data["sender"]
        if domain_key(typed.rpartition("@")[2]) != domain_key(self.domain):
            raise forms.ValidationError(_("Enter an address at %(domain)s.") % {"domain": self.domain})
        return typed
