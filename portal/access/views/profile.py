from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters

from portal import htmx
from portal.access import staff
from portal.access.adapter import StaffAdapter
from portal.access.forms import ChangePasswordForm, ProfileForm
from portal.access.models import User
from portal.access.reauth import reauthenticated
from portal.access.sso.queries import sso_status
from portal.edits import EditConflict, status_of
from portal.htmx import go_to
from portal.refusals import Refusal


def profile(request: HttpRequest) -> HttpResponse:
    person = htmx.person(request)
    form = _profile_form(person, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            staff.edit_profile(person=person, facts=form.changed_facts(), seen=form.seen)
        except EditConflict as conflict:
            person.refresh_from_db()
            form.show(conflict, fresh=_profile_form(person))
        else:
            messages.success(request, _("Profile saved."))
            return go_to(request, "profile")
    context = {"form": form, "sso": sso_status(person)}
    return render(request, "access/profile.html", context, status=status_of(form))


def _profile_form(person: User, data: Mapping[str, Any] | None = None) -> ProfileForm:
    return ProfileForm(data, initial={"name": person.name, "timezone": person.timezone})


@reauthenticated(minutes=10)
@sensitive_post_parameters("current", "password", "again")
def change_password(request: HttpRequest) -> HttpResponse:
    person = htmx.person(request)
    form = ChangePasswordForm(request.POST or None, person=person)
    if request.method == "POST" and form.is_valid() and _is_own(request, form):
        try:
            staff.change_own_password(person=person, password=form.cleaned_data["password"], request=request)
        except Refusal as refusal:
            form.add_error(None, str(refusal))
        else:
            messages.success(request, _("Password changed. You've been signed out everywhere else."))
            return go_to(request, "profile")
    return render(request, "access/change_password.html", {"form": form}, status=422 if form.is_bound else 200)


def _is_own(request: HttpRequest, form: ChangePasswordForm) -> bool:
    """Return whether the current password is correct. Limited as sign-in is, so that a stolen session can't guess
    passwords."""
    try:
        if StaffAdapter(request).is_own_password(htmx.person(request), form.cleaned_data["current"]):
            return True
        form.add_error("current", _("Incorrect password."))
    except ValidationError as too_many:
        form.add_error("current", too_many)
    return False
