"""Views of an account's API keys: the list, and requests to create, change, rotate or delete one."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from customers.accounts.keys import queries
from customers.accounts.keys.forms import WHY_DELETE_KEY, KeyEditForm, KeyForm, KeyRequestForm, RotateForm
from customers.accounts.keys.queries import ABOUT_KEYS
from customers.accounts.views import account_head, running_card
from customers.connections.scopes import why_no_read, why_no_scope
from customers.forms import ReasonForm
from customers.models import Account
from customers.models.operation_states import OperationKind
from customers.observed import accounts as observed_accounts
from customers.operations import explain
from customers.operations.commands import request_key_create, request_key_delete, request_key_update
from customers.operations.queries import is_fresh, last_failed
from customers.operations.request import why_blocked
from customers.operations.view_helpers import account_or_404, open_kind_of, problem_of, try_request
from portal.access.reauth import reauthenticated
from portal.clock import database_now
from portal.edits import EditConflict
from portal.htmx import go_to, is_fragment, person, render_page
from portal.providers import NewKey

# A page that is opened again within this time shows the last reading.
FRESH = timedelta(seconds=15)


@require_GET
def key_list(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show the stored list at once; the page then requests `?live=1`, which reads at the provider first."""
    now = database_now()
    account = account_or_404(public_id)
    problem, due = _why_unread(account), False
    if (
        not problem
        and _may_be_read(account)
        and not is_fresh(account, account.keys_read_at, *ABOUT_KEYS, since=now - FRESH)
    ):
        due = "live" not in request.GET
        problem = "" if due else problem_of(lambda: observed_accounts.read_keys(account=account, now=now))
    context = account_head(public_id)
    account, failed = context["account"], last_failed(account, *ABOUT_KEYS)
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
    return render_page(request, "customers/keys/list.html", context)


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=10)
def key_create(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    account = _with_keys_or_404(public_id)
    form = KeyRequestForm(account.connection, request.POST or None)
    if request.method == "POST" and form.is_valid():
        asked = {"account": account, "new": form.new_key, "keep": form.keeps}
        if try_request(request, form, request_key_create, **asked):
            _say_rewritten(request, form)
            return go_to(request, "customers:account-keys", account.public_id)
    context = {"title": _("New API key"), "button": _("Create key"), "form": form}
    return _form_page(request, account, context, blocked=why_blocked(account, OperationKind.KEY_CREATE, None))


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=10)
def key_edit(request: HttpRequest, public_id: uuid.UUID, key_id: str) -> HttpResponse:
    """Edit a key. Sends only what the user changed, and what differs from the key as it was last read."""
    account = _with_keys_or_404(public_id)
    line = queries.key_or_404(account, key_id, viewer=person(request))
    form = KeyEditForm(account.connection, request.POST or None, key=line.key)
    changes = None
    if request.method == "POST" and form.is_valid():
        try:
            changes = form.edits(line.key)
        except EditConflict as conflict:
            form.show(conflict, fresh=KeyEditForm(account.connection, key=line.key))
    if changes and try_request(request, form, request_key_update, account=account, key_id=key_id, changes=changes):
        _say_rewritten(request, form)
        return go_to(request, "customers:account-keys", account.public_id)
    title = _("Edit “%(label)s”") % {"label": line.label}
    context = {"title": title, "button": _("Save changes"), "form": form, "line": line, "unchanged": changes == {}}
    return _form_page(request, account, context, blocked=why_blocked(account, OperationKind.KEY_UPDATE, line.under_way))


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=10)
def key_rotate(request: HttpRequest, public_id: uuid.UUID, key_id: str) -> HttpResponse:
    """Create a key like the old one, which is deleted when the new one exists, or later by hand."""
    account = _with_keys_or_404(public_id)
    line = queries.key_or_404(account, key_id, viewer=person(request))
    form = RotateForm(request.POST or None, connection=account.connection, initial={"keep": line.secret.kept})
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
    return _question(request, account, context, blocked=why_blocked(account, OperationKind.KEY_CREATE, line.under_way))


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=10)
def key_delete(request: HttpRequest, public_id: uuid.UUID, key_id: str) -> HttpResponse:
    account = _with_keys_or_404(public_id)
    line = queries.key_or_404(account, key_id, viewer=person(request))
    form = ReasonForm(request.POST or None, why=WHY_DELETE_KEY)
    valid = request.method == "POST" and form.is_valid()
    if valid and try_request(request, form, request_key_delete, account=account, key_id=key_id):
        return go_to(request, "customers:account-keys", account.public_id)
    context = {
        "deed": "delete",
        "question": _("Delete API key “%(label)s”?") % {"label": line.label},
        "button": _("Delete key"),
        "undo": _("This can't be undone."),
        "form": form,
        "line": line,
    }
    return _question(request, account, context, blocked=why_blocked(account, OperationKind.KEY_DELETE, line.under_way))


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
    return why_no_read(account.connection, "keys")


# -- what is allowed ----------------------------------------------------------------------------------------------


def _blocked(account: Account) -> dict[str, Any]:
    """Return why each action can't be requested ("" = it can), and each sentence once."""
    kinds = {"create": OperationKind.KEY_CREATE, "edit": OperationKind.KEY_UPDATE, "delete": OperationKind.KEY_DELETE}
    texts = {name: why_no_scope(account.connection, kind) for name, kind in kinds.items()}
    return {**texts, "all": [text for text in dict.fromkeys(texts.values()) if text]}


def _with_keys_or_404(public_id: uuid.UUID) -> Account:
    account = account_or_404(public_id)
    if not account.connection.capabilities.keys:
        raise Http404
    return account


# -- requests -----------------------------------------------------------------------------------------------------


def _say_rewritten(request: HttpRequest, form: KeyForm) -> None:
    for typed, kept in form.rewritten():
        messages.info(request, _("%(typed)s was saved as %(kept)s.") % {"typed": typed, "kept": kept})


def _form_page(request: HttpRequest, account: Account, context: dict[str, Any], *, blocked: str) -> HttpResponse:
    status = 409 if getattr(context["form"], "conflicting", False) else _status(request)
    return render(request, "customers/keys/form.html", _around(account, context, blocked), status=status)


def _question(request: HttpRequest, account: Account, context: dict[str, Any], *, blocked: str) -> HttpResponse:
    return render_page(request, "customers/keys/ask.html", _around(account, context, blocked), status=_status(request))


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
