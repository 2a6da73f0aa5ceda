"""Views of staff: the list, one user, inviting, and changes of access by an admin."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from portal.access import links, mail, queries, staff
from portal.access.forms import InviteForm, RoleForm
from portal.access.links import Link
from portal.access.models import User
from portal.access.reauth import reauthenticated
from portal.access.roles import Role
from portal.access.views.common import person_at
from portal.audit.queries import last_change
from portal.edits import EditConflict
from portal.htmx import go_to, is_fragment
from portal.query_params import kept


def staff_list(request: HttpRequest) -> HttpResponse:
    people = queries.staff_rows(
        search=request.GET.get("q", ""),
        role=request.GET.get("role", ""),
        status=request.GET.get("status", ""),
        sort=request.GET.get("sort", ""),
    )
    context = {
        "page": Paginator(people, 50).get_page(request.GET.get("page")),
        "roles": Role.choices,
        "statuses": queries.STATUSES,
        "search": request.GET.get("q", ""),
        "kept": kept(request.GET, without=("q", "page")),
    }
    return render(request, "access/_staff_rows.html" if is_fragment(request) else "access/staff_list.html", context)


def staff_member(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    return _member(request, _person(public_id))


@reauthenticated(minutes=10)
def staff_invite(request: HttpRequest) -> HttpResponse:
    form = InviteForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        now = timezone.now()
        try:
            person = staff.invite(actor=person_at(request), now=now, request=request, **form.cleaned_data)
        except staff.UnableToChangeStaff as refusal:
            form.add_error(refusal.field or None, str(refusal))
        else:
            link = links.make_link(person=person, lasts=links.BY_ADMIN, now=now, request=request)
            return _show_link(request, person, link, mailed=mail.send_invitation(person=person, link=link))
    return render(request, "access/invite.html", {"form": form}, status=422 if form.is_bound else 200)


def _back_with_choice(request: HttpRequest, public_id: uuid.UUID) -> str:
    """Return the user's page with the selected role, so that the form only has to be submitted again."""
    return f"{reverse('access:staff-member', args=[public_id])}?{urlencode({'role': request.POST.get('role', '')})}"


@reauthenticated(minutes=10, back=_back_with_choice)
def staff_role(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    person = _person(public_id)
    form = RoleForm(request.POST, role=person.role)
    if not form.is_valid():
        return _member(request, person, role_form=form, status=422)
    if "role" not in form.changed_facts():
        return go_to(request, "access:staff-member", person.public_id)
    done = _("The role is changed. %(name)s has to sign in again.") % {"name": person.name}
    try:
        return _act(request, person, staff.change_role, done, role=form.cleaned_data["role"], seen=form.seen)
    except EditConflict as conflict:
        person = _person(public_id)
        fresh = RoleForm(role=person.role)
        form.show(conflict, fresh=fresh, last=last_change(person, conflict.fields))
        return _member(request, person, role_form=form, status=409)


@reauthenticated(minutes=10)
def staff_disable(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    person = _person(public_id)
    return _act(request, person, staff.disable, _("%(name)s is disabled and signed out.") % {"name": person.name})


@reauthenticated(minutes=10)
def staff_enable(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    person = _person(public_id)
    return _act(request, person, staff.enable, _("%(name)s may sign in again.") % {"name": person.name})


def staff_end_sessions(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    person = _person(public_id)
    return _act(request, person, staff.end_sessions, _("%(name)s is signed out everywhere.") % {"name": person.name})


@reauthenticated(minutes=10)
def staff_reset_password(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    person = _person(public_id)
    invited = not person.has_joined
    try:
        person = staff.reset_password(actor=person_at(request), person=person, request=request)
    except staff.UnableToChangeStaff as refusal:
        return _member(request, person, refusal=str(refusal), status=409)
    link = links.make_link(person=person, lasts=links.BY_ADMIN, now=timezone.now(), request=request)
    send = mail.send_invitation if invited else mail.send_reset
    return _show_link(request, person, link, mailed=send(person=person, link=link))


def _person(public_id: uuid.UUID) -> User:
    return get_object_or_404(User, public_id=public_id)


def _act(request: HttpRequest, person: User, command: Callable[..., None], done: str, **facts: Any) -> HttpResponse:
    try:
        command(actor=person_at(request), person=person, request=request, **facts)
    except staff.UnableToChangeStaff as refusal:
        return _member(request, person, refusal=str(refusal), status=409)
    messages.success(request, done)
    return go_to(request, "access:staff-member", person.public_id)


def _show_link(request: HttpRequest, person: User, link: Link, *, mailed: bool) -> HttpResponse:
    """Show the link in the response to the POST itself: a redirect would need to store it."""
    return render(request, "access/link.html", {"person": person, "link": link, "mailed": mailed})


def _member(
    request: HttpRequest, person: User, *, role_form: RoleForm | None = None, refusal: str = "", status: int = 200
) -> HttpResponse:
    chosen, role = request.GET.get("role", ""), person.role
    context = {
        "person": person,
        "is_self": person.pk == person_at(request).pk,
        "role_form": role_form or RoleForm(initial={"role": chosen if chosen in Role.values else role}, role=role),
        "role_chosen": chosen in Role.values and chosen != person.role,
        "refusal": refusal,
        "entries": queries.events_around(person),
    }
    return render(request, "access/member.html", context, status=status)
