"""Views of a key's secret: reveal it once to its requester, and stop storing it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from customers.accounts.keys import queries
from customers.operations import key_secrets
from customers.operations.view_helpers import account_or_404, refusals_told
from portal.access.reauth import reauthenticated
from portal.encryption import DecryptionError
from portal.htmx import command_of, go_to, person, render_page
from portal.refusals import Refusal


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
            shown = Shown(key_secrets.reveal_once(command_of(request, now=now), account=account, key_id=key_id))
        except (Refusal, DecryptionError) as why:
            refusal = str(why)
    where = queries.secret_or_404(account, key_id, viewer=person(request), now=now)
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
    response = render_page(request, "customers/keys/secret.html", context, status=422 if refusal else 200)
    response["Cache-Control"] = "no-store"
    return response


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=10)
def key_let_go(request: HttpRequest, public_id: uuid.UUID, key_id: str) -> HttpResponse:
    """Stop storing the secret. The key itself keeps working."""
    account = account_or_404(public_id)
    line = queries.key_or_404(account, key_id, viewer=person(request))
    if request.method == "POST":
        with refusals_told(request):
            key_secrets.stop_storing(command_of(request), account=account, key_id=key_id)
            messages.success(request, _("The stored secret for “%(label)s” was deleted.") % {"label": line.label})
        return go_to(request, "customers:account-keys", account.public_id)
    context = {
        "account": account,
        "customer": account.customer,
        "connection": account.connection,
        "deed": "let_go",
        "question": _("Delete the stored secret for “%(label)s”?") % {"label": line.label},
        "button": _("Delete stored secret"),
        "undo": _("This can't be undone. To store a secret again, rotate the key."),
        "blocked": "" if line.secret.kept else _("The stored secret was already deleted."),
        "line": line,
    }
    return render_page(request, "customers/keys/ask.html", context)
