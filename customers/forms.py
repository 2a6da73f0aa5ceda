"""Fields with the rules providers publish for a profile. The server is the only place that checks them."""

from __future__ import annotations

import re
import zoneinfo
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.utils.text import format_lazy
from django.utils.translation import gettext, gettext_lazy
from django.utils.translation import gettext_lazy as _

from customers.models.customer import MOST_TAGS
from portal.email_addresses import domain_key
from portal.formats import number_text
from portal.htmx import new_token
from portal.typed_text import AsShown, TypedText, why_refused

SAME_AS_OTHER = "other"

_BETWEEN = re.compile(r"[\s().\-\u00a0\u2011/]+")
_HOST = re.compile(r"(?=.{4,253}$)([\w-]{1,63}\.)+[\w-]{2,63}", re.UNICODE)
_FQDN = r"\A(?=.{4,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]\Z"
_COUNT = re.compile(r"\d+|\d{1,3}([ ,.'\u2019\u00a0\u202f]\d{3})+", re.ASCII)


class PhoneField(TypedText):
    """A phone number as E.164. Blanks, dots, dashes and brackets are removed."""

    default_validators = [
        RegexValidator(
            r"\A\+[1-9][0-9]{6,14}\Z",
            _("Enter the number with its country code, such as +49 30 1234567. It can have up to 15 digits."),
        )
    ]

    def to_python(self, value: Any) -> str:
        return _BETWEEN.sub("", super().to_python(value) or "")


def _is_website(text: str) -> bool:
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        host = parts.hostname or ""
        _port = parts.port
    except ValueError:
        return False
    plain = not parts.username and not re.search(r"\s", text)
    return parts.scheme in ("http", "https") and plain and bool(_HOST.fullmatch(host))


def _check_website(text: str) -> None:
    if not _is_website(text):
        raise forms.ValidationError(_("Enter a URL, such as www.example.com."))


class WebsiteField(TypedText):
    """A web address. The scheme may be missing, because the provider's own sample leaves it out."""

    default_validators = [_check_website]


class HostField(TypedText):
    """A bare hostname. Scheme, path and port are removed, and letters beyond ASCII written as in DNS (IDNA2008)."""

    default_validators = [RegexValidator(_FQDN, _("Enter a hostname, such as shop.example.com."))]

    def to_python(self, value: Any) -> str:
        return host_of(super().to_python(value) or "")


def host_of(text: str) -> str:
    """Return "shop.example.com" for "https://Shop.example.com/sale". Text without a host is returned unchanged."""
    text = text.strip()
    try:
        host = urlsplit(text if "://" in text else f"//{text}").hostname or text
    except ValueError:
        return text
    return domain_key(host)


class CountField(AsShown, forms.IntegerField):
    """A whole number of at least 1, with or without marks between thousands: "250000", "250,000", "250.000". An empty
    field is None and never 0."""

    widget = forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off", "maxlength": 20})
    default_error_messages = {"invalid": _("Enter a whole number, such as 250,000.")}

    def __init__(self, *, most: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        too_many = format_lazy(_("The maximum is {most}."), most=number_text(most))
        self.validators += [MinValueValidator(1, _("Enter 1 or more.")), MaxValueValidator(most, too_many)]

    def to_python(self, value: Any) -> int | None:
        text = str(value or "").strip()
        if text and not _COUNT.fullmatch(text):
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        return super().to_python(re.sub(r"\D", "", text))

    def prepare_value(self, value: Any) -> Any:
        return number_text(value) if isinstance(value, int) else value


@lru_cache(maxsize=1)
def zones() -> dict[str, None]:
    """Return the names of all zones with a place in them, and UTC, in order."""
    found = sorted(name for name in zoneinfo.available_timezones() if "/" in name and not name.startswith("Etc/"))
    return dict.fromkeys(["UTC", *found])


def _check_zone(name: str) -> None:
    if name not in zones():
        raise forms.ValidationError(_("Unknown time zone. Choose one from the list, such as Europe/Berlin."))


class ZoneField(TypedText):
    """An IANA time zone by its name. The page offers the known ones in a list."""

    default_validators = [_check_zone]


class TagsField(TypedText):
    """Comma-separated words; each once, in the order they were typed."""

    default_error_messages = {"tags": _("Enter up to 20 tags, each with up to 40 characters.")}

    def to_python(self, value: Any) -> Any:
        words = [" ".join(part.split()) for part in (super().to_python(value) or "").split(",")]
        if why := next(filter(None, map(why_refused, words)), ""):
            raise forms.ValidationError(why, code="invisible")
        return list(dict.fromkeys(word for word in words if word))

    def validate(self, value: Any) -> None:
        if len(value) > MOST_TAGS or any(len(word) > 40 for word in value):
            raise forms.ValidationError(self.error_messages["tags"], code="tags")

    def run_validators(self, value: Any) -> None:
        super().run_validators(", ".join(value))

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value


class TokenForm(forms.Form):
    """A form that makes one request, however often it is submitted. A new page has a new token."""

    client_token = forms.CharField(widget=forms.HiddenInput, max_length=64, min_length=8, initial=new_token)


class ReasonForm(TokenForm):
    """A reason: a category, a sentence, or both, which are stored together. "Other" needs a sentence.

    `longest`: how long both may be together, where the customer sees them.
    """

    why = forms.ChoiceField(
        label=gettext_lazy("Category"),
        help_text=gettext_lazy("Select a category, enter a reason, or both. “Other” needs a reason."),
        widget=forms.RadioSelect,
        required=False,
    )
    reason = TypedText(
        label=gettext_lazy("Reason"),
        widget=forms.Textarea(attrs={"rows": 3}),
        max_length=1000,
        required=False,
    )

    def __init__(self, *args: Any, why: list[tuple[str, Any]], longest: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._why, self.longest = dict(why), longest
        if longest:
            self.fields["reason"].widget.attrs["maxlength"] = longest
        self.fields["why"].choices = why  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Put both into one text, the `reason`: "Abuse report: two complaints, case 3318"."""
        values = super().clean() or {}
        word, text = values.get("why", ""), values.get("reason", "").strip()
        if word not in ("", SAME_AS_OTHER):
            text = f"{self._why[word]}: {text}" if text else str(self._why[word])
        if not text and not self.errors:
            self.add_error("reason", gettext("Enter a reason or select a category. It is recorded in the audit log."))
        if self.longest and (over := len(text) - self.longest) > 0:
            message = gettext(
                "%(n)d characters too long. The category and reason together can have up to %(most)d characters."
            )
            self.add_error("reason", message % {"n": over, "most": self.longest})
            return values
        return values | {"reason": text}
