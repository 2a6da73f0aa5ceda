"""Views of one account: its details and history, and the request for a further one."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from customers.accounts.create.base import AccountPart, Start, add_refusal_to_page
from customers.accounts.create.commands import add_account
from customers.accounts.create.profile_form import facts_of
from customers.accounts.create.views import part_context, part_of, say_remarks
from customers.accounts.keys.queries import SecretPlace, keys_page
from customers.accounts.queries import account_details
from customers.bulk import approval as bulk_approval
from customers.bulk import commands as bulk_commands
from customers.connections import catalogue
from customers.directory.forms import AccountForm, NoteForm
from customers.directory.timeline import timeline_of_account
from customers.models import Account, Connection, Customer, Hold, Operation
from customers.models.operation_states import OperationKind, OperationState
from customers.operations import explain
from customers.operations import queries as operation_queries
from customers.operations.commands import AlreadyCorrected
from customers.operations.group import group_of
from customers.operations.view_helpers import renew_token, say_repeated
from customers.schedules.queries import coming_for
from portal.access.models import User
from portal.consistent_reads import consistent_read
from portal.htmx import command_of, go_to, is_fragment, new_token, person
from portal.query_params import uuid_or_none
from portal.refusals import Refusal

CAME_TO_NOTHING = (OperationState.FAILED, OperationState.CANCELLED)


@require_GET
@consistent_read()
def account_detail(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    context = account_head(public_id)
    context |= running_card(context["found"].operation) | {
        "timeline": timeline_of_account(context["account"], asked=request.GET),
        "here": reverse("customers:account-timeline", args=[public_id]),
        "page_url": request.path,
        "note_form": NoteForm(),
        "yours": _secrets_waiting(context["account"], person(request)),
        "coming": coming_for(context["account"], now=timezone.now()),
    }
    if waiting := context["delete_waits"]:
        context["approvers"] = bulk_approval.other_approvers(
            waiting.requested_by, waiting.kind, now=timezone.now()
        ).order_by("name")[:20]
    return render(request, "customers/account.html", context)


def _secrets_waiting(account: Account, viewer: User) -> list[SecretPlace]:
    """Return the secrets of new keys that this user requested and may reveal now."""
    if not account.connection.capabilities.keys:
        return []
    return keys_page(account, viewer=viewer, now=timezone.now())["yours"]


@consistent_read()
def account_head(public_id: uuid.UUID) -> dict[str, Any]:
    """Return the context above the tabs of every account page. Raises `Http404`."""
    found = account_details(public_id)
    account = found.account
    return {
        "found": found,
        "account": account,
        "customer": account.customer,
        "connection": account.connection,
        "hold": Hold.objects.of(account.pk, now=timezone.now()),
        "delete_waits": bulk_commands.waiting_delete(account),
        "failed_headline": explain.title(found.failed) if found.failed else "",
        "failed_story": explain.explanation(found.failed) if found.failed else "",
    }


def running_card(operation: Operation | None) -> dict[str, Any]:
    """Return the context of a running operation's card, which polls later."""
    if operation is None:
        return {"operation": None}
    card = group_of(operation)
    front = card.front
    behind = operation_queries.waits_for(front.operation)
    return {
        "operation": operation,
        "together": card,
        "headline": front.headline,
        "story": front.story,
        "behind": behind if behind and behind.pk not in {part.operation.pk for part in card.parts} else None,
    }


# -- a further account, or a refused one again -------------------------------------------------------------------


class AddAccountPage:
    """The forms of the page "Add account". `failed` is the create that is corrected, None for a new one."""

    def __init__(self, request: HttpRequest, customer: Customer) -> None:
        self.customer = customer
        shows = "show" in request.POST
        self.sent = request.POST if request.method == "POST" and not shows else None
        self.failed = _failed_create(customer, request)
        self.version = _version(request, self.failed)
        self.corrected = False
        self.account = AccountForm(self.sent, initial=self._start(request), needs_account=True)
        self.connection = self.account.chosen_connection
        self.part: AccountPart | None = None
        self.problem = ""
        if self.connection:
            typed = request.POST if shows else None
            start = Start(self.connection, self.sent, typed, customer, failed=self.failed)
            if self.sent is None:
                self.problem = catalogue.refresh_when_old(connection=self.connection, now=timezone.now())
            self.part = part_of(start)

    def _start(self, request: HttpRequest) -> dict[str, Any]:
        asked: Any = request.POST.get("connection") or request.GET.get("connection")
        only = Connection.objects.all()[:2]
        if not asked and self.failed:
            asked = self.failed.connection.public_id
        elif not asked and len(only) == 1:
            asked = only[0].public_id
        # A cleared checkbox is not sent, so the page marks that it had one.
        test = "is_test" in request.POST
        if "is_test_shown" not in request.POST:
            test = test or bool(self.failed and self.failed.payload["is_test"])
        return {"connection": asked, "is_test": test, "client_token": request.POST.get("client_token") or new_token()}

    @property
    def forms(self) -> list[forms.Form]:
        return [*(self.part.forms if self.part else []), self.account]

    def meet(self, refusal: Exception) -> None:
        """Replace the newer create by the next submit, where it corrected the same create and failed or was canceled
        too."""
        if not isinstance(refusal, AlreadyCorrected):
            return
        self.corrected = True
        if refusal.newer.state not in CAME_TO_NOTHING:
            return
        if refusal.newer.state == OperationState.FAILED:
            self.failed = refusal.newer
        if self.failed:
            self.version = Account.objects.get(pk=self.failed.account_id).version

    def are_valid(self) -> bool:
        """Return whether all forms are valid. Every form is checked, so that all errors show at once."""
        return False not in [self.account.is_valid(), self.part.are_valid() if self.part else False]


@require_http_methods(["GET", "POST"])
def account_create(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Request an account of an existing customer. `?from=` starts from a create the provider refused; a POST with
    `show` only shows the part of the chosen connection."""
    customer = get_object_or_404(Customer, public_id=public_id)
    asking = AddAccountPage(request, customer)
    if asking.sent is not None and asking.are_valid() and asking.part:
        values = asking.account.cleaned_data
        try:
            operation = add_account(
                replace(command_of(request, asking.account), retry_of=asking.failed),
                customer=customer,
                take_over=asking.part.takes_over,
                account=asking.part.wanted(facts_of(customer), is_test=values["is_test"]),
                version=asking.version,
            )
        except Refusal as refusal:
            asking.meet(refusal)
            add_refusal_to_page(asking.forms, refusal.field, str(refusal))
            renew_token(asking.account, refusal)
        else:
            say_repeated(request, operation)
            say_remarks(request, asking.part)
            return go_to(request, "customers:account", operation.account.public_id)
    part_alone = is_fragment(request) and asking.sent is None and request.method == "POST"
    template = "customers/_create_account.html" if part_alone else "customers/account_create.html"
    return render(request, template, _asking_context(asking), status=422 if asking.sent is not None else 200)


def _asking_context(asking: AddAccountPage) -> dict[str, Any]:
    return part_context(asking.account, asking.part, asking.problem) | {
        "customer": asking.customer,
        "failed": asking.failed,
        "failed_story": explain.explanation(asking.failed) if asking.failed else "",
        "version": asking.version,
        "corrected": asking.corrected,
        "other_errors": asking.part.other_errors if asking.part else [],
    }


def _failed_create(customer: Customer, request: HttpRequest) -> Operation | None:
    """Return the refused create to be corrected. The page starts from one that failed and whose account does not exist;
    later results are checked by the command, or a second account would be requested instead."""
    wanted = uuid_or_none(request.POST.get("from") or request.GET.get("from", ""))
    if wanted is None:
        return None
    creates = Operation.objects.filter(account__customer=customer, kind=OperationKind.CREATE)
    if request.method == "GET":
        creates = creates.filter(account__provider_id=None, state=OperationState.FAILED)
    return creates.select_related("account", "connection").filter(public_id=wanted).first()


def _version(request: HttpRequest, failed: Operation | None) -> int | None:
    """Return the version of the refused create's account that the form was opened with."""
    sent = request.POST.get("version", "")
    if sent.isascii() and sent.isdigit() and len(sent) < 10:
        return int(sent)
    return failed.account.version if failed else None
