from __future__ import annotations

import zoneinfo
from typing import Any

from allauth.account.forms import LoginForm, ReauthenticateForm
from django import forms
from django.contrib.auth.password_validation import validate_password
from django.utils.translation import gettext_lazy as _

from portal.access.models import User
from portal.access.roles import Role
from portal.edits import EditForm
from portal.typed_text import TypedEmail, TypedText


class SignInForm(LoginForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _bare(self, login="username", password="current-password")  # noqa: S106  autocomplete words
        self.fields["login"].label = _("Email")
        self.fields["login"].max_length = 254


class PasswordAgainForm(ReauthenticateForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _bare(self, password="current-password")  # noqa: S106


def _bare(form: forms.Form, **autocomplete: str) -> None:
    """Remove allauth's placeholders and help texts: the page has labels, and its own link for a forgotten password."""
    for name, word in autocomplete.items():
        field = form.fields[name]
        field.help_text = ""
        field.widget.attrs.pop("placeholder", None)
        field.widget.attrs["autocomplete"] = word


class ForgotForm(forms.Form):
    email = TypedEmail(label=_("Email"), max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "username"}))


class NewPasswordForm(forms.Form):
    """New password, entered twice. It must not resemble the name or email of `person`."""

    password = forms.CharField(
        label=_("New password"),
        help_text=_("At least 12 characters. A few words you can remember work better than symbols you can't."),
        strip=False,
        max_length=256,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    again = forms.CharField(
        label=_("Confirm new password"),
        strip=False,
        max_length=256,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, *args: Any, person: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.person = person

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        validate_password(password, self.person)
        return password

    def clean(self) -> dict[str, Any]:
        held = super().clean() or {}
        if held.get("password") and held.get("again") and held["password"] != held["again"]:
            self.add_error("again", _("The passwords don't match."))
        return held


class ChangePasswordForm(NewPasswordForm):
    current = forms.CharField(
        label=_("Current password"),
        strip=False,
        max_length=256,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    field_order = ["current", "password", "again"]


class TimeZoneField(forms.ChoiceField):
    """A time zone, typed and completed from the list on the page: "europe/berlin" and "America/New York" are taken,
    and what is not a time zone stays in the field."""

    widget = forms.TextInput(attrs={"list": "zones", "autocomplete": "off", "spellcheck": "false"})
    default_error_messages = {
        "invalid_choice": _("Unknown time zone. Choose one from the list, such as Europe/Berlin.")
    }

    def to_python(self, value: Any) -> str:
        typed: str = super().to_python(value).strip().replace(" ", "_")
        known = {name.lower(): name for name, _words in zone_choices()}
        return known.get(typed.lower(), typed)


def zone_choices() -> list[tuple[str, str]]:
    """Return the time zones to choose from: "UTC" first, then Region/City, without old aliases and offsets."""
    aliases = ("Etc/", "SystemV/", "US/")
    named = sorted(zone for zone in zoneinfo.available_timezones() if "/" in zone and not zone.startswith(aliases))
    return [("UTC", "UTC"), *((zone, zone.replace("_", " ")) for zone in named)]


class ProfileForm(EditForm):
    name = TypedText(label=_("Name"), max_length=120, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    timezone = TimeZoneField(
        label=_("Time zone"),
        help_text=_("Type a city or region. Used for times in the portal. Exports always use UTC."),
        choices=zone_choices,
    )


class RoleForm(EditForm):
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, widget=forms.RadioSelect)


class InviteForm(forms.Form):
    name = TypedText(label=_("Name"), max_length=120, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    email = TypedEmail(label=_("Email"), max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "off"}))
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, widget=forms.RadioSelect)
