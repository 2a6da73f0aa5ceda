"""Forms that were sent and not carried out, because of the session or the password: shown again, ready to be sent.

Nothing of them is stored or logged: what was typed goes back to the browser that sent it, as hidden fields of a form
with the same address. Secrets don't go back: they have to be entered again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.forms import Form
from django.forms.utils import pretty_name
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from portal.htmx import is_fragment
from portal.query_params import uuid_or_none

# Every field that is typed unseen, in any form.
SECRETS = frozenset({"password", "again", "current", "code", "credential", "api_key", "v2_password"})
# Fields of the page that shows a form again: a hidden one, and those that confirm it ("confirm-code").
RESENT, CONFIRM = "resent", "confirm"
_NOT_SENT_AGAIN = ("csrfmiddlewaretoken", RESENT)
# Fields that the page filled in, not the person who sent it.
_OF_THE_PAGE = frozenset({
    "back", "base", "by", "client_token", "do", "from", "hold", "next", "opened", "plan",
    "read_at", "saw", "seen", "shown", "snapshot", "start_on", "version", "yours",
})  # fmt: skip


@dataclass(frozen=True)
class UnsentForm:
    """The content of a form that was not carried out. `fields` are sent again, `typed` is what a person entered."""

    fields: list[tuple[str, str]]
    typed: list[tuple[str, str]]
    secrets: list[str]
    files: list[str]


def unsent_form(request: HttpRequest) -> UnsentForm:
    fields: list[tuple[str, str]] = []
    typed: dict[str, list[str]] = {}
    secrets: list[str] = []
    for name, values in request.POST.lists():
        bare = name.rpartition("-")[2]
        if name in _NOT_SENT_AGAIN or name.startswith(f"{CONFIRM}-"):
            continue
        if bare in SECRETS:
            secrets += [pretty_name(bare)] if any(values) else []
        else:
            fields += [(name, str(value)) for value in values]
            typed[name] = [_said(str(value)) for value in values if _is_typed(bare, str(value))]
    shown = [(pretty_name(name.replace("-", " ")), ", ".join(said)) for name, said in typed.items() if said]
    return UnsentForm(fields, shown, secrets, [str(each) for each in request.FILES.values()])


def _is_typed(name: str, value: str) -> bool:
    return bool(value.strip()) and name not in _OF_THE_PAGE and uuid_or_none(value) is None


def _said(value: str) -> str:
    return _("Yes") if value == "on" else value


def show_unsent_form(request: HttpRequest, page: str, *, status: int, confirm: Form | None = None) -> HttpResponse:
    """Show the form that this request sent, with buttons to send it again. `page` is a template of access/unsent/."""
    context: dict[str, Any] = {"unsent": unsent_form(request), "confirm": confirm, "resent": RESENT}
    name = f"_{page}" if is_fragment(request) else page
    return render(request, f"access/unsent/{name}.html", context, status=status)
