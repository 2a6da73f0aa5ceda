"""Forms of finance: the connections to sync now, and the reason for accepting lower usage."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from customers.models import Connection

ALL = "all"


class StartForm(forms.Form):
    """Sync request. `connection` is a public ID or "all"; `client_token` makes a double click start one run."""

    connection = forms.CharField(max_length=36)
    client_token = forms.CharField(max_length=64)

    def clean_connection(self) -> list[Connection]:
        wanted = self.cleaned_data["connection"]
        if wanted == ALL:
            return list(Connection.objects.filter(paused__in=Connection.READABLE))
        found = [each for each in Connection.objects.all() if str(each.public_id) == wanted]
        if not found:
            raise forms.ValidationError(_("This connection doesn't exist."))
        return found
