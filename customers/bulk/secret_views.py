"""Reveal the secrets of the keys that a rotation made, some at a time, to whoever requested it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from customers.bulk.key_results import secrets_waiting
from customers.labels import split_label
from customers.models import Account, AccountKey, ChangeSet
from customers.operations import key_secrets
from portal.access.reauth import reauthenticated
from portal.encryption import DecryptionError
from portal.htmx import command_of, person, render_page
from portal.refusals import Refusal

# So many are shown at once: as many as a person copies before they leave the page.
AT_ONCE = 20


@dataclass(frozen=True)
class RevealedSecret:
    """A secret on its way to the page: `repr` (and so an error report) lacks it."""

    account: Account
    label: str
    secret: str = field(repr=False)


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=10)
def bulk_secrets(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show how many secrets wait for the viewer (GET), or reveal the next ones, each once (POST). A POST names the
    first one that its page told of, so that a second click doesn't reveal others, which nobody would see."""
    change_set, now = get_object_or_404(ChangeSet, public_id=public_id), timezone.now()
    waiting = secrets_waiting(change_set, person(request), now=now)
    shown: list[RevealedSecret] = []
    refusals: list[str] = []
    first, told_of = waiting.first(), request.POST.get("first", "")
    if request.method == "POST" and told_of != (str(first.public_id) if first else ""):
        refusals = [_("Some were revealed by another request. Rotate the keys again whose secrets you didn't see.")]
    elif request.method == "POST":
        rows = list(waiting.select_related("account__customer", "account__connection")[:AT_ONCE])
        keys = AccountKey.objects.filter(account__in={each.account_id for each in rows})
        labels = {(each.account_id, each.key_id): each.label for each in keys}
        for row in rows:
            try:
                secret = key_secrets.reveal_once(command_of(request, now=now), account=row.account, key_id=row.key_id)
            except (Refusal, DecryptionError) as why:
                refusals.append(str(why))
            else:
                label = split_label(labels.get((row.account_id, row.key_id), ""))[0]
                shown.append(RevealedSecret(row.account, label, secret))
    context = {
        "set": change_set,
        "shown": shown,
        "refusals": list(dict.fromkeys(refusals)),
        "left": waiting.count(),
        "first": waiting.first(),
        "at_once": AT_ONCE,
    }
    status = 422 if refusals and not shown else 200
    response = render_page(request, "customers/bulk/secrets.html", context, status=status)
    response["Cache-Control"] = "no-store"
    return response
