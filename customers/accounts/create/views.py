"""Views that add a customer, with its first account or without: one form, one transaction."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from customers.accounts.create.base import AccountPart, Start, add_refusal_to_page
from customers.accounts.create.commands import AccountRequest, open_customer
from customers.accounts.create.providers import PARTS
from customers.connections import catalogue
from customers.connections.scopes import why_no_scope
from customers.directory.commands import public_id_of
from customers.directory.forms import AccountForm, CustomerForm, DuplicatesForm
from customers.directory.queries import lookalikes
from customers.forms import zones
from customers.models import Connection, Customer
from customers.models.operation_states import OperationKind
from customers.operations.view_helpers import renew_token, say_repeated
from portal.htmx import command_of, go_to, person, render_page
from portal.query_params import line, uuid_or_none
from portal.refusals import Refusal


@dataclass
class CreatePage:
    """The forms of the page and their context. `part` is that of the kind of provider."""

    customer: CustomerForm
    account: AccountForm
    part: AccountPart | None
    seen: DuplicatesForm
    problem: str = ""

    @property
    def forms(self) -> list[Form]:
        return [*(self.part.forms if self.part else []), self.account, self.customer]

    def are_valid(self) -> bool:
        """Return whether all forms are valid. Every form is checked, so that all errors show at once."""
        part = self.part.are_valid() if self.part else True
        return False not in [self.customer.is_valid(), self.account.is_valid(), part]

    def new_account(self) -> AccountRequest | None:
        if self.part is None:
            return None
        return self.part.wanted(self.customer.cleaned_data, is_test=self.account.cleaned_data["is_test"])


@require_http_methods(["GET", "POST"])
def customer_create(request: HttpRequest) -> HttpResponse:
    """Show the form (GET) or add the customer (POST); with `show`, only show the part of the chosen connection."""
    if request.method == "GET":
        return render(request, "customers/create.html", _context(_unsent(request)))
    if "show" in request.POST:
        return render_page(
            request, "customers/create.html", _context(_typed_so_far(request)), part="customers/_create_account.html"
        )
    return _add(request)


def _add(request: HttpRequest) -> HttpResponse:
    opening = _sent(request)
    valid = opening.are_valid()
    found = _lookalikes(request, besides=opening.customer.besides)
    if valid and opening.seen.agrees_to(found):
        try:
            customer, operation = open_customer(
                command_of(request, opening.account), facts=opening.customer.cleaned_data, account=opening.new_account()
            )
        except Refusal as refusal:
            add_refusal_to_page(opening.forms, refusal.field, str(refusal))
            renew_token(opening.account, refusal)
        else:
            say_repeated(request, customer, code=operation.code if operation else "")
            if operation and opening.part:
                say_remarks(request, opening.part)
                return go_to(request, "customers:account", operation.account.public_id)
            return go_to(request, "customers:detail", customer.public_id)
    return render(request, "customers/create.html", _context(opening) | _duplicates(found, asked=True), status=422)


def say_remarks(request: HttpRequest, part: AccountPart) -> None:
    for remark in part.remarks:
        messages.info(request, remark)


@require_GET
def customer_duplicates(request: HttpRequest) -> HttpResponse:
    """Show customers similar to the one being typed, before the form is sent."""
    return render(request, "customers/_duplicates.html", _duplicates(_lookalikes(request), asked=False))


def _lookalikes(request: HttpRequest, besides: uuid.UUID | None = None) -> list[Customer]:
    typed = request.POST if request.method == "POST" else request.GET
    return lookalikes(
        email=line(typed.get("email", "")), company_name=line(typed.get("company_name", "")), besides=besides
    )


def _duplicates(found: list[Customer], *, asked: bool) -> dict[str, Any]:
    return {"duplicates": found, "fingerprint": DuplicatesForm.fingerprint(found), "must_tick": asked and bool(found)}


def _unsent(request: HttpRequest) -> CreatePage:
    """Return the empty form. The connection is the one in the URL, else the only one."""
    connections = list(Connection.objects.all()[:2])
    wanted = uuid_or_none(request.GET.get("connection", ""))
    asked = Connection.objects.filter(public_id=wanted).first() if wanted else None
    connection = asked or (connections[0] if len(connections) == 1 and "connection" not in request.GET else None)
    account = AccountForm(initial={"connection": connection.public_id if connection else None})
    form = CustomerForm(initial={"owner": person(request).public_id})
    return _shown(form, account, Start(connection) if connection else None)


def _typed_so_far(request: HttpRequest) -> CreatePage:
    typed = request.POST.dict()
    account = AccountForm(initial=typed)
    connection = account.chosen_connection
    start = Start(connection, typed=request.POST, facts=typed) if connection else None
    return _shown(CustomerForm(initial=typed), account, start)


def _shown(form: CustomerForm, account: AccountForm, start: Start | None) -> CreatePage:
    """Return the page with the present catalog."""
    if start is None:
        return CreatePage(form, account, None, DuplicatesForm())
    problem = catalogue.refresh_when_old(connection=start.connection, now=timezone.now())
    return CreatePage(form, account, part_of(start), DuplicatesForm(), problem)


def _sent(request: HttpRequest) -> CreatePage:
    account = AccountForm(request.POST)
    connection = account.chosen_connection
    part = part_of(Start(connection, sent=request.POST, facts=request.POST.dict())) if connection else None
    # The customer this very form added a moment ago, on a double click, is not a duplicate.
    itself = public_id_of(actor=person(request), client_token=request.POST.get("client_token", "")[:64])
    return CreatePage(CustomerForm(request.POST, besides=itself), account, part, DuplicatesForm(request.POST))


def part_of(start: Start) -> AccountPart:
    """Return the part of the connection's kind of provider."""
    return PARTS[start.connection.kind](start)


def _context(opening: CreatePage) -> dict[str, Any]:
    return (
        part_context(opening.account, opening.part, opening.problem)
        | {
            "form": opening.customer,
            "zones": zones(),
            "any_connection": Connection.objects.exists(),
        }
        | _duplicates([], asked=False)
    )


def part_context(account: AccountForm, part: AccountPart | None, problem: str) -> dict[str, Any]:
    """Return the context of `_create_account.html`."""
    connection = account.chosen_connection
    context = {
        "account_form": account,
        "connection": connection,
        "part": part,
        "catalogue_problem": problem,
        "blocked": why_no_scope(connection, OperationKind.CREATE) if connection else "",
    }
    return context | (part.context() if part else {})
