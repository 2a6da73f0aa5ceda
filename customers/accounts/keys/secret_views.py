"""Views of a key's secret: reveal it once to its requester, and stop storing it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from customers.accounts.keys import queries
from customers.operations import key_secrets
from customers.operations.view_helpers import account_or_404
from portal.access.reauth import reauthenticated
from portal.encryption import DecryptionError
from portal.htmx import go_to, is_fragment, person


@dataclass(frozen=True)
class Shown:
    """A secret on its way to the page: `str` returns it, `repr` (and so an error report) does not."""

    secret: str = field(repr=False)

    def __str__(self) -> str:
        return self.secret


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=10)
def key_secret(request: HttpRequest, public_id: uuid.UUID, key_id: str) -> HttpResponse:
    """Show the status of the secret (GET), or reveal it once (POST).

    The page uses htmx, so that its URL stays the one of the GET: reload and back lead there, where the secret never is.
    Without a script the answer is a page of its own, and sending the form again shows that it has expired.
    """
    account, now = account_or_404(public_id), timezone.now()
    shown, refusal = None, ""
    if request.method == "POST":
        try:
            shown = Shown(
                key_secrets.reveal_once(actor=person(request), account=account, key_id=key_id, now=now, request=request)
            )
        except (key_secrets.UnableToShow, DecryptionError) as why:
            refusal = str(why)
    where = queries.secret_of(account, key_id, viewer=person(request), now=now)
    if where is None:
        raise Http404
    context = {
        "account": account,
        "customer": account.customer,
        "connection": account.connection,
        "where": where,
        "secret": where.secret,
        "key_id": key_id,
        "shown": shown,
        "refusal": refusal,
    }
    template = "customers/keys/_secret.html" if is_fragment(request) else "customers/keys/secret.html"
    response = render(request, template, context, status=422 if refusal else 200)
    response["Cache-Control"] = "no-store"
    return response


@require_http_methods(["GET", "POST"])
def key_let_go(request: HttpRequest, public_id: uuid.UUID, key_id: str) -> HttpResponse:
    """Stop storing the secret. The key itself keeps working."""
    account = account_or_404(public_id)
    line = queries.key_line(account, key_id, viewer=person(request), now=timezone.now())
    if line is None:
        raise Http404
    if request.method == "POST":
        try:
            key_secrets.stop_storing(
                actor=person(request), account=account, key_id=key_id, now=timezone.now(), request=request
            )
        except key_secrets.UnableToShow as refusal:
            messages.warning(request, str(refusal))
        else:
            messages.success(request, _("The secret of “%(label)s” is not kept any more.") % {"label": line.label})
        return go_to(request, "customers:account-keys", account.public_id)
    context = {
        "account": account,
        "customer": account.customer,
        "connection": account.connection,
        "deed": "let_go",
        "question": _("Stop keeping the secret of “%(label)s”?") % {"label": line.label},
        "button": _("Forget the secret"),
        "undo": _("It can't be brought back; a rotated key can be kept anew."),
        "blocked": "" if line.secret.kept else _("It is not kept any more."),
        "line": line,
    }
    return render(request, f"customers/keys/{'_' if is_fragment(request) else ''}ask.html", context)
