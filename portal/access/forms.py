from __future__ import annotations

import zoneinfo
from typing import Any

from allauth.account.forms import LoginForm, ReauthenticateForm
from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from portal.access.models import User
from portal.access.roles import Role
from portal.edits import EditForm


class SignInForm(LoginForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _bare(self, login="username", password="current-password")  # noqa: S106  autocomplete words
        self.fields["login"].label = _("E-mail")
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
    email = forms.EmailField(
        label=_("E-mail"), max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "username"})
    )


class NewPasswordForm(forms.Form):
    """New password, entered twice. It must not resemble the name or email of `person`."""

    password = forms.CharField(
        label=_("New password"),
        help_text=_("At least 12 characters. A few words you can remember are better than signs you cannot."),
        strip=False,
        max_length=256,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    again = forms.CharField(
        label=_("The same again"),
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
            self.add_error("again", _("The two are not the same."))
        return held


class ChangePasswordForm(NewPasswordForm):
    current = forms.CharField(
        label=_("Present password"),
        strip=False,
        max_length=256,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    field_order = ["current", "password", "again"]


def zone_choices() -> list[tuple[str, str]]:
    """Return the time zones to choose from: "UTC" first, then Region/City, without old aliases and offsets."""
    aliases = ("Etc/", "SystemV/", "US/")
    named = sorted(zone for zone in zoneinfo.available_timezones() if "/" in zone and not zone.startswith(aliases))
    return [("UTC", "UTC"), *((zone, zone.replace("_", " ")) for zone in named)]


class ProfileForm(EditForm):
    name = forms.CharField(label=_("Name"), max_length=120, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    timezone = forms.ChoiceField(
        label=_("Time zone"), help_text=_("Times on pages are shown in it. Exports and the audit export stay in UTC."),
        choices=zone_choices,
    )  # fmt: skip


class RoleForm(EditForm):
    """Change of a user's role. `role` is the current one; the form may start from another, selected before
    reauthentication."""

    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, widget=forms.RadioSelect)

    def __init__(self, *args: Any, role: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.has = role

    def stored(self) -> dict[str, Any]:
        return {"role": self.has}


class InviteForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=120, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    email = forms.EmailField(label=_("E-mail"), max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "off"}))
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, widget=forms.RadioSelect)

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"].strip().lower()
        if User.objects.filter(email=email).exists():
            raise ValidationError(_("Someone already has this e-mail."))
        return email
