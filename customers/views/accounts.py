"""One account: what it has and what happens to it, and asking for a further one."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET, require_http_methods

from customers import catalogue, telling
from customers.forms.customers import AccountForm, NoteForm
from customers.forms.fields import zones
from customers.forms.offerings import OfferingsForm, new_token
from customers.forms.profiles import PROFILE_FORMS, add_provider_errors, profile_of_customer
from customers.forms.sendgrid import ProfileForm
from customers.models import Account, Connection, Customer, Operation
from customers.models.account import as_offerings
from customers.operations import UnableToAsk
from customers.people import NewAccount, UnableToChange, add_account
from customers.queries import operations as operation_queries
from customers.queries.accounts import AccountPage, account_page
from customers.queries.timeline import timeline_of_account
from customers.states import OperationKind, OperationState
from customers.views.common import go_to, is_fragment, person


@require_GET
def account_detail(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    context = account_head(public_id)
    show, before = request.GET.get("show", ""), request.GET.get("before", "")
    context |= running_card(context["found"].operation) | {
        "timeline": timeline_of_account(context["account"], show=show, before=before),
        "here": reverse("customers:account-timeline", args=[public_id]),
        "page_url": request.path,
        "note_form": NoteForm(),
    }
    return render(request, "customers/account.html", context)


def _page_or_404(public_id: uuid.UUID) -> AccountPage:
    try:
        return account_page(public_id)
    except Account.DoesNotExist:
        raise Http404 from None


def account_head(public_id: uuid.UUID) -> dict[str, Any]:
    """What every page of an account shows above its tabs. Raises `Http404`."""
    found = _page_or_404(public_id)
    account = found.account
    return {
        "found": found,
        "account": account,
        "customer": account.customer,
        "connection": account.connection,
        "failed_headline": telling.headline_of(found.failed) if found.failed else "",
        "failed_story": telling.story_of(found.failed) if found.failed else "",
    }


def running_card(operation: Operation | None) -> dict[str, Any]:
    """What the card of a running operation shows; later it reads itself again."""
    if operation is None:
        return {"operation": None}
    return {
        "operation": operation,
        "headline": telling.headline_of(operation),
        "story": telling.story_of(operation),
        "step_lines": telling.steps_of(operation),
        "behind": operation_queries.waits_for(operation),
        "running": True,
    }


# -- a further account, or a refused one again -------------------------------------------------------------------


class Asking:
    """The forms of the page "Add account". `failed` is the create that is corrected, None for a new one."""

    def __init__(self, request: HttpRequest, customer: Customer) -> None:
        self.customer = customer
        self.typed = request.POST if request.method == "POST" and "show" not in request.POST else None
        self.failed = _failed_create(customer, request.POST.get("from") or request.GET.get("from", ""))
        self.account = AccountForm(self.typed, initial=self._start(request), needs_account=True)
        self.connection = self.account.chosen_connection
        # What the provider said that belongs to no field.
        self.other_errors: list[str] = []
        self.profile = self._profile_form(request)
        self.offerings: OfferingsForm | None = None
        self.problem = ""
        if self.connection:
            self._offer(self.connection)
        self.take_over = TakeOverForm(self.typed, initial={"take_over": self.failed is not None})

    def _start(self, request: HttpRequest) -> dict[str, Any]:
        asked: Any = request.POST.get("connection") or request.GET.get("connection")
        only = Connection.objects.all()[:2]
        if not asked and self.failed:
            asked = self.failed.connection.public_id
        elif not asked and len(only) == 1:
            asked = only[0].public_id
        test = bool(self.failed and self.failed.payload["is_test"])
        return {"connection": asked, "is_test": test, "client_token": new_token()}

    def _profile_form(self, request: HttpRequest) -> ProfileForm:
        form_class = PROFILE_FORMS[self.connection.kind] if self.connection else ProfileForm
        if self.typed is not None:
            return form_class(self.typed)
        if self.failed is None:
            start = profile_of_customer(self.customer)
            return form_class(initial=request.POST.dict() or vars(start))
        form = form_class(self.failed.payload["profile"])
        self.other_errors = add_provider_errors(form, self.failed.field_errors)
        return form

    def _offer(self, connection: Connection) -> None:
        if self.typed is not None:
            self.offerings = OfferingsForm(connection, self.typed)
            return
        self.problem = catalogue.refresh_when_old(connection=connection, now=timezone.now())
        before = as_offerings(self.failed.payload["offerings"]) if self.failed else []
        self.offerings = OfferingsForm(connection, start=before)

    def are_valid(self) -> bool:
        """Every form is asked, so that all errors show at once."""
        asked = [self.account, self.profile, self.take_over, self.offerings]
        return False not in [form.is_valid() for form in asked if form]

    def refuse(self, refusal: UnableToAsk | UnableToChange) -> None:
        for form in (self.profile, self.account, self.offerings):
            if form and refusal.field in form.fields:
                form.add_error(refusal.field, str(refusal))
                return
        self.account.add_error(None, str(refusal))


class TakeOverForm(forms.Form):
    take_over = forms.BooleanField(label=_("Keep what I type here on the customer too"), required=False)


@require_http_methods(["GET", "POST"])
def account_create(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Ask for an account of a customer that is here already. `?from=` starts from a create the provider refused."""
    customer = get_object_or_404(Customer, public_id=public_id)
    asking = Asking(request, customer)
    if asking.typed is not None and asking.are_valid() and asking.offerings and asking.connection:
        values = asking.account.cleaned_data
        wanted = NewAccount(asking.connection, asking.profile.profile, asking.offerings.chosen(), values["is_test"])
        try:
            operation = add_account(
                actor=person(request), customer=customer, account=wanted, corrects=asking.failed,
                take_over=asking.take_over.cleaned_data["take_over"], client_token=values["client_token"],
                now=timezone.now(), request=request,
            )  # fmt: skip
        except (UnableToAsk, UnableToChange) as refusal:
            asking.refuse(refusal)
        else:
            return go_to(request, "customers:account", operation.account.public_id)
    template = "customers/account_create.html"
    if request.GET.get("part") == "account" and is_fragment(request):
        template = "customers/_create_account.html"
    return render(request, template, _asking_context(asking), status=422 if asking.typed is not None else 200)


def _asking_context(asking: Asking) -> dict[str, Any]:
    return {
        "customer": asking.customer,
        "form": asking.profile,
        "account_form": asking.account,
        "offerings_form": asking.offerings,
        "connection": asking.connection,
        "catalogue_problem": asking.problem,
        "failed": asking.failed,
        "other_errors": asking.other_errors,
        "take_over_form": asking.take_over,
        "zones": zones(),
    }


def _failed_create(customer: Customer, public_id: str) -> Operation | None:
    """The refused create to be corrected: only one that failed, whose account still does not exist."""
    try:
        wanted = uuid.UUID(public_id)
    except ValueError:
        return None
    return (
        Operation.objects.select_related("account", "connection")
        .filter(
            public_id=wanted, account__customer=customer, account__provider_id=None, kind=OperationKind.CREATE,
            state=OperationState.FAILED,
        )
        .first()
    )  # fmt: skip
