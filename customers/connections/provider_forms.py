"""The form of a connection to each kind of provider. Shared pages find it here by the kind, without naming providers.

A new kind adds its form and its line.
"""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.connections.forms import ConnectionForm, secret_field
from customers.models import Connection


class SendGridConnectionForm(ConnectionForm):
    """A reseller's key, and the sign-in to the older v2 API where usage is read there."""

    template = "customers/connections/_fields_sendgrid.html"
    key_hint = gettext_lazy("A full-access API key of the reseller account. It is encrypted and never shown again.")
    v2_auth = forms.ChoiceField(label=gettext_lazy("v2 API authentication"), choices=Connection.V2Auth.choices)
    v2_username = forms.CharField(label=gettext_lazy("v2 username"), max_length=120, required=False)
    v2_password = secret_field(gettext_lazy("v2 password"), required=False)
    test_accounts_only = forms.BooleanField(label=gettext_lazy("Create test accounts only"), required=False)
    starts = {"v2_auth": "key_in_form", "requests_per_minute": 600, "creates_per_hour": 50}

    def __init__(self, *args: Any, connection: Connection | None = None, **kwargs: Any) -> None:
        super().__init__(*args, connection=connection, **kwargs)
        if connection and not connection.v2_password_sealed:  # it is added together with a new key
            del self.fields["v2_password"]


class AhaSendConnectionForm(ConnectionForm):
    """A parent key with the ID of our own account. The ID can't change once accounts are known under it."""

    template = "customers/connections/_fields_ahasend.html"
    key_hint = gettext_lazy(
        "An API key of the parent account with the eight sub account scopes. It is encrypted and never shown again."
    )
    account_id = forms.CharField(
        label=gettext_lazy("Parent account ID"),
        max_length=36,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    keep_keys = forms.BooleanField(label=gettext_lazy("Allow storing account API keys"), required=False)
    starts = {"requests_per_minute": 3000, "creates_per_hour": 50}

    def __init__(self, *args: Any, connection: Connection | None = None, **kwargs: Any) -> None:
        super().__init__(*args, connection=connection, **kwargs)
        self.fields["account_id"].disabled = bool(connection and connection.accounts.exists())

    def clean_account_id(self) -> str:
        try:
            return str(uuid.UUID(self.cleaned_data["account_id"]))
        except ValueError:
            raise forms.ValidationError(
                _(
                    "Enter a UUID, such as c0a4f6f2-8f0e-4a3b-8a58-6f6b3d1f2e90. You can find it in the "
                    "AhaSend dashboard."
                )
            ) from None


FORMS: dict[str, type[ConnectionForm]] = {"sendgrid": SendGridConnectionForm, "ahasend": AhaSendConnectionForm}
