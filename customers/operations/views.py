"""Views of operations: the list, one of them with its evidence, and the actions on it."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from customers.connections import catalogue
from customers.labels import cap_text
from customers.models import Operation
from customers.models.operation_states import ROUTE_OF_KIND, WAITS_FOR_A_PERSON, OperationKind, OperationState
from customers.operations import commands, explain, queries, resolve
from customers.operations.commands import UnableToAsk
from customers.operations.forms import DecideForm, choices_of, may_exist
from customers.operations.group import OperationPart, group_of
from customers.operations.kinds.table import kind_of
from customers.operations.view_helpers import say_repeated
from portal.access import reauth
from portal.access.models import User
from portal.access.permissions import allowed
from portal.htmx import go_to, is_fragment, new_token, person, token_of


@require_GET
def operation_list(request: HttpRequest) -> HttpResponse:
    found = queries.operations_page(request.GET.dict())
    template = "customers/_operations.html" if is_fragment(request) else "customers/operations.html"
    return render(request, template, {"found": found, "page": found.page})


@require_GET
def operation_row(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Render one row of the list. It polls by itself until the operation has ended."""
    return render(request, "customers/_operation_row.html", {"operation": _operation_or_404(public_id)})


@require_GET
def operation_progress(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Render the card with the steps. It polls by itself, and notifies the page once when an operation ended."""
    operation = _operation_or_404(public_id)
    card = _card(operation) | {"bare": "bare" in request.GET}
    response = render(request, "customers/_operation_progress.html", card)
    if is_fragment(request) and (news := _news(card["together"].changed_since(request.GET.get("was", "")))):
        response["HX-Trigger"] = news
    return response


def _news(changed: list[Operation]) -> str:
    """Return the event that notifies the page of changed operations; "" where the card alone is enough."""
    if any(operation.is_final for operation in changed):
        return "operation-ended"
    return "operation-stuck" if any(operation.needs_a_person for operation in changed) else ""


@require_GET
def operation_detail(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    operation = _operation_or_404(public_id)
    return _page(request, operation, DecideForm(operation))


@require_POST
def operation_cancel(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    operation = _operation_or_404(public_id)
    try:
        commands.cancel_operation(actor=person(request), operation=operation, now=timezone.now(), request=request)
    except UnableToAsk as refusal:
        messages.warning(request, str(refusal))
    else:
        messages.success(request, _("Cancelled. Nothing was sent."))
    if request.POST.get("back") == "account":
        return go_to(request, "customers:account", operation.account.public_id)
    return go_to(request, "customers:operation", operation.public_id)


@require_POST
def operation_retry(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Request a failed operation again, as a new one. Changes of keys need a recent password, as on their page."""
    operation = _operation_or_404(public_id)
    if kind_of(operation).is_about_keys and not reauth.recent_sign_in(request, 10):
        return reauth.ask_again(request, reverse("customers:operation", args=[operation.public_id]))
    try:
        again = commands.retry_operation(
            actor=person(request), operation=operation, client_token=token_of(request), now=timezone.now(),
            request=request,
        )  # fmt: skip
    except UnableToAsk as refusal:
        messages.warning(request, str(refusal))
        return go_to(request, "customers:operation", operation.public_id)
    say_repeated(request, again)
    return go_to(request, "customers:operation", again.public_id)


@require_POST
def operation_decide(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Resolve an operation manually. The input is shown again when it is refused."""
    operation = _operation_or_404(public_id)
    deletes = operation.kind == OperationKind.DELETE and request.POST.get("choice") == "try_again"
    if deletes and not reauth.recent_sign_in(request, 10):  # as for requesting it
        return reauth.ask_again(request, reverse("customers:operation", args=[operation.public_id]))
    form = DecideForm(operation, request.POST)
    if form.is_valid():
        try:
            _decide(request, operation, form.cleaned_data)
        except UnableToAsk as refusal:
            form.add_error(refusal.field if refusal.field in form.fields else None, str(refusal))
        else:
            return go_to(request, "customers:operation", operation.public_id)
    return _page(request, _operation_or_404(public_id), form, status=422)


def _decide(request: HttpRequest, operation: Operation, values: dict[str, Any]) -> None:
    common: dict[str, Any] = {
        "actor": person(request),
        "operation": operation,
        "reason": values["reason"],
        "now": timezone.now(),
        "request": request,
    }
    match values["choice"]:
        case "link":
            resolve.resolve_link(
                provider_id=values["provider_id"], although_different=values["although_different"], **common
            )
        case "send_again":
            resolve.resolve_not_created(send_again=True, **common)
        case "stop":
            resolve.resolve_not_created(send_again=False, **common)
        case "try_again":
            resolve.resolve_retry(**common)
        case "give_up":
            resolve.resolve_failed(**common)


def _page(request: HttpRequest, operation: Operation, form: DecideForm, *, status: int = 200) -> HttpResponse:
    may = allowed(person(request).role, ROUTE_OF_KIND[OperationKind(operation.kind)], "POST")
    attempts = list(operation.attempts.all())
    context = _card(operation) | {
        "customer": operation.account.customer,
        "attempts": attempts,
        "last_attempt": attempts[-1] if attempts else None,
        "offerings": _labelled(operation.payload.get("offerings", [])),
        "profile": operation.payload.get("profile", {}),
        "form": form,
        "choices": choices_of(operation) if may else (),
        "candidates": queries.candidates_of(operation) if operation.state in WAITS_FOR_A_PERSON else [],
        "looks": queries.looks_at_the_list(operation),
        "waits_for_a_person": operation.state in WAITS_FOR_A_PERSON,
        "may_exist": may_exist(operation),
        "may_act": may,
        "can_retry": _can_retry(operation),
        "retries": list(operation.retries.all()),
        "followers": list(operation.followers.all()),
        "failed_parts": _failed_besides(operation, person(request)),
        "settings": _settings_asked(operation),
        "client_token": new_token(),
        "bare": True,  # the page itself shows the requester and the status
    }
    return render(request, "customers/operation.html", context, status=status)


def _card(operation: Operation) -> dict[str, Any]:
    return {
        "operation": operation,
        "account": operation.account,
        "connection": operation.connection,
        "headline": explain.title(operation),
        "story": explain.explanation(operation),
        "together": group_of(operation),
        "running": not operation.is_final,
        "behind": queries.waits_for(operation),
    }


def _failed_besides(operation: Operation, user: User) -> list[tuple[OperationPart, bool]]:
    """Return what was requested together with a finished operation and failed alone, and whether it can be retried
    alone."""
    if operation.state != OperationState.SUCCEEDED:
        return []
    failed = [part for part in group_of(operation).parts if part.operation.state == OperationState.FAILED]
    may = {each: allowed(user.role, ROUTE_OF_KIND[each], "POST") for each in OperationKind}
    return [(part, may[OperationKind(part.operation.kind)] and _can_retry(part.operation)) for part in failed]


def _settings_asked(operation: Operation) -> dict[str, Any] | None:
    """Return name, website and cap of a create, or the values that a change of settings requested, in words."""
    asked = operation.payload.get("changes") if operation.kind == OperationKind.SETTINGS else None
    asked = asked or operation.payload.get("settings")
    return asked and {**asked, "cap": cap_text(asked.get("monthly_cap"))}


def _can_retry(operation: Operation) -> bool:
    """Return whether it can be sent again unchanged: a refusal by field is corrected instead, a conflict redone, a
    delete requested again."""
    elsewhere = operation.error_kind == "conflict" or kind_of(operation).retry is None or bool(operation.field_errors)
    return operation.state == OperationState.FAILED and not elsewhere and not operation.retries.exists()


def _labelled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"label": catalogue.offering_label(row["name"])} for row in rows]


def _operation_or_404(public_id: uuid.UUID) -> Operation:
    operation = queries.operation_of(public_id)
    if operation is None:
        raise Http404
    return operation
