"""Views of operations: the list, one of them with its evidence, and the actions on it."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from customers.connections import catalogue
from customers.labels import cap_text
from customers.models import Operation
from customers.models.operation_states import PERMISSION_OF_KIND, WAITS_FOR_A_PERSON, OperationKind, OperationState
from customers.operations import commands, explain, queries, resolve
from customers.operations.forms import DecideForm, choices_of
from customers.operations.group import OperationPart, group_of
from customers.operations.kinds.table import kind_of
from customers.operations.view_helpers import refusals_on, refusals_told, say_repeated
from portal.access import reauth
from portal.access.models import User
from portal.audit.overtaken import last_decision, overtaken_decision
from portal.commands import Command
from portal.consistent_reads import consistent_read
from portal.htmx import command_of, go_to, is_fragment, new_token, person, render_page, rows_asked


@require_GET
def operation_list(request: HttpRequest) -> HttpResponse:
    if "rows" in request.GET:
        return _moving(request)
    found = queries.operations_page(request.GET.dict())
    return render_page(
        request, "customers/operations.html", {"found": found, "page": found["page"]}, filters=found["filters"]
    )


def _moving(request: HttpRequest) -> HttpResponse:
    """Render rows of the list that still changed when they were shown; the list polls until all have ended."""
    wanted, part = rows_asked(request)
    rows = queries.operation_rows(wanted)
    context = {"rows": rows, "moving": queries.moving_operations(rows), "part": part}
    return render(request, "customers/_moving_operations.html", context)


@require_GET
@consistent_read()
def operation_progress(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Render the card with the steps. It polls automatically, and notifies the page once when an operation ended."""
    operation = queries.operation_or_404(public_id)
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
@consistent_read()
def operation_detail(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show one operation. With `news`, tell an open page that it changed: beside its form, else by loading it again."""
    operation = queries.operation_or_404(public_id)
    if is_fragment(request) and "news" in request.GET:
        if request.GET["news"] == "page":
            return go_to(request, "customers:operation", public_id)
        return render(request, "customers/_operation_news.html", {"operation": operation})
    return _page(request, operation, DecideForm(operation))


@require_POST
def operation_cancel(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    operation = queries.operation_or_404(public_id)
    with refusals_told(request):
        commands.cancel_operation(command_of(request), operation=operation)
        messages.success(request, _("Canceled. Nothing was sent."))
    if request.POST.get("back") == "account":
        return go_to(request, "customers:account", operation.account.public_id)
    return go_to(request, "customers:operation", operation.public_id)


@require_POST
def operation_retry(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Request a failed operation again, as a new one. Changes of keys need a recent password, as on their page."""
    operation = queries.operation_or_404(public_id)
    if kind_of(operation).is_about_keys and (asked := reauth.confirm_first(request, 10)):
        return asked
    with refusals_told(request):
        operation = commands.retry_operation(command_of(request), operation=operation)
        say_repeated(request, operation)
    return go_to(request, "customers:operation", operation.public_id)


@require_POST
def operation_decide(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Resolve an operation manually. The input is shown again when it is refused, or when another user was first."""
    operation = queries.operation_or_404(public_id)
    guarded = operation.kind == OperationKind.DELETE or kind_of(operation).is_about_keys
    repeats = guarded and request.POST.get("choice") == "try_again"
    if repeats and (asked := reauth.confirm_first(request, 10)):  # as for requesting it
        return asked
    form = DecideForm(operation, request.POST)
    if not _is_late(operation, request) and form.is_valid():
        with refusals_on(form):
            _decide(command_of(request, form), operation, form.cleaned_data)
            return go_to(request, "customers:operation", operation.public_id)
    operation = queries.operation_or_404(public_id)
    if _is_late(operation, request):
        overtaken = overtaken_decision(form, operation, seen=request.POST.get("seen", ""))
        return _page(request, operation, form, status=409, overtaken=overtaken)
    return _page(request, operation, form, status=422)


def _is_late(operation: Operation, request: HttpRequest) -> bool:
    """Return whether somebody decided since the form was opened, also where the operation waits again. A page from
    before the last upgrade doesn't say what it was opened with."""
    seen = request.POST.get("seen")
    return operation.state not in WAITS_FOR_A_PERSON or seen not in (None, last_decision(operation))


def _decide(command: Command, operation: Operation, values: dict[str, Any]) -> None:
    match values["choice"]:
        case "link":
            link = {name: values[name] for name in ("provider_id", "although_different")}
            resolve.resolve_link(command, operation=operation, **link)
        case "send_again" | "stop" as choice:
            resolve.resolve_not_created(command, operation=operation, send_again=choice == "send_again")
        case "try_again":
            resolve.resolve_retry(command, operation=operation)
        case "give_up":
            resolve.resolve_failed(command, operation=operation)


def _page(
    request: HttpRequest, operation: Operation, form: DecideForm, *, status: int = 200, **more: Any
) -> HttpResponse:
    may = person(request).may(PERMISSION_OF_KIND[operation.kind])
    choices = choices_of(operation) if may else ()
    attempts = list(operation.attempts.all())
    context = _card(operation) | {
        "customer": operation.account.customer,
        "attempts": attempts,
        "last_attempt": attempts[-1] if attempts else None,
        "offerings": _labelled(operation.payload.get("offerings", [])),
        "profile": operation.payload.get("profile", {}),
        "form": form,
        "choices": choices,
        "candidates": queries.candidates_of(operation) if operation.state in WAITS_FOR_A_PERSON else [],
        "others_left": queries.others_left(operation),
        "looks": queries.looks_at_the_list(operation),
        "waits_for_a_person": operation.state in WAITS_FOR_A_PERSON,
        "may_act": may,
        "can_retry": _can_retry(operation),
        "retries": list(operation.retries.all()),
        "followers": list(operation.followers.all()),
        "failed_parts": _failed_besides(operation, person(request)),
        "settings": _settings_asked(operation),
        "client_token": new_token(),
        "bare": True,  # the page itself shows the requester and the status
        "seen": last_decision(operation) if choices else "",
        **more,
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
    may = {each: user.may(PERMISSION_OF_KIND[each]) for each in OperationKind}
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
