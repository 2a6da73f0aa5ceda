"""The form of a connection to AhaSend."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.connections.forms import ConnectionForm
from customers.models import Connection


class AhaSendConnectionForm(ConnectionForm):
    """A parent key with the ID of our own account. The ID can't change once accounts are known under it."""

    template = "customers/connections/_fields_ahasend.html"
    key_hint = gettext_lazy(
        "A key of our own account with the eight sub-account scopes. It is encrypted, and never shown again."
    )
    account_id = forms.CharField(
        label=gettext_lazy("Id of our account"),
        max_length=36,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    keep_keys = forms.BooleanField(label=gettext_lazy("API keys of accounts may be kept"), required=False)
    starts = {"requests_per_minute": 3000, "creates_per_hour": 50}

    def __init__(self, *args: Any, connection: Connection | None = None, **kwargs: Any) -> None:
        super().__init__(*args, connection=connection, **kwargs)
        self.fields["account_id"].disabled = bool(connection and connection.accounts.exists())

    def clean_account_id(self) -> str:
        try:
            return str(uuid.UUID(self.cleaned_data["account_id"]))
        except ValueError:
            raise forms.ValidationError(
                _("The id is a UUID, such as c0a4f6f2-8f0e-4a3b-8a58-6f6b3d1f2e90. AhaSend's dashboard shows it.")
            ) from None
