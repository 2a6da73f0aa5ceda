"""Views of actions on one account: suspend, unsuspend, delete, sign in as it, refresh it, note its user name."""

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
from customers.accounts.sign_in import UnableToSignIn, edit_username, sign_in_link, sign_in_targets, why_no_sign_in
from customers.bulk import commands as bulk_commands
from customers.connections import scopes
from customers.models import Account, ChangeSet, Hold, Operation
from customers.models.operation_states import OperationKind, OperationState
from customers.observed import accounts as observed_accounts
from customers.operations.commands import UnableToAsk, request_delete, request_suspend, request_unsuspend
from customers.operations.view_helpers import account_or_404, add_refusal, open_kind_of, open_operation_of, say_repeated
from customers.schedules import holds
from customers.schedules.forms import HeldForm
from portal.access.reauth import reauthenticated
from portal.audit.queries import last_change
from portal.clock import database_now
from portal.edits import EditConflict, status_of
from portal.encryption import DecryptionError
from portal.htmx import SeeOther, go_to, is_fragment, new_token, person
from portal.middleware import CONTENT_SECURITY_POLICY
from portal.providers import ProviderError, ReportedState

Text = str | Promise


@dataclass(frozen=True)
class AccountAction:
    """One of suspend, unsuspend and delete: its request and its texts."""

    kind: OperationKind
    ask: Callable[..., Operation]
    consequences: str
    why: list[tuple[str, Any]]
    question: Text
    button: Text
    undo: Text
    turn: Text
    danger: bool = False


SUSPEND = AccountAction(
    OperationKind.SUSPEND,
    request_suspend,
    "suspend_consequences",
    forms.WHY_SUSPEND,
    gettext_lazy("Suspend %(name)s?"),
    gettext_lazy("Suspend account"),
    gettext_lazy("It can be unsuspended any time."),
    gettext_lazy("%(kind)s is under way. The suspend starts when that ends."),
    danger=True,
)
UNSUSPEND = AccountAction(
    OperationKind.UNSUSPEND,
    request_unsuspend,
    "unsuspend_consequences",
    forms.WHY_UNSUSPEND,
    gettext_lazy("Unsuspend %(name)s?"),
    gettext_lazy("Unsuspend account"),
    gettext_lazy("It can be suspended again any time."),
    gettext_lazy("%(kind)s is under way. The unsuspend starts when that ends."),
)
DELETE = AccountAction(
    OperationKind.DELETE,
    request_delete,
    "delete_consequences",
    forms.WHY_DELETE,
    gettext_lazy("Delete the account of %(name)s?"),
    gettext_lazy("Delete account for good"),
    gettext_lazy("This can't be undone."),
    gettext_lazy("%(kind)s is under way. The delete starts when that ends."),
    danger=True,
)


@require_http_methods(["GET", "POST"])
def account_suspend(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Suspend the account. While a hold is in force, the form shows it and needs a confirmation to override it."""
    account = account_or_404(public_id)
    hold = holds.held([account.pk]).get(account.pk)
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
    facts = {"company_name": account.customer.company_name, "without_reading": without}
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
        form = form_class(why=deed.why, initial={"client_token": new_token()}, **facts)
        return _question(request, account, deed, form, **shown)
    form = form_class(request.POST, why=deed.why, **facts)
    waits_for_second = _waits_for_second(request, deed)
    if form.is_valid():
        extra = {"without_reading": True} if facts.get("without_reading") else asked_with or {}
        try:
            asked: Any = (bulk_commands.request_delete_approval if waits_for_second else deed.ask)(
                actor=person(request), account=account, reason=form.whole_reason(), now=timezone.now(),
                client_token=form.cleaned_data["client_token"], request=request, **extra,
            )  # fmt: skip
        except UnableToAsk as refusal:
            add_refusal(form, refusal)
        else:
            say_repeated(request, asked)
            if waits_for_second:
                return go_to(request, "customers:bulk", asked.public_id)
            return go_to(request, "customers:account", account.public_id)
    return _question(request, account, deed, form, **shown, status=422)


def _waits_for_second(request: HttpRequest, deed: AccountAction) -> bool:
    """Return whether the action is a delete that needs approval: there is another user who may approve it."""
    delete = deed.kind == OperationKind.DELETE
    return delete and bulk_commands.needs_approval(person(request), ChangeSet.Kind.DELETE, 1)


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
    name = {"name": account.customer.company_name}
    waiting = open_kind_of(account)
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
        "blocked": _why_not(account, deed),
        "without_reading": without,
        "here": request.get_full_path(),
    }
    if _waits_for_second(request, deed):
        context["approvers"] = bulk_commands.other_approvers(person(request), ChangeSet.Kind.DELETE).order_by("name")[
            :20
        ]
    template = "customers/_deed.html" if is_fragment(request) else "customers/deed.html"
    return render(request, template, context, status=status)


def _why_not(account: Account, deed: AccountAction) -> str:
    """Return why a request is pointless; the operation itself checks again at the provider before anything is sent."""
    provider = {"provider": account.provider_label}
    if not account.provider_id:
        return _("The account does not exist at %(provider)s yet.") % provider
    if account.state == ReportedState.DELETED:
        return _("The account is deleted already.")
    if same := open_operation_of(account, kind__in=(deed.kind, OperationKind.DELETE)):
        return _("%(kind)s is under way already: %(code)s.") % {"kind": same.get_kind_display(), "code": same.code}
    if scope := scopes.missing_scope(account.connection, deed.kind):
        return scopes.missing_text(account.connection, scope)
    if deed.kind == OperationKind.DELETE:
        return ""
    if ReportedState.STOPPED_BY_US not in account.connection.capabilities.writable_states:
        return _("%(provider)s has no way to suspend an account.") % provider
    if account.state in (ReportedState.STOPPED_BY_PROVIDER, ReportedState.BANNED):
        return _("%(provider)s stopped this account itself. Only %(provider)s can lift that.") % provider
    return ""


def _longest(account: Account, deed: AccountAction) -> int | None:
    """Return how long a reason may be that the customer sees; None where only staff do."""
    can = account.connection.capabilities
    return can.reason_max if deed.kind == OperationKind.SUSPEND and can.reason_is_shown else None


def _no_reading(account: Account) -> bool:
    last = account.operations.filter(kind=OperationKind.DELETE).order_by("-pk").first()
    return last is not None and last.state == OperationState.FAILED and last.error_kind == "no_reading"


# -- signing in as the account ---------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=60)
def account_sign_in_as(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show the reason form (GET). POST is a plain form in a new tab: it redirects to the provider's one-time URL."""
    account = account_or_404(public_id)
    if request.method == "GET":
        form = customer_forms.ReasonForm(why=forms.WHY_SIGN_IN, initial={"client_token": new_token()})
        return _sign_in_page(request, account, form)
    form = customer_forms.ReasonForm(request.POST, why=forms.WHY_SIGN_IN)
    if not form.is_valid():
        return _sign_in_page(request, account, form, status=422)
    try:
        link = sign_in_link(
            actor=person(request), account=account, reason=form.whole_reason(), now=timezone.now(), request=request
        )
    except UnableToSignIn as refusal:
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
        messages.warning(request, _("The account does not exist at %(provider)s yet.") % provider)
        return go_to(request, "customers:account", account.public_id)
    try:
        observed_accounts.read_account(account=account, now=database_now())
    except (ProviderError, DecryptionError) as error:
        text = _("%(provider)s could not be read: %(why)s What you see is the last reading.")
        messages.error(request, text % (provider | {"why": error}))
    else:
        messages.success(request, _("Read from %(provider)s just now.") % provider)
    return go_to(request, "customers:account", account.public_id)


def _save_username(request: HttpRequest, account: Account, form: forms.UsernameForm) -> None:
    changed = form.changed_facts()
    if changed and edit_username(
        actor=person(request), account=account, username=changed["username"], seen=form.seen, request=request
    ):
        messages.success(request, _("The v2 user name is kept."))


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
    template = "customers/_username.html" if is_fragment(request) else "customers/username.html"
    return render(request, template, context, status=status_of(form, fragment=is_fragment(request)))
