"""Views of an account's API keys: the list, and requests to create, change, rotate or delete one."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from customers.accounts.keys import queries
from customers.accounts.keys.forms import WHY_DELETE_KEY, KeyRequestForm, RotateForm
from customers.accounts.keys.queries import KeyLine
from customers.accounts.views import account_head, running_card
from customers.connections.scopes import missing_read, missing_scope, missing_text
from customers.forms import ReasonForm
from customers.models import Account
from customers.models.operation_states import OperationKind
from customers.observed import accounts as observed_accounts
from customers.operations import explain
from customers.operations.commands import request_key_create, request_key_delete, request_key_update
from customers.operations.view_helpers import account_or_404, open_kind_of, try_request
from portal.access.reauth import reauthenticated
from portal.clock import database_now
from portal.encryption import DecryptionError
from portal.htmx import go_to, is_fragment, new_token, person
from portal.providers import NewKey, ProviderError

# A page that is opened again within this time shows the last reading.
FRESH = timedelta(seconds=15)


@require_GET
def key_list(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show the stored list at once; the page then requests `?live=1`, which reads at the provider first."""
    now = database_now()
    account = account_or_404(public_id)
    problem, due = _why_unread(account), False
    if not problem and _may_be_read(account) and not queries.keys_are_fresh(account, since=now - FRESH):
        due = "live" not in request.GET
        problem = "" if due else _read(account, now)
    context = account_head(public_id)
    account, failed = context["account"], queries.last_failed_key_operation(context["account"])
    context |= running_card(context["found"].operation) | {
        "page": queries.keys_page(account, viewer=person(request), now=now),
        "supported": account.connection.capabilities.keys,
        "due": due,
        "problem": problem,
        "blocked": _blocked(account),
        "failed": failed,
        "failed_story": explain.explanation(failed) if failed else "",
        "oob": is_fragment(request),
    }
    template = "customers/keys/_list.html" if is_fragment(request) else "customers/keys/list.html"
    return render(request, template, context)


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=10, keep_typed=True)
def key_create(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    account = _with_keys_or_404(public_id)
    form = KeyRequestForm(account.connection, request.POST or None, initial={"client_token": new_token()})
    if request.method == "POST" and form.is_valid():
        asked = {"account": account, "new": form.new_key, "keep": form.keeps}
        if try_request(request, form, request_key_create, **asked):
            _say_rewritten(request, form)
            return go_to(request, "customers:account-keys", account.public_id)
    context = {"title": _("New API key"), "button": _("Create key"), "form": form}
    return _form_page(request, account, context, blocked=_why_not(account, OperationKind.KEY_CREATE))


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=10, keep_typed=True)
def key_edit(request: HttpRequest, public_id: uuid.UUID, key_id: str) -> HttpResponse:
    """Edit a key. Sends only what differs from the key as it was last read."""
    account = _with_keys_or_404(public_id)
    line = _line_or_404(request, account, key_id)
    start = {"client_token": new_token()}
    form = KeyRequestForm(account.connection, request.POST or None, key=line.key, initial=start)
    changes = form.changes(line.key) if request.method == "POST" and form.is_valid() else None
    if changes and try_request(request, form, request_key_update, account=account, key_id=key_id, changes=changes):
        _say_rewritten(request, form)
        return go_to(request, "customers:account-keys", account.public_id)
    title = _("Edit “%(label)s”") % {"label": line.label}
    context = {"title": title, "button": _("Save changes"), "form": form, "line": line, "unchanged": changes == {}}
    return _form_page(request, account, context, blocked=_why_not(account, OperationKind.KEY_UPDATE, line))


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=10, keep_typed=True)
def key_rotate(request: HttpRequest, public_id: uuid.UUID, key_id: str) -> HttpResponse:
    """Create a key like the old one, which is deleted when the new one exists, or later by hand."""
    account = _with_keys_or_404(public_id)
    line = _line_or_404(request, account, key_id)
    start = {"client_token": new_token(), "keep": line.secret.kept}
    form = RotateForm(request.POST or None, connection=account.connection, initial=start)
    if request.method == "POST" and form.is_valid():
        new = NewKey(line.label, tuple(line.key.scopes), tuple(line.key.ip_allow_list))
        replaces = key_id if form.deletes_old else ""
        asked = {"account": account, "new": new, "keep": form.keeps, "replaces": replaces}
        if try_request(request, form, request_key_create, **asked):
            return go_to(request, "customers:account-keys", account.public_id)
    context = {
        "deed": "rotate",
        "question": _("Rotate “%(label)s”?") % {"label": line.label},
        "button": _("Rotate key"),
        "undo": _("Both keys work until the old one is deleted."),
        "form": form,
        "line": line,
    }
    return _question(request, account, context, blocked=_why_not(account, OperationKind.KEY_CREATE, line))


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=10, keep_typed=True)
def key_delete(request: HttpRequest, public_id: uuid.UUID, key_id: str) -> HttpResponse:
    account = _with_keys_or_404(public_id)
    line = _line_or_404(request, account, key_id)
    form = ReasonForm(request.POST or None, why=WHY_DELETE_KEY, initial={"client_token": new_token()})
    if request.method == "POST" and form.is_valid():
        asked = {"account": account, "key_id": key_id, "reason": form.whole_reason()}
        if try_request(request, form, request_key_delete, **asked):
            return go_to(request, "customers:account-keys", account.public_id)
    context = {
        "deed": "delete",
        "question": _("Delete the key “%(label)s”?") % {"label": line.label},
        "button": _("Delete key"),
        "undo": _("This can't be undone."),
        "form": form,
        "line": line,
    }
    return _question(request, account, context, blocked=_why_not(account, OperationKind.KEY_DELETE, line))


# -- reading ----------------------------------------------------------------------------------------------------


def _may_be_read(account: Account) -> bool:
    exists = bool(account.provider_id) and account.state != "deleted"
    return exists and account.connection.capabilities.keys


def _why_unread(account: Account) -> str:
    """Return why the provider is not called."""
    if not _may_be_read(account):
        return ""
    if account.connection.paused:
        return _("%(name)s is paused.") % {"name": account.connection.name}
    scope = missing_read(account.connection, "keys")
    return missing_text(account.connection, scope) if scope else ""


def _read(account: Account, now: datetime) -> str:
    """Read the list at the provider; return why that failed, or ""."""
    try:
        observed_accounts.read_keys(account=account, now=now)
    except (ProviderError, DecryptionError) as error:
        return str(error)
    return ""


# -- what is allowed ----------------------------------------------------------------------------------------------


def _why_not(account: Account, kind: OperationKind, line: KeyLine | None = None) -> str:
    """Return why a request is pointless; the operation itself checks again before anything is sent."""
    if not account.provider_id:
        return _("The account does not exist at %(provider)s yet.") % {"provider": account.provider_label}
    if account.state == "deleted":
        return _("The account is deleted. Nothing can be changed any more.")
    if line and line.under_way:
        shown = {"kind": line.under_way.get_kind_display(), "code": line.under_way.code}
        return _("%(kind)s is under way already: %(code)s.") % shown
    scope = missing_scope(account.connection, kind)
    return missing_text(account.connection, scope) if scope else ""


def _blocked(account: Account) -> dict[str, Any]:
    """Return why each action can't be requested ("" = it can), and each sentence once."""
    kinds = {"create": OperationKind.KEY_CREATE, "edit": OperationKind.KEY_UPDATE, "delete": OperationKind.KEY_DELETE}
    scopes = {name: missing_scope(account.connection, kind) for name, kind in kinds.items()}
    texts = {name: missing_text(account.connection, scope) if scope else "" for name, scope in scopes.items()}
    return {**texts, "all": [text for text in dict.fromkeys(texts.values()) if text]}


def _with_keys_or_404(public_id: uuid.UUID) -> Account:
    account = account_or_404(public_id)
    if not account.connection.capabilities.keys:
        raise Http404
    return account


def _line_or_404(request: HttpRequest, account: Account, key_id: str) -> KeyLine:
    line = queries.key_line(account, key_id, viewer=person(request), now=timezone.now())
    if line is None:
        raise Http404
    return line


# -- requests -----------------------------------------------------------------------------------------------------


def _say_rewritten(request: HttpRequest, form: KeyRequestForm) -> None:
    for typed, kept in form.rewritten():
        messages.info(request, _("%(typed)s is taken as %(kept)s.") % {"typed": typed, "kept": kept})


def _form_page(request: HttpRequest, account: Account, context: dict[str, Any], *, blocked: str) -> HttpResponse:
    return render(request, "customers/keys/form.html", _around(account, context, blocked), status=_status(request))


def _question(request: HttpRequest, account: Account, context: dict[str, Any], *, blocked: str) -> HttpResponse:
    template = "customers/keys/_ask.html" if is_fragment(request) else "customers/keys/ask.html"
    return render(request, template, _around(account, context, blocked), status=_status(request))


def _around(account: Account, context: dict[str, Any], blocked: str) -> dict[str, Any]:
    return context | {
        "account": account,
        "customer": account.customer,
        "connection": account.connection,
        "blocked": blocked,
        "waits": open_kind_of(account),
    }


def _status(request: HttpRequest) -> int:
    return 422 if request.method == "POST" else 200
