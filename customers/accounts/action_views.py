"""Views of actions on one account: suspend, unsuspend, delete, sign in as it, refresh it, store its username."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST

from customers import forms as customer_forms
from customers.accounts import forms
from customers.accounts.sign_in import SignInRefused, edit_username, sign_in_link, sign_in_targets, why_no_sign_in
from customers.bulk import approval as bulk_approval
from customers.bulk import commands as bulk_commands
from customers.models import Account, ChangeSet, Hold, Operation
from customers.models.operation_states import OperationKind
from customers.observed import accounts as observed_accounts
from customers.operations.commands import request_unsuspend
from customers.operations.queries import last_failed
from customers.operations.request import why_blocked, why_state_is_fixed
from customers.operations.view_helpers import (
    account_or_404,
    open_kind_of,
    open_operation_of,
    problem_of,
    refusals_on,
    say_repeated,
)
from customers.schedules.forms import HeldForm
from portal.access.reauth import reauthenticated
from portal.access.unsent_forms import RESENT
from portal.audit.queries import last_change
from portal.clock import database_now
from portal.edits import EditConflict, status_of
from portal.htmx import SeeOther, command_of, go_to, is_fragment, person, render_page
from portal.security_headers import CONTENT_SECURITY_POLICY

Text = str | Promise


@dataclass(frozen=True)
class AccountAction:
    """One of suspend, unsuspend and delete: its request and its texts."""

    kind: OperationKind
    ask: Callable[..., Operation | ChangeSet]
    consequences: str
    why: list[tuple[str, Any]]
    question: Text
    button: Text
    undo: Text
    turn: Text
    danger: bool = False


SUSPEND = AccountAction(
    OperationKind.SUSPEND,
    bulk_commands.request_account_suspend,
    "suspend_consequences",
    forms.WHY_SUSPEND,
    gettext_lazy("Suspend %(name)s?"),
    gettext_lazy("Suspend account"),
    gettext_lazy("You can unsuspend it at any time."),
    gettext_lazy("In progress: %(kind)s. The account is suspended after that finishes."),
    danger=True,
)
UNSUSPEND = AccountAction(
    OperationKind.UNSUSPEND,
    request_unsuspend,
    "unsuspend_consequences",
    forms.WHY_UNSUSPEND,
    gettext_lazy("Unsuspend %(name)s?"),
    gettext_lazy("Unsuspend account"),
    gettext_lazy("You can suspend it again at any time."),
    gettext_lazy("In progress: %(kind)s. The account is unsuspended after that finishes."),
)
DELETE = AccountAction(
    OperationKind.DELETE,
    bulk_commands.request_account_delete,
    "delete_consequences",
    forms.WHY_DELETE,
    gettext_lazy("Delete the account for %(name)s?"),
    gettext_lazy("Permanently delete account"),
    gettext_lazy("This can't be undone."),
    gettext_lazy("In progress: %(kind)s. The account is deleted after that finishes."),
    danger=True,
)


@require_http_methods(["GET", "POST"])
def account_suspend(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Suspend the account. While a hold is in force, the form shows it and needs a confirmation to override it."""
    account = account_or_404(public_id)
    hold = Hold.objects.of(account.pk, now=timezone.now())
    if hold is None:
        return _do(request, account, SUSPEND)
    facts, past = {"hold": str(hold.public_id)}, {"payload": {"despite_hold": str(hold.public_id)}}
    return _do(request, account, SUSPEND, form_class=HeldForm, facts=facts, asked_with=past, hold=hold)


@require_http_methods(["GET", "POST"])
def account_unsuspend(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    return _do(request, account_or_404(public_id), UNSUSPEND)


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=10)
def account_delete(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Delete the account. `?without_reading=1` counts only when its last delete failed because there was no reading."""
    account = account_or_404(public_id)
    without = "without_reading" in request.GET and _no_reading(account)
    facts = {"company_name": str(account.customer), "without_reading": without}
    return _do(request, account, DELETE, form_class=forms.DeleteForm, facts=facts)


def _do(
    request: HttpRequest,
    account: Account,
    deed: AccountAction,
    *,
    form_class: type[customer_forms.ReasonForm] = customer_forms.ReasonForm,
    facts: dict[str, Any] | None = None,
    asked_with: dict[str, Any] | None = None,
    hold: Hold | None = None,
) -> HttpResponse:
    """Show the form with the consequences, or request the operation; `asked_with` are arguments not in the form."""
    facts = (facts or {}) | {"longest": _longest(account, deed)}
    shown: dict[str, Any] = {"without": bool(facts.get("without_reading")), "hold": hold}
    if request.method == "GET":
        form = form_class(why=deed.why, **facts)
        return _question(request, account, deed, form, **shown)
    form = form_class(request.POST, why=deed.why, **facts)
    if form.is_valid():
        extra = {"without_reading": True} if facts.get("without_reading") else asked_with or {}
        with refusals_on(form):
            asked = deed.ask(command_of(request, form), account=account, **extra)
            say_repeated(request, asked)
            if isinstance(asked, ChangeSet):
                return go_to(request, "customers:bulk", asked.public_id)
            return go_to(request, "customers:account", account.public_id)
    return _question(request, account, deed, form, **shown, status=422)


def _needs_approval(request: HttpRequest, account: Account, deed: AccountAction) -> bool:
    kind = {OperationKind.DELETE: ChangeSet.Kind.DELETE, OperationKind.SUSPEND: ChangeSet.Kind.SUSPEND}.get(deed.kind)
    if kind is None:
        return False
    return bulk_approval.needs_approval(person(request), kind, [account.pk], now=timezone.now())


def _question(
    request: HttpRequest,
    account: Account,
    deed: AccountAction,
    form: customer_forms.ReasonForm,
    *,
    without: bool,
    hold: Hold | None,
    status: int = 200,
) -> HttpResponse:
    name = {"name": str(account.customer)}
    waiting = open_kind_of(account)
    blocked = _why_not(account, deed)
    if any(blocked in errors for errors in form.errors.values()):
        blocked = ""
    context = {
        "account": account,
        "customer": account.customer,
        "connection": account.connection,
        "form": form,
        "deed": deed,
        "hold": hold,
        "question": deed.question % name,
        "consequences": getattr(account.connection.capabilities, deed.consequences),
        "waits": deed.turn % {"kind": waiting} if waiting else "",
        "blocked": blocked,
        "without_reading": without,
        "here": request.get_full_path(),
    }
    if _needs_approval(request, account, deed):
        possible = bulk_approval.other_approvers(person(request), str(deed.kind), now=timezone.now())
        context |= {"needs_approval": True, "approvers": possible.order_by("name")[:20]}
    return render_page(request, "customers/deed.html", context, status=status)


def _why_not(account: Account, deed: AccountAction) -> str:
    """Return why a request is pointless; the operation itself checks again at the provider before anything is sent."""
    waiting = bulk_commands.waiting_delete(account) if deed.kind == OperationKind.DELETE else None
    if waiting:
        return bulk_commands.why_delete_waits(waiting)
    same = open_operation_of(account, kind__in=(deed.kind, OperationKind.DELETE))
    why = why_blocked(account, deed.kind, same)
    return why or ("" if deed.kind == OperationKind.DELETE else why_state_is_fixed(account))


def _longest(account: Account, deed: AccountAction) -> int | None:
    """Return how long a reason may be that the customer sees; None where only staff do."""
    can = account.connection.capabilities
    return can.reason_max if deed.kind == OperationKind.SUSPEND and can.reason_is_shown else None


def _no_reading(account: Account) -> bool:
    failed = last_failed(account, OperationKind.DELETE)
    return failed is not None and failed.error_kind == "no_reading"


# -- signing in as the account ---------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=60)
def account_sign_in_as(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show the reason form (GET). POST is a plain form in a new tab: it redirects to the provider's one-time URL."""
    account = account_or_404(public_id)
    if request.method == "GET":
        form = customer_forms.ReasonForm(why=forms.WHY_SIGN_IN)
        return _sign_in_page(request, account, form)
    form = customer_forms.ReasonForm(request.POST, why=forms.WHY_SIGN_IN)
    if not form.is_valid() or RESENT in request.POST:  # a page that shows a form again may not lead to a provider
        return _sign_in_page(request, account, form, status=422)
    try:
        link = sign_in_link(command_of(request, form), account=account)
    except SignInRefused as refusal:
        status = 502 if refusal.at_provider else 429 if refusal.too_often else 422
        return _sign_in_page(request, account, form, refusal=str(refusal), status=status)
    response = SeeOther(link.url)
    response["Referrer-Policy"] = "no-referrer"
    response["Cache-Control"] = "no-store"
    return response


def _sign_in_page(
    request: HttpRequest, account: Account, form: customer_forms.ReasonForm, *, refusal: str = "", status: int = 200
) -> HttpResponse:
    context = {
        "account": account,
        "customer": account.customer,
        "connection": account.connection,
        "form": form,
        "blocked": why_no_sign_in(account),
        "refusal": refusal,
    }
    response = render(request, "customers/sign_in_as.html", context, status=status)
    # Chromium applies this list to the redirect after a form, so this page alone names where the link may lead.
    allowed = " ".join(["form-action 'self'", *sign_in_targets(account)])
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY.replace("form-action 'self'", allowed)
    return response


# -- small things ----------------------------------------------------------------------------------------------


@require_POST
def account_refresh(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Read everything about the account at the provider now."""
    account = account_or_404(public_id)
    provider = {"provider": account.provider_label}
    if not account.provider_id:
        messages.warning(request, _("The account doesn't exist at %(provider)s yet.") % provider)
        return go_to(request, "customers:account", account.public_id)
    problem = problem_of(lambda: observed_accounts.read_account(account=account, now=database_now()))
    if problem:
        text = _("Couldn't refresh from %(provider)s. %(why)s Showing the last known data.")
        messages.error(request, text % (provider | {"why": problem}))
    else:
        messages.success(request, _("Refreshed from %(provider)s.") % provider)
    return go_to(request, "customers:account", account.public_id)


def _save_username(request: HttpRequest, account: Account, form: forms.UsernameForm) -> None:
    changed = form.changed_facts()
    if changed and edit_username(command_of(request), account=account, username=changed["username"], seen=form.seen):
        messages.success(request, _("v2 username saved."))


@require_http_methods(["GET", "POST"])
def account_username(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    account = account_or_404(public_id)
    form = forms.UsernameForm(request.POST or None, initial={"username": account.v2_username})
    if request.method == "POST" and form.is_valid():
        try:
            _save_username(request, account, form)
        except EditConflict as conflict:
            account = account_or_404(public_id)
            fresh = forms.UsernameForm(initial={"username": account.v2_username})
            form.show(conflict, fresh=fresh, last=last_change(account, ["v2_username"]))
        else:
            return go_to(request, "customers:account", account.public_id)
    context = {"account": account, "customer": account.customer, "connection": account.connection, "form": form}
    return render_page(
        request, "customers/username.html", context, status=status_of(form, fragment=is_fragment(request))
    )
