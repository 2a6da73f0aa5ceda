from __future__ import annotations

import zoneinfo
from typing import TYPE_CHECKING, Any

from allauth.account.forms import LoginForm
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.forms import AddWebAuthnForm, AuthenticateWebAuthnForm, LoginWebAuthnForm
from django import forms
from django.contrib.auth.password_validation import validate_password
from django.utils.translation import gettext_lazy as _

from portal.access.confirmation import checked_code, note_use
from portal.access.credentials import CredentialField, odd_credentials_refused
from portal.access.models import User
from portal.access.queries import role_choices
from portal.edits import EditForm
from portal.typed_text import TypedEmail, TypedText

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


class SignInForm(LoginForm):  # type: ignore[misc]
    """Form of allauth without its placeholders: the page has labels, and its own link for a forgotten password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, word in (("login", "username"), ("password", "current-password")):
            field = self.fields[name]
            field.help_text = ""
            field.widget.attrs.pop("placeholder", None)
            field.widget.attrs["autocomplete"] = word
        self.fields["login"].label = _("Email")
        self.fields["login"].max_length = 254


def code_field(label: StrOrPromise, **attributes: str) -> forms.CharField:
    """Return the field for a code of an authenticator app, which browsers and password managers fill in."""
    attrs = {"autocomplete": "one-time-code", "autocapitalize": "none", "spellcheck": "false", **attributes}
    return forms.CharField(label=label, max_length=40, widget=forms.TextInput(attrs=attrs))


class CodeForm(forms.Form):
    """Code of the second factor at sign-in: of the authenticator app, or a recovery code."""

    code = code_field(_("Code"))

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        self.authenticator = checked_code(self.user, code)
        return code

    def save(self) -> None:
        """Record in the session that the second factor was used."""
        note_use(self.authenticator)


class PasskeyForm(AuthenticateWebAuthnForm):  # type: ignore[misc]  # allauth has no types
    """Passkey as the second factor at sign-in, or to confirm who is there."""

    credential = CredentialField()

    def clean_credential(self) -> Authenticator:
        with odd_credentials_refused():
            return super().clean_credential()


class PasskeySignInForm(LoginWebAuthnForm):  # type: ignore[misc]  # allauth has no types
    """Passkey that signs in alone."""

    credential = CredentialField()

    def clean_credential(self) -> Authenticator:
        with odd_credentials_refused():
            return super().clean_credential()


class AppForm(forms.Form):
    code = code_field(_("Code from the app"), inputmode="numeric")


class PasskeyNameForm(AddWebAuthnForm):  # type: ignore[misc]  # allauth has no types
    """New passkey. It can always sign in without a password."""

    passwordless = None
    credential = CredentialField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"] = TypedText(
            label=_("Name"),
            help_text=_("Such as the device: “Work laptop”."),
            max_length=60,
            required=False,
            widget=forms.TextInput(attrs={"autocomplete": "off"}),
        )
        self.initial["name"] = ""

    def clean_name(self) -> str:
        return self.cleaned_data["name"] or str(_("Passkey"))

    def clean(self) -> dict[str, Any]:
        with odd_credentials_refused():
            held: dict[str, Any] = super().clean()
        return held


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
    role = forms.ChoiceField(label=_("Role"), choices=role_choices, widget=forms.RadioSelect)


class InviteForm(forms.Form):
    name = TypedText(label=_("Name"), max_length=120, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    email = TypedEmail(label=_("Email"), max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "off"}))
    role = forms.ChoiceField(label=_("Role"), choices=role_choices, widget=forms.RadioSelect)
