"""Views of the editor of an account's name, website and monthly cap."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from customers.accounts.settings.forms import ChangeSettingsForm, SettingsForm
from customers.connections import scopes
from customers.labels import cap_text
from customers.models import Account, Operation
from customers.models.account import AccountState
from customers.models.operation_states import OperationKind, OperationState
from customers.observed import accounts as observed_accounts
from customers.operations.commands import StaleVersion, UnableToAsk, request_settings
from customers.operations.view_helpers import (
    account_or_404,
    add_refusal,
    open_kind_of,
    open_operation_of,
    renew_token,
    say_repeated,
)
from portal.clock import database_now
from portal.encryption import DecryptionError
from portal.htmx import go_to, new_token, person
from portal.providers import AccountSettings, ProviderError
from portal.query_params import moment_or_none, uuid_or_none

LABELS = {
    "name": gettext_lazy("Name"),
    "website": gettext_lazy("Website"),
    "monthly_cap": gettext_lazy("Monthly cap"),
}


@dataclass(frozen=True)
class SettingsReading:
    """The settings the editor starts from, and how reliable they are."""

    settings: AccountSettings
    at: datetime | None
    problem: str = ""


@dataclass(frozen=True)
class SettingDifference:
    label: str
    saw: str
    now: str
    yours: str


@require_http_methods(["GET", "POST"])
def account_settings(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show the settings as read at the provider (GET). POST requests to change what differs from them."""
    account = account_or_404(public_id)
    if not account.connection.capabilities.settings:
        raise Http404
    if not account.provider_id:
        messages.warning(request, _("The account does not exist at the provider yet."))
        return go_to(request, "customers:account", account.public_id)
    if request.method == "POST":
        return _ask(request, account)
    reading = _read(account)
    if failed := _conflicting(account, request.GET.get("conflict", "")):
        saw, wanted = (AccountSettings(**failed.result[key]) for key in ("base", "wanted"))
        return _conflict_page(request, account, reading, saw=saw, wanted=wanted, reason=failed.reason)
    form = SettingsForm(start=reading.settings)
    return _page(request, account, form, ChangeSettingsForm(initial=_start(account, reading)), reading)


def _ask(request: HttpRequest, account: Account) -> HttpResponse:
    form, change = SettingsForm(request.POST), ChangeSettingsForm(request.POST)
    valid = form.is_valid() & change.is_valid()
    base: AccountSettings | None = change.cleaned_data.get("base")
    if base is None:
        messages.warning(request, _("The page was out of date. Nothing was sent."))
        return go_to(request, "customers:account-settings", account.public_id)
    reading = SettingsReading(base, _read_at(change))
    if not valid or not _cap_is_meant(account, base, form, change):
        return _page(request, account, form, change, reading, status=422)
    values, wanted = change.cleaned_data, form.settings
    try:
        operation = request_settings(
            actor=person(request), account=account, base=asdict(base), version=values["version"],
            changes=_changes(base, wanted), reason=values["reason"], client_token=values["client_token"],
            now=timezone.now(), request=request,
        )  # fmt: skip
    except StaleVersion as stale:
        current = account_or_404(stale.current.public_id)
        return _conflict_page(
            request, current, _read(current), saw=base, wanted=wanted, reason=values["reason"], status=409
        )
    except UnableToAsk as refusal:
        add_refusal(form, refusal)
        renew_token(change, refusal)
        return _page(request, account, form, change, reading, status=422)
    say_repeated(request, operation)
    for remark in form.remarks:
        messages.info(request, remark)
    return go_to(request, "customers:account", account.public_id)


def _changes(base: AccountSettings, wanted: AccountSettings) -> dict[str, Any]:
    before = asdict(base)
    return {name: value for name, value in asdict(wanted).items() if value != before[name]}


def _cap_is_meant(account: Account, base: AccountSettings, form: SettingsForm, change: ChangeSettingsForm) -> bool:
    """Return whether a new cap below the usage was confirmed: the provider's behavior then is not documented."""
    cap = form.settings.monthly_cap
    if cap in (0, base.monthly_cap) or account.usage_used is None or cap >= account.usage_used:
        return True
    if change.cleaned_data["below_use"]:
        return True
    change.add_error("below_use", _("More than that was sent in this period already. Tick this if it is meant."))
    return False


# -- the page ---------------------------------------------------------------------------------------------------


def _conflict_page(
    request: HttpRequest,
    account: Account,
    reading: SettingsReading,
    *,
    saw: AccountSettings,
    wanted: AccountSettings,
    reason: str = "",
    status: int = 200,
) -> HttpResponse:
    """Show the editor with the three values side by side. It continues from the present values, with the user's own
    changes still in the fields."""
    kept = AccountSettings(**(asdict(reading.settings) | _changes(saw, wanted)))
    change = ChangeSettingsForm(initial=_start(account, reading) | {"reason": reason})
    differences = _differences(saw, reading.settings, wanted)
    return _page(request, account, SettingsForm(start=kept), change, reading, differences=differences, status=status)


def _differences(saw: AccountSettings, now: AccountSettings, yours: AccountSettings) -> list[SettingDifference]:
    """Return every setting that changed at the provider, or that the user changed."""
    rows = [(name, getattr(saw, name), getattr(now, name), getattr(yours, name)) for name in LABELS]
    return [
        SettingDifference(str(LABELS[name]), *(cap_text(each) if name == "monthly_cap" else each for each in values))
        for name, *values in rows
        if len(set(values)) > 1
    ]


def _page(
    request: HttpRequest,
    account: Account,
    form: SettingsForm,
    change: ChangeSettingsForm,
    reading: SettingsReading,
    *,
    differences: list[SettingDifference] | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {
        "account": account,
        "customer": account.customer,
        "connection": account.connection,
        "form": form,
        "change": change,
        "reading": reading,
        "cap_now": cap_text(reading.settings.monthly_cap),
        "differences": differences,
        "blocked": _why_not(account),
        "waits_behind": open_kind_of(account),
    }
    return render(request, "customers/settings.html", context, status=status)


def _why_not(account: Account) -> str:
    """Return why a request is pointless; the request itself checks again."""
    if scope := scopes.missing_scope(account.connection, OperationKind.SETTINGS):
        return scopes.missing_text(account.connection, scope)
    if same := open_operation_of(account, kind__in=(OperationKind.SETTINGS, OperationKind.DELETE)):
        return _("%(kind)s is under way already: %(code)s.") % {"kind": same.get_kind_display(), "code": same.code}
    if account.state == AccountState.DELETED:
        return _("The account is deleted. Nothing can be changed any more.")
    return ""


def _read(account: Account) -> SettingsReading:
    """Read the settings at the provider; when that fails, return the last ones stored and why."""
    now = database_now()
    kept = AccountSettings(**(account.settings if account.settings is not None else account.desired_settings))
    if account.state == AccountState.DELETED:
        return SettingsReading(kept, account.settings_read_at)
    if account.connection.paused:
        problem = _("%(name)s is paused.") % {"name": account.connection.name}
        return SettingsReading(kept, account.settings_read_at, problem)
    try:
        observed_accounts.read_account(account=account, now=now)
    except (ProviderError, DecryptionError) as error:
        return SettingsReading(kept, account.settings_read_at, str(error))
    account.refresh_from_db()
    return SettingsReading(AccountSettings(**(account.settings or {})), account.settings_read_at)


def _start(account: Account, reading: SettingsReading) -> dict[str, Any]:
    return {
        "base": reading.settings, "version": account.version, "client_token": new_token(),
        "read_at": reading.at.isoformat() if reading.at else "",
    }  # fmt: skip


def _read_at(change: ChangeSettingsForm) -> datetime | None:
    return moment_or_none(change.cleaned_data.get("read_at", ""))


def _conflicting(account: Account, text: str) -> Operation | None:
    """Return the operation of this account that `?conflict=` names, if it did end as a conflict."""
    wanted = uuid_or_none(text)
    ended = account.operations.filter(kind=OperationKind.SETTINGS, state=OperationState.FAILED, error_kind="conflict")
    return ended.filter(public_id=wanted).first() if wanted else None
