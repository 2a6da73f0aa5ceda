"""Adding a customer, with its first account or without: one form, one transaction."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from customers import catalogue
from customers.forms.customers import AccountForm, CustomerForm, DuplicatesForm
from customers.forms.fields import zones
from customers.forms.offerings import OfferingsForm, new_token
from customers.forms.profiles import profile_of
from customers.models import Connection, Customer
from customers.operations import UnableToAsk
from customers.people import NewAccount, UnableToChange, open_customer, public_id_of
from customers.queries.customers import lookalikes
from customers.views.common import go_to, is_fragment, person


@dataclass
class Opening:
    """The forms of the page, and what of it is known besides."""

    customer: CustomerForm
    account: AccountForm
    offerings: OfferingsForm | None
    seen: DuplicatesForm

    @property
    def connection(self) -> Connection | None:
        return self.account.chosen_connection

    def are_valid(self) -> bool:
        """Every form is asked, so that all errors show at once."""
        return False not in [form.is_valid() for form in (self.customer, self.account, self.offerings) if form]

    def new_account(self) -> NewAccount | None:
        if self.offerings is None or self.connection is None:
            return None
        return NewAccount(
            connection=self.connection,
            profile=profile_of(self.customer.cleaned_data),
            offerings=self.offerings.chosen(),
            is_test=self.account.cleaned_data["is_test"],
        )

    def refuse(self, refusal: UnableToAsk | UnableToChange) -> None:
        """Put a refusal beside the field it names."""
        for form in (self.customer, self.account, self.offerings):
            if form and refusal.field in form.fields:
                form.add_error(refusal.field, str(refusal))
                return
        self.customer.add_error(None, str(refusal))


@require_http_methods(["GET", "POST"])
def customer_create(request: HttpRequest) -> HttpResponse:
    """GET shows the form; with `part=account` only what depends on the connection. POST adds the customer."""
    if request.method == "GET":
        opening = _unsent(request)
        if request.GET.get("part") == "account" and is_fragment(request):
            return render(request, "customers/_create_account.html", _context(opening))
        return render(request, "customers/create.html", _context(opening))
    if "show" in request.POST:  # no script: show the packages of the connection that was chosen
        return render(request, "customers/create.html", _context(_typed_so_far(request)))
    return _add(request)


def _add(request: HttpRequest) -> HttpResponse:
    opening = _sent(request)
    valid = opening.are_valid()
    found = _lookalikes(request, besides=opening.customer.besides)
    if valid and opening.seen.agrees_to(found):
        try:
            customer, operation = open_customer(
                actor=person(request), facts=opening.customer.cleaned_data, account=opening.new_account(),
                client_token=opening.account.cleaned_data["client_token"], now=timezone.now(), request=request,
            )  # fmt: skip
        except (UnableToAsk, UnableToChange) as refusal:
            opening.refuse(refusal)
        else:
            if operation:
                return go_to(request, "customers:account", operation.account.public_id)
            return go_to(request, "customers:detail", customer.public_id)
    return render(request, "customers/create.html", _context(opening) | _duplicates(found, asked=True), status=422)


@require_GET
def customer_duplicates(request: HttpRequest) -> HttpResponse:
    """Customers like the one being typed, for a look before the form is sent."""
    return render(request, "customers/_duplicates.html", _duplicates(_lookalikes(request), asked=False))


def _lookalikes(request: HttpRequest, besides: uuid.UUID | None = None) -> list[Customer]:
    typed = request.POST if request.method == "POST" else request.GET
    return lookalikes(
        email=typed.get("email", "")[:254], company_name=typed.get("company_name", "")[:200], besides=besides
    )


def _duplicates(found: list[Customer], *, asked: bool) -> dict[str, Any]:
    return {"duplicates": found, "fingerprint": DuplicatesForm.fingerprint(found), "must_tick": asked and bool(found)}


def _unsent(request: HttpRequest) -> Opening:
    """The empty form. The connection is the one in the address, else the only one there is."""
    connections = list(Connection.objects.all()[:2])
    wanted = _uuid(request.GET.get("connection", ""))
    asked = Connection.objects.filter(public_id=wanted).first() if wanted else None
    connection = asked or (connections[0] if len(connections) == 1 and "connection" not in request.GET else None)
    account = AccountForm(
        initial={"connection": connection.public_id if connection else None, "client_token": new_token()}
    )
    start = {"owner": person(request).public_id}
    offerings = OfferingsForm(connection) if connection else None
    return Opening(CustomerForm(initial=start), account, offerings, DuplicatesForm())


def _typed_so_far(request: HttpRequest) -> Opening:
    typed = request.POST.dict()
    account = AccountForm(initial=typed)
    offerings = OfferingsForm(account.chosen_connection) if account.chosen_connection else None
    return Opening(CustomerForm(initial=typed), account, offerings, DuplicatesForm())


def _sent(request: HttpRequest) -> Opening:
    account = AccountForm(request.POST)
    connection = account.chosen_connection
    offerings = OfferingsForm(connection, request.POST) if connection else None
    # The customer this very form made a moment ago, on a double click, is not a duplicate.
    itself = public_id_of(actor=person(request), client_token=request.POST.get("client_token", "")[:64])
    return Opening(CustomerForm(request.POST, besides=itself), account, offerings, DuplicatesForm(request.POST))


def _context(opening: Opening) -> dict[str, Any]:
    connection = opening.connection
    problem = ""
    if connection and not opening.account.is_bound:
        problem = catalogue.refresh_when_old(connection=connection, now=timezone.now())
        opening.offerings = OfferingsForm(connection)  # from the catalogue as it is now
    return {
        "form": opening.customer,
        "account_form": opening.account,
        "offerings_form": opening.offerings,
        "connection": connection,
        "catalogue_problem": problem,
        "zones": zones(),
        "any_connection": Connection.objects.exists(),
    } | _duplicates([], asked=False)


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
