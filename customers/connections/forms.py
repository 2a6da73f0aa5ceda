"""The forms of a connection. Secrets are written, never shown again: an empty key field means "unchanged"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from customers.connections.credentials import check_base_url
from customers.models import Connection
from portal.edits import EditForm
from portal.providers import CAPABILITIES
from portal.refusals import Refusal
from portal.typed_text import TypedText

OTHER = "other"
LABELS = {"api_key_last4": _("API key ends in"), "base_url": _("API URL")}


def secret_field(label: Any, *, required: bool) -> forms.CharField:
    widget = forms.PasswordInput(attrs={"autocomplete": "new-password", "spellcheck": "false"})
    return forms.CharField(label=label, required=required, max_length=300, strip=True, widget=widget)


class ConnectionForm(EditForm):
    """The fields of every connection. Each kind of provider adds its own and the template that shows them.

    `connection` is the one that is edited, None for a new one. `facts()` are the columns to write, without secrets.
    """

    not_compared = frozenset({"api_key", "v2_password", "region"})
    labels = LABELS
    template: ClassVar[str] = ""
    key_hint: ClassVar[str | Promise] = ""
    # The initial values of a new connection of the kind.
    starts: ClassVar[Mapping[str, Any]] = {}

    name = TypedText(label=_("Name"), max_length=80)
    region = forms.ChoiceField(label=_("Region"), widget=forms.RadioSelect)
    base_url = forms.CharField(label=_("API URL"), max_length=200, required=False)
    api_key = secret_field(_("API key"), required=True)
    usage_source = forms.ChoiceField(label=_("Usage source"))
    requests_per_minute = forms.IntegerField(label=_("Requests per minute"), min_value=1, max_value=60_000)
    creates_per_hour = forms.IntegerField(label=_("Maximum account creations per hour"), min_value=1, max_value=10_000)

    def __init__(
        self, data: Mapping[str, Any] | None = None, *, kind: str, connection: Connection | None = None, **kwargs: Any
    ) -> None:
        self.kind, self.connection, self.capabilities = kind, connection, CAPABILITIES[kind]
        super().__init__(data, initial=self._start(), **kwargs)
        regions = [
            (name, f"{name} · {url.removeprefix('https://')}") for name, url in self.capabilities.regions.items()
        ]
        if not settings.PRODUCTION:
            regions.append((OTHER, str(_("Other API URL (sandbox)"))))
        self.fields["region"].choices = regions  # type: ignore[attr-defined]
        if settings.PRODUCTION:
            del self.fields["base_url"]
        self.fields["api_key"].required = connection is None
        self._offer_sources()

    def _start(self) -> dict[str, Any]:
        if self.connection is None:
            return {"region": next(iter(self.capabilities.regions)), **self.starts}
        columns = {name: getattr(self.connection, name, None) for name in self.base_fields}
        known = self.connection.base_url in self.capabilities.regions.values()
        return columns | {"api_key": ""} | ({} if known else {"region": OTHER})

    def _offer_sources(self) -> None:
        """Offer only the usage sources of the kind; where there is one, there is nothing to choose."""
        words = dict(Connection.UsageSource.choices)
        field = self.fields["usage_source"]
        field.choices = [(each, words[each]) for each in self.capabilities.usage_sources]  # type: ignore[attr-defined]
        if len(self.capabilities.usage_sources) == 1:
            field.disabled, self.initial["usage_source"] = True, self.capabilities.usage_sources[0].value
            field.widget = forms.HiddenInput()

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        region = values.get("region", "")
        if region == OTHER:
            try:
                values["base_url"] = check_base_url(values.get("base_url", ""))
            except Refusal as refusal:
                self.add_error("base_url", str(refusal))
        elif region:
            values["base_url"] = self.capabilities.regions[region]
        return values

    def facts(self) -> dict[str, Any]:
        columns = {field.name for field in Connection._meta.get_fields()}
        return {name: value for name, value in self.cleaned_data.items() if name in columns}

    def stored(self) -> dict[str, Any]:
        """Return the stored values, including the address where it has no field, and the end of the stored key."""
        kept = {name: getattr(self.connection, name, "") for name in ("base_url", "api_key_last4")}
        return super().stored() | kept

    def changed_facts(self) -> dict[str, Any]:
        """Return the changed columns. The region goes with the address."""
        changed = super().changed_facts()
        if "base_url" not in changed:
            changed.pop("region", None)
        return changed


class ReplaceKeyForm(EditForm):
    """A new key, and where the kind has an older API with a password of its own, that too."""

    not_compared = frozenset({"api_key", "v2_password"})
    labels = LABELS
    api_key = secret_field(_("New API key"), required=True)
    v2_password = secret_field(_("New v2 password"), required=False)

    def __init__(self, *args: Any, connection: Connection, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connection = connection
        if not connection.capabilities.usernames:
            del self.fields["v2_password"]

    def stored(self) -> dict[str, Any]:
        return {"api_key_last4": self.connection.api_key_last4}


class PauseForm(forms.Form):
    reason = TypedText(
        label=_("Reason"),
        max_length=300,
        error_messages={"required": _("Enter a reason. Anyone waiting for this connection will see it.")},
    )
