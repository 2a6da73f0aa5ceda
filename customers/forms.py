"""Fields with the rules providers publish for a profile. The server is the only place that checks them."""

from __future__ import annotations

import re
import zoneinfo
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.utils.translation import gettext, gettext_lazy
from django.utils.translation import gettext_lazy as _

from customers.models.customer import MOST_TAGS
from portal.formats import number_text

SAME_AS_OTHER = "other"

_E164 = re.compile(r"\+[1-9]\d{6,14}", re.ASCII)
_BETWEEN = re.compile(r"[\s().\-\u00a0\u2011/]+")
_HOST = re.compile(r"(?=.{4,253}$)([\w-]{1,63}\.)+[\w-]{2,63}", re.UNICODE)
_FQDN = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]", re.ASCII)
_COUNT = re.compile(r"\d+|\d{1,3}([ ,.'\u2019\u00a0\u202f]\d{3})+", re.ASCII)


class PhoneField(forms.CharField):
    """A phone number as E.164. Blanks, dots, dashes and brackets are removed."""

    default_error_messages = {
        "phone": _("Write it with the country code, such as +49 30 1234567: at most 15 digits after the plus.")
    }

    def to_python(self, value: Any) -> str:
        text = super().to_python(value) or ""
        return _BETWEEN.sub("", text)

    def validate(self, value: Any) -> None:
        super().validate(value)
        if value and not _E164.fullmatch(value):
            raise forms.ValidationError(self.error_messages["phone"], code="phone")


class WebsiteField(forms.CharField):
    """A web address. The scheme may be missing, because the provider's own sample leaves it out."""

    default_error_messages = {"website": _("Write a web address, such as www.example.com.")}

    def validate(self, value: Any) -> None:
        super().validate(value)
        if value and not _is_website(str(value)):
            raise forms.ValidationError(self.error_messages["website"], code="website")


def _is_website(text: str) -> bool:
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        host = parts.hostname or ""
        _port = parts.port
    except ValueError:
        return False
    plain = not parts.username and not re.search(r"\s", text)
    return parts.scheme in ("http", "https") and plain and bool(_HOST.fullmatch(host))


class HostField(forms.CharField):
    """A bare host name. Scheme, path and port are removed, and letters beyond ASCII written as in DNS."""

    default_error_messages = {"host": _("Write a host name such as shop.example.com.")}

    def to_python(self, value: Any) -> str:
        return host_of(super().to_python(value) or "")

    def validate(self, value: Any) -> None:
        super().validate(value)
        if value and not _FQDN.fullmatch(str(value)):
            raise forms.ValidationError(self.error_messages["host"], code="host")


def host_of(text: str) -> str:
    """Return "shop.example.com" for "https://Shop.example.com/sale". Text without a host is returned unchanged."""
    text = text.strip()
    try:
        host = urlsplit(text if "://" in text else f"//{text}").hostname or text
        return host.rstrip(".").encode("idna").decode("ascii").lower()
    except ValueError:  # UnicodeError is one
        return text


class CountField(forms.CharField):
    """A whole number of at least 1, with or without marks between thousands: "250000", "250,000", "250.000". It becomes
    an int, or None when empty: an empty field is never 0."""

    default_error_messages = {
        "count": _("Write a whole number, such as 250,000."),
        "least": _("Write 1 or more."),
        "most": _("At most %(most)s are possible."),
    }

    def __init__(self, *, most: int, **kwargs: Any) -> None:
        super().__init__(widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}), **kwargs)
        self.most = most

    def to_python(self, value: Any) -> Any:
        text = str(super().to_python(value) or "").strip()
        if not text:
            return None
        if not _COUNT.fullmatch(text):
            raise forms.ValidationError(self.error_messages["count"], code="count")
        return int(re.sub(r"\D", "", text))

    def validate(self, value: Any) -> None:
        super().validate(value)
        if value is not None and value < 1:
            raise forms.ValidationError(self.error_messages["least"], code="least")
        if value is not None and value > self.most:
            raise forms.ValidationError(
                self.error_messages["most"], code="most", params={"most": number_text(self.most)}
            )

    def run_validators(self, value: Any) -> None:
        """Skip a text's validators: they do not fit a number."""

    def prepare_value(self, value: Any) -> Any:
        return number_text(value) if isinstance(value, int) else value


class ZoneField(forms.CharField):
    """An IANA time zone by its name. The page offers the known ones in a list."""

    default_error_messages = {"zone": _("No time zone has this name. Choose one such as Europe/Berlin.")}

    def validate(self, value: Any) -> None:
        super().validate(value)
        if value and value not in zones():
            raise forms.ValidationError(self.error_messages["zone"], code="zone")


@lru_cache(maxsize=1)
def zones() -> dict[str, None]:
    """Return the names of all zones with a place in them, and UTC, in order."""
    found = sorted(name for name in zoneinfo.available_timezones() if "/" in name and not name.startswith("Etc/"))
    return dict.fromkeys(["UTC", *found])


class TagsField(forms.CharField):
    """Comma-separated words; each once, in the order they were typed."""

    default_error_messages = {"tags": _("At most 20 tags of at most 40 letters each.")}

    def to_python(self, value: Any) -> Any:
        words = (" ".join(part.split()) for part in (super().to_python(value) or "").split(","))
        return list(dict.fromkeys(word for word in words if word))

    def validate(self, value: Any) -> None:
        if len(value) > MOST_TAGS or any(len(word) > 40 for word in value):
            raise forms.ValidationError(self.error_messages["tags"], code="tags")

    def run_validators(self, value: Any) -> None:
        super().run_validators(", ".join(value))

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value


class ReasonForm(forms.Form):
    """A reason: a category and a sentence. The sentence is required; both are stored together.

    `longest`: how long both may be together, where the customer sees them.
    """

    why = forms.ChoiceField(label=gettext_lazy("Why"), widget=forms.RadioSelect, required=False)
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        widget=forms.Textarea(attrs={"rows": 3}),
        max_length=1000,
        error_messages={"required": gettext_lazy("Say why. It is kept in the audit log.")},
    )
    client_token = forms.CharField(widget=forms.HiddenInput, max_length=64, min_length=8)

    def __init__(self, *args: Any, why: list[tuple[str, Any]], longest: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._why, self.longest = dict(why), longest
        if longest:
            self.fields["reason"].widget.attrs["maxlength"] = longest
        self.fields["why"].choices = why  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if self.longest and values.get("reason") and (over := len(self.whole_reason()) - self.longest) > 0:
            text = gettext("%(n)d characters too long: with the word before it, %(most)d at most.")
            self.add_error("reason", text % {"n": over, "most": self.longest})
        return values

    def whole_reason(self) -> str:
        """Return both as one text: "Abuse report: two complaints, case 3318"."""
        word, text = self.cleaned_data.get("why", ""), self.cleaned_data["reason"].strip()
        return text if word in ("", SAME_AS_OTHER) else f"{self._why[word]}: {text}"
