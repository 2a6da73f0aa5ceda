"""The forms of a connection. Secrets are written, never shown again: an empty key field means "as it is"."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from customers.connecting import UnableToConnect, check_base_url
from customers.models import Connection
from portal.providers import CAPABILITIES

OTHER = "other"


def _secret(label: Any, *, required: bool) -> forms.CharField:
    widget = forms.PasswordInput(attrs={"autocomplete": "new-password", "spellcheck": "false"})
    return forms.CharField(label=label, required=required, max_length=300, strip=True, widget=widget)


class ConnectionForm(forms.Form):
    """Everything about a connection but its key. `facts()` are the columns to write."""

    name = forms.CharField(label=_("Name"), max_length=80)
    region = forms.ChoiceField(label=_("Region"), widget=forms.RadioSelect)
    base_url = forms.CharField(label=_("Address"), max_length=200, required=False)
    usage_source = forms.ChoiceField(label=_("Usage comes from"), choices=Connection.UsageSource.choices)
    v2_auth = forms.ChoiceField(label=_("Sign-in to the v2 API"), choices=Connection.V2Auth.choices)
    v2_username = forms.CharField(label=_("v2 user name"), max_length=120, required=False)
    requests_per_minute = forms.IntegerField(label=_("Requests a minute"), min_value=1, max_value=60_000)
    creates_per_hour = forms.IntegerField(label=_("Creates an hour, at most"), min_value=1, max_value=10_000)
    test_accounts_only = forms.BooleanField(label=_("Make test accounts only"), required=False)

    def __init__(self, *args: Any, kind: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.capabilities = CAPABILITIES[kind]
        regions = [
            (name, f"{name} · {url.removeprefix('https://')}") for name, url in self.capabilities.regions.items()
        ]
        if not settings.PRODUCTION:
            regions.append((OTHER, str(_("Another address (the sandbox)"))))
        self.fields["region"].choices = regions  # type: ignore[attr-defined]
        if settings.PRODUCTION:
            del self.fields["base_url"]

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        region = values.get("region", "")
        if region == OTHER:
            try:
                values["base_url"] = check_base_url(values.get("base_url", ""))
            except UnableToConnect as refusal:
                self.add_error("base_url", str(refusal))
        elif region:
            values["base_url"] = self.capabilities.regions[region]
        return values

    def facts(self) -> dict[str, Any]:
        columns = {field.name for field in Connection._meta.get_fields()}
        return {name: value for name, value in self.cleaned_data.items() if name in columns}


class NewConnectionForm(ConnectionForm):
    api_key = _secret(_("API key"), required=True)
    v2_password = _secret(_("v2 password"), required=False)
    field_order = ("name", "region", "base_url", "api_key")


class EditConnectionForm(ConnectionForm):
    api_key = _secret(_("API key"), required=False)
    field_order = ("name", "region", "base_url", "api_key")


class KeyForm(forms.Form):
    api_key = _secret(_("New API key"), required=True)
    v2_password = _secret(_("New v2 password"), required=False)


class PauseForm(forms.Form):
    reason = forms.CharField(
        label=_("Why"), max_length=300, error_messages={"required": _("Say why. People who wait will read it.")}
    )
