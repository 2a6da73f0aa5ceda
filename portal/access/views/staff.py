"""Views of staff: the list, one user, inviting, and changes of access by an admin."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _

from portal import htmx
from portal.access import links, mail, queries, second_factor, sessions, staff
from portal.access.forms import InviteForm, RoleForm
from portal.access.models import User
from portal.access.reauth import reauthenticated
from portal.access.sso.queries import link_kind, sso_status
from portal.audit.queries import last_change
from portal.edits import EditConflict
from portal.htmx import go_to, render_page
from portal.refusals import Refusal


def staff_list(request: HttpRequest) -> HttpResponse:
    filters = queries.StaffFilters(request.GET)
    context = {
        "page": Paginator(queries.staff_rows(filters), 50).get_page(request.GET.get("page")),
        "filters": filters,
        "roles": queries.role_choices(),
        "statuses": queries.status_choices(),
    }
    return render_page(request, "access/staff_list.html", context, part="access/_staff_rows.html", filters=filters)


def staff_member(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    return _member(request, _person(public_id))


@reauthenticated(minutes=10)
def staff_invite(request: HttpRequest) -> HttpResponse:
    form = InviteForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            person = staff.invite(htmx.command_of(request), **form.cleaned_data)
        except Refusal as refusal:
            form.add_error(refusal.field or None, str(refusal))
        else:
            return _send_link(request, person)
    return render(request, "access/invite.html", {"form": form}, status=422 if form.is_bound else 200)


@reauthenticated(minutes=10)
def staff_role(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    person = _person(public_id)
    form = RoleForm(request.POST, initial={"role": person.role_code})
    if not form.is_valid():
        return _member(request, person, role_form=form, status=422)
    if "role" not in form.changed_facts():
        return go_to(request, "access:staff-member", person.public_id)
    done = _("Role changed. %(name)s has to sign in again.")
    try:
        return _act(request, public_id, staff.change_role, done, role=form.cleaned_data["role"], seen=form.seen)
    except EditConflict as conflict:
        person = _person(public_id)
        fresh = RoleForm(initial={"role": person.role_code})
        form.show(conflict, fresh=fresh, last=last_change(person, conflict.fields))
        return _member(request, person, role_form=form, status=409)


@reauthenticated(minutes=10)
def staff_disable(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    return _act(request, public_id, staff.disable, _("%(name)s was disabled and signed out."))


@reauthenticated(minutes=10)
def staff_enable(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    return _act(request, public_id, staff.enable, _("%(name)s can sign in again."))


@reauthenticated(minutes=10)
def staff_end_sessions(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    return _act(request, public_id, staff.end_sessions, _("%(name)s was signed out everywhere."))


@reauthenticated(minutes=10)
def staff_end_session(request: HttpRequest, public_id: uuid.UUID, session: int) -> HttpResponse:
    return _act(request, public_id, staff.end_session, _("The session of %(name)s was ended."), session_id=session)


@reauthenticated(minutes=10)
def staff_reset_second_factor(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    done = _("The second factors of %(name)s were removed. They set up a new one after their next sign-in.")
    return _act(request, public_id, staff.reset_second_factor, done)


@reauthenticated(minutes=10)
def staff_reset_password(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    person = _person(public_id)
    try:
        person = staff.reset_password(htmx.command_of(request), person=person)
    except Refusal as refusal:
        return _member(request, person, refusal=str(refusal), status=409)
    return _send_link(request, person)


def _person(public_id: uuid.UUID) -> User:
    return get_object_or_404(User.objects.select_related("custom_role"), public_id=public_id)


def _act(
    request: HttpRequest, public_id: uuid.UUID, change: Callable[..., None], done: str, **facts: Any
) -> HttpResponse:
    """Change a user's access, and say `done`, which names them."""
    person = _person(public_id)
    try:
        change(htmx.command_of(request), person=person, **facts)
    except Refusal as refusal:
        return _member(request, person, refusal=str(refusal), status=409)
    messages.success(request, done % {"name": person.name})
    return go_to(request, "access:staff-member", person.public_id)


def _send_link(request: HttpRequest, person: User) -> HttpResponse:
    """Mail a link, and show it in the response to the POST itself: a redirect would need to store it."""
    kind = link_kind(person)
    link = links.make_link(person=person, lasts=links.BY_ADMIN, now=timezone.now(), request=request, kind=kind)
    context = {"person": person, "link": link, "mailed": mail.send_link(person=person, link=link)}
    return render(request, "access/link.html", context)


def _member(
    request: HttpRequest, person: User, *, role_form: RoleForm | None = None, refusal: str = "", status: int = 200
) -> HttpResponse:
    context = {
        "person": person,
        "is_self": person.pk == htmx.person(request).pk,
        "role_form": role_form or RoleForm(initial={"role": person.role_code}),
        "refusal": refusal,
        "sso": sso_status(person),
        "sessions": sessions.sessions_of(person),
        "factors": [second_factor.label_of(row) for row in second_factor.authenticators_of(person)],
        "needs_factor": second_factor.is_required_of(person) and not second_factor.has_one(person),
        "entries": queries.events_around(person, reader=htmx.person(request)),
    }
    return render(request, "access/member.html", context, status=status)
