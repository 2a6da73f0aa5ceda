"""The editor of an account's name, website and monthly cap."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.http import Http404, HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.accounts.editor import AccountEditor, ConflictLine, Reading, SeenForm
from customers.accounts.settings.forms import ChangeSettingsForm, SettingsForm
from customers.labels import cap_text
from customers.models.account import AccountState
from customers.models.operation_states import OperationKind
from customers.observed import accounts as observed_accounts
from customers.operations.commands import request_settings
from customers.operations.request import why_blocked
from customers.operations.view_helpers import open_operation_of
from portal.providers import AccountSettings

LABELS = {
    "name": gettext_lazy("Name"),
    "website": gettext_lazy("Website"),
    "monthly_cap": gettext_lazy("Monthly cap"),
}


class SettingsEditor(AccountEditor):
    """The editor of the settings. Only what differs from what the user saw is requested."""

    kind = OperationKind.SETTINGS
    page_name = "customers:account-settings"
    template = "customers/settings.html"
    seen_form = ChangeSettingsForm
    column = "settings"
    # An account whose settings were never read and never requested has none.
    stored = staticmethod(lambda found: AccountSettings(**({"name": "", "website": "", "monthly_cap": 0} | found)))
    request_change = staticmethod(request_settings)

    def setup(self, request: HttpRequest, public_id: uuid.UUID) -> None:
        super().setup(request, public_id)
        if not self.account.connection.capabilities.settings:
            raise Http404

    def form(self, values: AccountSettings, data: Any = None, *, start: Any = None) -> SettingsForm:
        return SettingsForm(data, start=start or values)

    def read(self) -> Reading:
        return self.known() if self.account.state == AccountState.DELETED else super().read()

    def read_now(self, now: datetime) -> None:
        observed_accounts.read_account(account=self.account, now=now)

    def changes(self, saw: AccountSettings, chosen: AccountSettings) -> dict[str, Any]:
        return {"base": asdict(saw), "changes": _changes(saw, chosen)}

    def merged(self, saw: AccountSettings, now: AccountSettings, wanted: AccountSettings) -> AccountSettings:
        """Return the present values with the user's own changes on top."""
        return AccountSettings(**(asdict(now) | _changes(saw, wanted)))

    def differences(self, saw: AccountSettings, now: AccountSettings, wanted: AccountSettings) -> list[ConflictLine]:
        """Return every setting that changed at the provider, or that the user changed."""
        rows = [(name, getattr(saw, name), getattr(now, name), getattr(wanted, name)) for name in LABELS]
        return [
            ConflictLine(str(LABELS[name]), *(cap_text(each) if name == "monthly_cap" else each for each in values))
            for name, *values in rows
            if len(set(values)) > 1
        ]

    def is_meant(self, form: SettingsForm, seen: SeenForm) -> bool:
        """Return whether a new cap below the usage was confirmed: the provider's behavior then is not documented."""
        cap, used = form.chosen().monthly_cap, self.account.usage_used
        if cap in (0, seen.cleaned_data["base"].monthly_cap) or used is None or cap >= used:
            return True
        if seen.cleaned_data["below_use"]:
            return True
        seen.add_error(
            "below_use", _("Usage in this billing period is already above this cap. To set it anyway, select this box.")
        )
        return False

    def context(self, form: SettingsForm, reading: Reading) -> dict[str, Any]:
        same = open_operation_of(self.account, kind__in=(OperationKind.SETTINGS, OperationKind.DELETE))
        blocked = why_blocked(self.account, OperationKind.SETTINGS, same)
        return {"cap_now": cap_text(reading.values.monthly_cap), "blocked": blocked}


def _changes(base: AccountSettings, wanted: AccountSettings) -> dict[str, Any]:
    before = asdict(base)
    return {name: value for name, value in asdict(wanted).items() if value != before[name]}


account_settings = SettingsEditor.as_view()
