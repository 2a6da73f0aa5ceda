"""Views of the offerings editor, and the choice of offerings in the form of a new account."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from customers.accounts.offerings.forms import OfferingsChangeForm, OfferingsForm, rebase
from customers.connections import catalogue
from customers.connections.client import client_for
from customers.models import Account, Connection, Operation
from customers.models.account import as_offerings
from customers.models.operation_states import OperationState
from customers.observed import accounts as observed_accounts
from customers.operations.commands import StaleVersion, UnableToAsk, request_offerings
from customers.operations.view_helpers import account_or_404, add_refusal, open_kind_of, renew_token, say_repeated
from portal.clock import database_now
from portal.encryption import DecryptionError
from portal.htmx import go_to, is_fragment, new_token, person
from portal.providers import ProviderError, ProviderOffering
from portal.query_params import moment_or_none, uuid_or_none

# After a slow reading the catalog is not read as well: a page waits ten seconds for a provider, not twenty.
QUICK_SECONDS = 2.0


@dataclass(frozen=True)
class OfferingsReading:
    """The list the editor starts from, and how reliable it is."""

    offerings: list[ProviderOffering]
    at: datetime | None
    problem: str = ""
    catalogue_problem: str = ""


@dataclass(frozen=True)
class OfferingDifference:
    label: str
    name: str
    saw: int
    now: int
    yours: int


@require_http_methods(["GET", "POST"])
def offerings_edit(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show the list as read at the provider (GET). POST requests to replace it, or shows what changed meanwhile."""
    account = account_or_404(public_id)
    if not account.provider_id:
        messages.warning(request, _("The account does not exist at the provider yet."))
        return go_to(request, "customers:account", account.public_id)
    if request.method == "POST":
        return _ask(request, account)
    reading = _read(account)
    if failed := _conflicting(account, request.GET.get("conflict", "")):
        saw, wanted = (as_offerings(failed.result[key]) for key in ("base", "wanted"))
        return _conflict_page(request, account, reading, saw=saw, wanted=wanted, failed=failed)
    change = OfferingsChangeForm(initial=_start(account, reading))
    form = OfferingsForm(account.connection, None, reading.offerings, used=account.usage_used)
    return _page(request, account, form, change, reading=reading)


@require_http_methods(["GET", "POST"])
def offerings_changes(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show the differences of the choice: the right column for htmx, the whole editor without it. Sends nothing."""
    account = account_or_404(public_id)
    change = OfferingsChangeForm(request.POST)
    base = _base_of(change)
    if request.method == "GET" or base is None:
        return go_to(request, "customers:account-offerings", account.public_id)
    form = OfferingsForm(account.connection, request.POST, base, used=account.usage_used)
    if request.POST.get("settle") in ("merge", "mine"):
        return _settled(request, account, change, form)
    unticked = OfferingsChangeForm(initial={**_typed(change), "base": base})
    if is_fragment(request):
        context = _context(account, form, unticked) | {"oob": True}
        return render(request, "customers/_offering_changes.html", context)
    return _page(request, account, form, unticked, reading=OfferingsReading(base, _read_at(change)))


@require_http_methods(["GET"])
def offering_choices(request: HttpRequest) -> HttpResponse:
    """Show packages, add-ons and their sum, for the form of a new account (`?connection=`)."""
    wanted = uuid_or_none(request.GET.get("connection", ""))
    connection = Connection.objects.filter(public_id=wanted).first() if wanted else None
    if connection is None:
        return render(request, "customers/_offering_choices.html", {"connection": None})
    problem = catalogue.refresh_when_old(connection=connection, now=timezone.now())
    chosen = "package" in request.GET or any(name.startswith("addon-") for name in request.GET)
    form = OfferingsForm(connection, request.GET if chosen else None)
    if "package" not in request.GET:
        form.errors.pop("package", None)
    context = {"connection": connection, "offerings_form": form, "catalogue_problem": problem}
    return render(request, "customers/_offering_choices.html", context)


# -- requests --------------------------------------------------------------------------------------------------


def _ask(request: HttpRequest, account: Account) -> HttpResponse:
    change = OfferingsChangeForm(request.POST)
    base = _base_of(change)
    if base is None:
        messages.warning(request, _("The page was out of date. Nothing was sent."))
        return go_to(request, "customers:account-offerings", account.public_id)
    form = OfferingsForm(account.connection, request.POST, base, used=account.usage_used)
    if not (form.is_valid() & change.is_valid()):
        return _page(request, account, form, change, reading=OfferingsReading(base, _read_at(change)), status=422)
    values = change.cleaned_data
    try:
        operation = request_offerings(
            actor=person(request), account=account, base=base, version=values["version"], offerings=form.chosen(),
            reason=values["reason"], client_token=values["client_token"], now=timezone.now(), request=request,
        )  # fmt: skip
    except StaleVersion as stale:
        current = account_or_404(stale.current.public_id)
        return _conflict_page(
            request, current, _read(current), saw=base, wanted=form.chosen(), reason=values["reason"], status=409
        )
    except UnableToAsk as refusal:
        add_refusal(form, refusal)
        renew_token(change, refusal)
        return _page(request, account, form, change, reading=OfferingsReading(base, _read_at(change)), status=422)
    say_repeated(request, operation)
    return go_to(request, "customers:account", account.public_id)


def _settled(request: HttpRequest, account: Account, change: OfferingsChangeForm, form: OfferingsForm) -> HttpResponse:
    """Continue from the list as it is now, after the user decided about a list that changed meanwhile."""
    saw = _saw(request)
    reading = OfferingsReading(form.now_list(), _read_at(change))
    wanted = form.chosen()
    if request.POST["settle"] == "merge" and saw is not None:
        wanted = rebase(saw, reading.offerings, wanted)
    start = _start(account, reading) | {"reason": request.POST.get("reason", "")[:500]}
    settled = OfferingsForm(account.connection, None, reading.offerings, used=account.usage_used, start=wanted)
    return _page(request, account, settled, OfferingsChangeForm(initial=start), reading=reading)


def _conflict_page(
    request: HttpRequest,
    account: Account,
    reading: OfferingsReading,
    *,
    saw: list[ProviderOffering],
    wanted: list[ProviderOffering],
    failed: Operation | None = None,
    reason: str = "",
    status: int = 200,
) -> HttpResponse:
    """Show the editor with the three lists side by side; nothing can be sent until the user has resolved it."""
    form = OfferingsForm(account.connection, None, reading.offerings, used=account.usage_used, start=wanted)
    start = _start(account, reading) | {"reason": reason or (failed.reason if failed else "")}
    conflict = {
        "differences": _differences(saw, reading.offerings, wanted),
        "saw": OfferingsChangeForm(initial={"base": saw})["base"].value(),
        "failed": failed,
        "saw_at": failed.created_at if failed else None,
    }
    return _page(
        request, account, form, OfferingsChangeForm(initial=start), reading=reading, conflict=conflict, status=status
    )


# -- the page ---------------------------------------------------------------------------------------------------


def _page(
    request: HttpRequest,
    account: Account,
    form: OfferingsForm,
    change: OfferingsChangeForm,
    *,
    reading: OfferingsReading,
    conflict: dict[str, Any] | None = None,
    status: int = 200,
) -> HttpResponse:
    context = _context(account, form, change) | {
        "reading": reading,
        "conflict": conflict,
        "waits_behind": open_kind_of(account),
    }
    return render(request, "customers/offerings.html", context, status=status)


def _context(account: Account, form: OfferingsForm, change: OfferingsChangeForm) -> dict[str, Any]:
    chosen = form.chosen()
    return {
        "account": account,
        "customer": account.customer,
        "connection": account.connection,
        "form": form,
        "change": change,
        "chosen": [(each, catalogue.offering_label(each.name)) for each in chosen],
        "changes": catalogue.compare(
            account.connection, form.now_list(), chosen, used=account.usage_used, catalogue=form.catalogue
        ),
    }


def _read(account: Account) -> OfferingsReading:
    """Read the list at the provider; when that fails, return the last one stored and why."""
    now, started = database_now(), time.monotonic()
    kept = account.offerings if account.offerings is not None else account.desired_offerings
    if account.connection.paused:
        problem = _("%(name)s is paused.") % {"name": account.connection.name}
        return OfferingsReading(as_offerings(kept), account.offerings_read_at, problem)
    try:
        found = client_for(account.connection, interactive=True).offerings(account.ref)
    except (ProviderError, DecryptionError) as error:
        return OfferingsReading(as_offerings(kept), account.offerings_read_at, str(error))
    observed_accounts.record_offerings(account_id=account.pk, offerings=found, now=now)
    account.refresh_from_db(fields=["offerings", "offerings_read_at"])  # a later reading stays
    quick = time.monotonic() - started < QUICK_SECONDS
    problem = catalogue.refresh_when_old(connection=account.connection, now=now) if quick else ""
    return OfferingsReading(as_offerings(account.offerings or []), account.offerings_read_at, catalogue_problem=problem)


def _start(account: Account, reading: OfferingsReading) -> dict[str, Any]:
    return {
        "base": reading.offerings, "version": account.version, "client_token": new_token(),
        "read_at": reading.at.isoformat() if reading.at else "",
    }  # fmt: skip


def _typed(change: OfferingsChangeForm) -> dict[str, Any]:
    """Return the form's values as sent, to be shown again, without the confirmation: it applies to one list only."""
    return {name: change[name].value() for name in ("version", "client_token", "reason", "read_at")}


def _base_of(change: OfferingsChangeForm) -> list[ProviderOffering] | None:
    change.is_valid()
    found: list[ProviderOffering] | None = change.cleaned_data.get("base")
    return found


def _read_at(change: OfferingsChangeForm) -> datetime | None:
    change.is_valid()
    return moment_or_none(change.cleaned_data.get("read_at", ""))


def _saw(request: HttpRequest) -> list[ProviderOffering] | None:
    return _base_of(OfferingsChangeForm({"base": request.POST.get("saw", "")}))


def _conflicting(account: Account, text: str) -> Operation | None:
    """Return the operation of this account that `?conflict=` names, if it did end as a conflict."""
    public_id = uuid_or_none(text)
    failed = account.operations.filter(state=OperationState.FAILED, error_kind="conflict")
    return failed.filter(public_id=public_id).first() if public_id else None


def _differences(
    saw: list[ProviderOffering], now: list[ProviderOffering], yours: list[ProviderOffering]
) -> list[OfferingDifference]:
    """Return the lines that changed at the provider since the user saw them."""
    was, has, wants = ({each.name: each.quantity for each in found} for found in (saw, now, yours))
    names = [each.name for each in sorted({*saw, *now}, key=lambda each: (each.type != "package", each.name))]
    return [
        OfferingDifference(catalogue.offering_label(name), name, was.get(name, 0), has.get(name, 0), wants.get(name, 0))
        for name in dict.fromkeys(names)
        if was.get(name, 0) != has.get(name, 0)
    ]
