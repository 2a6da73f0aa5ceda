"""The form of a connection to SendGrid."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from customers.connections.forms import ConnectionForm, secret_field
from customers.models import Connection


class SendGridConnectionForm(ConnectionForm):
    """A reseller's key, and the sign-in to the older v2 API where usage is read there."""

    template = "customers/connections/_fields_sendgrid.html"
    key_hint = _("A key with full access of the reseller account. It is encrypted, and never shown again.")
    v2_auth = forms.ChoiceField(label=_("Sign-in to the v2 API"), choices=Connection.V2Auth.choices)
    v2_username = forms.CharField(label=_("v2 user name"), max_length=120, required=False)
    v2_password = secret_field(_("v2 password"), required=False)
    test_accounts_only = forms.BooleanField(label=_("Make test accounts only"), required=False)
    starts = {"v2_auth": "key_in_form", "requests_per_minute": 600, "creates_per_hour": 50}

    def __init__(self, *args: Any, connection: Connection | None = None, **kwargs: Any) -> None:
        super().__init__(*args, connection=connection, **kwargs)
        if connection and not connection.v2_password_sealed:  # it is added together with a new key
            del self.fields["v2_password"]
