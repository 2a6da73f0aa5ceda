"""Views of the sending setup: the domains of an account, their DNS records, and a test message.

Reads and the DNS check happen in the request, within ten seconds; every change is an operation.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from django import forms as django_forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from customers.accounts.keys.queries import kept_key
from customers.accounts.sending import queries
from customers.accounts.sending.checks import check_dns, message_status, read_domains
from customers.accounts.sending.forms import DomainForm, TestMessageForm
from customers.accounts.sending.queries import DomainLine
from customers.accounts.views import account_head, running_card
from customers.models import Account, Operation
from customers.models.operation_states import OperationKind, OperationState
from customers.operations import explain
from customers.operations.commands import request_domain, request_test_message
from customers.operations.queries import is_fresh, last_failed
from customers.operations.view_helpers import account_or_404, open_kind_of, problem_of, try_request
from portal.clock import database_now
from portal.downloads import plain_text, recorded_download
from portal.htmx import command_of, go_to, is_fragment, person, render_page
from portal.refusals import Refusal

# A page that is opened again within this time shows the last reading.
FRESH = timedelta(seconds=15)
# How long the page polls for an accepted message; later the user has to refresh.
FOLLOWED = timedelta(minutes=1)


@require_GET
def sending_setup(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show the stored domains at once; the page then requests `?live=1`, which reads at the provider first."""
    now = database_now()
    account = account_or_404(public_id)
    lack, due, problem = queries.missing_for_sending(account), False, ""
    read_at = queries.read_at(account)
    if not lack and account.connection.paused:
        problem = _("%(name)s is paused.") % {"name": account.connection.name}
    elif not lack and not is_fresh(account, read_at, OperationKind.DOMAIN_ADD, since=now - FRESH):
        due = "live" not in request.GET
        problem = "" if due else problem_of(lambda: read_domains(account=account, now=now))
        read_at = read_at if due or problem else now
    context = account_head(public_id)
    account, failed = context["account"], last_failed(account, OperationKind.DOMAIN_ADD)
    context |= running_card(context["found"].operation) | {
        "page": queries.sending_page(account),
        "read_at": read_at,
        "kept": kept_key(account),
        "lack": lack,
        "due": due,
        "problem": problem,
        "failed": failed,
        "failed_story": explain.explanation(failed) if failed else "",
        "oob": is_fragment(request),
    }
    return render_page(request, "customers/sending/list.html", context)


@require_http_methods(["GET", "POST"])
def domain_add(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    account = account_or_404(public_id)
    form = DomainForm(request.POST or None)
    valid = request.method == "POST" and form.is_valid()
    if valid and try_request(request, form, request_domain, account=account, name=form.cleaned_data["name"]):
        for remark in form.remarks:
            messages.info(request, remark)
        return go_to(request, "customers:account-sending", account.public_id)
    context = {
        "question": _("Add sending domain"),
        "button": _("Add domain"),
        "undo": _(
            "The customer then adds the domain's DNS records. No email is sent from the domain until they are verified."
        ),
        "back": reverse("customers:account-sending", args=[account.public_id]),
    }
    return _question(request, account, form, context)


@require_GET
def domain_detail(request: HttpRequest, public_id: uuid.UUID, name: str) -> HttpResponseBase:
    """Show a domain's records and test messages. `?download=txt` is the email to the customer as a file."""
    account = account_or_404(public_id)
    line = queries.domain_or_404(account, name)
    subject, text = queries.letter(line)
    if "download" in request.GET:
        content = plain_text(text)
        return recorded_download(
            request, f"dns-{line.domain.name}.txt", content, verb="domain.records_downloaded", obj=account
        )
    context = _domain_context(account, line) | _messages(account, line, ask="status" in request.GET)
    if is_fragment(request):
        return render(request, "customers/sending/_messages.html", context)
    context |= {"letter_text": text, "mailto": _mailto(account.customer.email, subject, text)}
    return render(request, "customers/sending/domain.html", context)


@require_POST
def domain_check(request: HttpRequest, public_id: uuid.UUID, name: str) -> HttpResponse:
    """Have the provider check the records now, and report which are missing."""
    account = account_or_404(public_id)
    queries.domain_or_404(account, name)
    command = command_of(request, now=database_now())
    problem = problem_of(lambda: check_dns(command, account=account, name=name))
    if not is_fragment(request):
        if problem:
            messages.warning(request, _("Couldn't check DNS. %(why)s") % {"why": problem})
        return go_to(request, "customers:domain", account.public_id, name)
    line = queries.domain_or_404(account, name)
    context = _domain_context(account, line) | _messages(account, line, ask=False)
    context |= {"problem": problem, "checked": not problem, "oob": True}
    return render(request, "customers/sending/_records.html", context)


@require_http_methods(["GET", "POST"])
def test_message(request: HttpRequest, public_id: uuid.UUID, name: str) -> HttpResponse:
    account = account_or_404(public_id)
    line = queries.domain_or_404(account, name)
    start = {"sender": f"test@{name}", "recipient": person(request).email}
    form = TestMessageForm(request.POST or None, domain=name, initial=start)
    if request.method == "POST" and form.is_valid():
        asked = {name: form.cleaned_data[name] for name in ("sender", "recipient")}
        if try_request(request, form, request_test_message, account=account, **asked):
            return go_to(request, "customers:domain", account.public_id, name)
    context = {
        "question": _("Send a test message from %(domain)s") % {"domain": name},
        "button": _("Send test message"),
        "undo": _("Sends one short message, which counts toward the account's usage."),
        "back": reverse("customers:domain", args=[account.public_id, name]),
        "domain": name,
        "blocked": "" if line.domain.valid else _("A required DNS record is missing. Check DNS first."),
    }
    return _question(request, account, form, context)


# -- reading ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tried:
    """A test message, with its status at the provider where that was requested."""

    operation: Operation
    status: str = ""
    problem: str = ""


def _messages(account: Account, line: DomainLine, *, ask: bool) -> dict[str, Any]:
    """Return the latest test messages. Only the newest one's status is read: one call in a request."""
    tried = [Tried(each) for each in queries.test_messages(account, line.domain.name)]
    newest = tried[0].operation if tried else None
    taken = newest is not None and newest.state == OperationState.SUCCEEDED
    may_ask = taken and not queries.missing_for_sending(account)
    if newest and may_ask and ask:
        tried[0] = _with_status(account, newest)
    finished = newest.finished_at if newest else None
    follows = bool(newest) and (finished is None or (may_ask and timezone.now() - finished < FOLLOWED))
    return {
        "tried": tried,
        "follows": follows,
        "asks": may_ask and not ask and not follows,
        "may_ask": may_ask,
    }


def _with_status(account: Account, operation: Operation) -> Tried:
    try:
        reading = message_status(
            account=account, message_id=str(operation.result.get("message_id", "")), now=timezone.now()
        )
    except Refusal as why:
        return Tried(operation, problem=str(why))
    return Tried(operation, reading.status)


# -- the pages ----------------------------------------------------------------------------------------------------


def _domain_context(account: Account, line: DomainLine) -> dict[str, Any]:
    return {
        "account": account,
        "customer": account.customer,
        "connection": account.connection,
        "line": line,
        "lack": queries.missing_for_sending(account),
    }


def _mailto(email: str, subject: str, text: str) -> str:
    body = quote(text.replace("\n", "\r\n"))  # RFC 6068: a line break in a body is CRLF
    return f"mailto:{quote(email, safe='@')}?subject={quote(subject)}&body={body}"


def _question(request: HttpRequest, account: Account, form: django_forms.Form, context: dict[str, Any]) -> HttpResponse:
    context |= {
        "account": account,
        "customer": account.customer,
        "connection": account.connection,
        "form": form,
        "lack": queries.missing_for_sending(account),
        "waits": open_kind_of(account),
    }
    return render_page(request, "customers/sending/ask.html", context, status=422 if request.method == "POST" else 200)
