"""Forms for a new AhaSend account and its first API key, and requirements of a connection to AhaSend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.accounts.create.base import AccountPart, Start, with_typed
from customers.accounts.create.commands import AccountRequest
from customers.accounts.create.profile_form import add_provider_errors, facts_of, profile_of
from customers.accounts.keys.forms import SINGLE, KeyForm
from customers.accounts.keys.queries import bundle_of
from customers.accounts.settings.forms import SettingsForm, fields_of, settings_of_facts
from customers.connections.scopes import why_no_scope
from customers.models import Connection, Operation
from customers.models.operation_states import OperationKind
from customers.operations.commands import FirstKey
from portal.providers import AccountSettings


class MakeKeyForm(forms.Form):
    make = forms.BooleanField(label=gettext_lazy("Create an API key"), required=False, initial=True)


class AhaSendPart(AccountPart):
    """Name, website and cap, and the first key of the account. Nothing else of the customer is sent."""

    template = "customers/_part_ahasend.html"

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self.customer = start.customer
        self.settings = self._settings_form(start)
        self.no_key_because = why_no_scope(start.connection, OperationKind.KEY_CREATE)
        first = _key_of(start.failed)
        make = MakeKeyForm(start.sent, prefix="key", initial={"make": start.failed is None or first is not None})
        key = KeyForm(start.connection, start.sent, prefix="key", initial=_key_start(start.connection, first))
        self.make, self.key = with_typed(make, start.typed, "key-"), with_typed(key, start.typed)
        self.forms = [self.settings, *([self.make, self.key] if self.makes_key else [])]

    def _settings_form(self, start: Start) -> SettingsForm:
        facts = facts_of(start.customer) if start.customer else start.facts
        otherwise = {"name": "", "website": "", **settings_of_facts(facts)}
        before = start.failed.payload.get("settings") if start.failed else None
        if start.failed is None or not before or start.sent is not None or start.typed is not None:
            return with_typed(SettingsForm(start.sent, otherwise=otherwise, prefix="account"), start.typed)
        values = {f"account-{name}": value for name, value in fields_of(AccountSettings(**before)).items()}
        form = SettingsForm(values, otherwise=otherwise, prefix="account")
        self.other_errors = add_provider_errors(form, start.failed.field_errors)
        return form

    @property
    def makes_key(self) -> bool:
        return not self.no_key_because and bool(self.make["make"].value())

    def wanted(self, facts: Mapping[str, Any], *, is_test: bool) -> AccountRequest:
        first_key = FirstKey(self.key.new_key, self.key.keeps) if self.makes_key else None
        return AccountRequest(self.connection, profile_of(facts), [], is_test, self.settings.chosen(), first_key)

    @property
    def remarks(self) -> list[str]:
        rewritten = self.key.rewritten() if self.makes_key else []
        addresses = [
            _("%(typed)s was saved as %(kept)s.") % {"typed": typed, "kept": kept} for typed, kept in rewritten
        ]
        return [*self.settings.remarks, *addresses]


def _key_of(failed: Operation | None) -> Operation | None:
    return failed.followers.filter(kind=OperationKind.KEY_CREATE).first() if failed else None


def _key_start(connection: Connection, first: Operation | None) -> dict[str, Any]:
    if first is None:
        return {"label": _("First key")}
    key: dict[str, Any] = first.payload["key"]
    bundle = bundle_of(connection.capabilities, key["scopes"])
    return key | {"rights": bundle.name if bundle else SINGLE, "keep": first.payload["keep"]}
