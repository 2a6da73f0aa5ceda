"""Forms of the sending setup: a domain, and a test message."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

_HOST = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")


class DomainField(forms.CharField):
    """A bare domain name in lower case, in ASCII. Pasted extras (a scheme, a path, the part before an @, a last dot)
    are removed."""

    default_error_messages = {
        "domain": gettext_lazy("Write a domain name, such as mail.example.com."),
        "letters": gettext_lazy("This name has letters that DNS does not know."),
    }

    def to_python(self, value: Any) -> str:
        text = (super().to_python(value) or "").lower()
        text = text.partition("://")[2] or text
        text = re.split(r"[/?#]", text)[0].rpartition("@")[2].partition(":")[0].rstrip(".")
        try:
            return text.encode("idna").decode("ascii") if text and not text.isascii() else text
        except UnicodeError:
            raise forms.ValidationError(self.error_messages["letters"], code="letters") from None

    def validate(self, value: Any) -> None:
        super().validate(value)
        if value and not _HOST.fullmatch(value):
            raise forms.ValidationError(self.error_messages["domain"], code="domain")


class DomainForm(forms.Form):
    name = DomainField(
        label=gettext_lazy("Domain"),
        max_length=255,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "inputmode": "url"}),
        error_messages={"required": gettext_lazy("Which domain will the customer send from?")},
    )
    client_token = forms.CharField(widget=forms.HiddenInput, max_length=64, min_length=8)


class TestMessageForm(forms.Form):
    """One message from an address at `domain` to an address that a user reads."""

    __test__ = False  # not a test case, whatever its name says to a test runner

    sender = forms.EmailField(label=gettext_lazy("From"), max_length=254)
    recipient = forms.EmailField(label=gettext_lazy("To"), max_length=254)
    client_token = forms.CharField(widget=forms.HiddenInput, max_length=64, min_length=8)

    def __init__(self, *args: Any, domain: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.domain = domain

    def clean_sender(self) -> str:
        typed: str = self.cleaned_data["sender"]
        if typed.rpartition("@")[2].casefold() != self.domain.casefold():
            raise forms.ValidationError(_("It must be an address at %(domain)s.") % {"domain": self.domain})
        return typed
