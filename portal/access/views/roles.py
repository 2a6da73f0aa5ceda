"""Views of roles: permissions by role, and custom roles."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from portal import htmx
from portal.access import custom_roles
from portal.access.models import CustomRole, User
from portal.access.permissions import permissions_of
from portal.access.reauth import reauthenticated
from portal.access.role_forms import CustomRoleForm, NewRoleForm
from portal.access.role_matrix import names_of, preview_of, role_matrix
from portal.access.roles import Role
from portal.audit.queries import last_change
from portal.edits import EditConflict, status_of
from portal.htmx import go_to
from portal.query_params import uuid_or_none
from portal.refusals import Refusal


def roles(request: HttpRequest) -> HttpResponse:
    return render(request, "access/roles.html", {"matrix": role_matrix()})


@reauthenticated(minutes=10)
def role_create(request: HttpRequest) -> HttpResponse:
    start = request.GET.get("from", "")
    form = NewRoleForm(request.POST or None, initial={"permissions": _permissions_of(start)})
    if request.method == "POST" and form.is_valid():
        command = htmx.command_of(request, form)
        try:
            role = custom_roles.create_role(command, **form.facts())
        except Refusal as refusal:
            form.add_error(refusal.field or None, str(refusal))
        else:
            _say_saved(request, role, form)
            return go_to(request, "access:roles")
    context = {"form": form, "start": start, "starts": [(role.value, role.label) for role in Role]}
    return _form_page(request, form, context)


@reauthenticated(minutes=10)
def role_edit(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    role = get_object_or_404(CustomRole, public_id=public_id)
    if role.is_archived and request.method != "POST":
        raise Http404
    form = _edit_form(role, request)
    if request.method == "POST" and form.is_valid():
        command = htmx.command_of(request, form)
        try:
            role = custom_roles.edit_role(command, role=role, facts=form.changed_facts(), seen=form.seen)
        except EditConflict as conflict:
            role.refresh_from_db()
            # An event tells of permissions by what was added and removed.
            names = {*conflict.fields, "permissions_added", "permissions_removed"}
            form.show(conflict, fresh=_edit_form(role), last=last_change(role, names))
        except Refusal as refusal:
            form.add_error(refusal.field or None, str(refusal))
        else:
            _say_saved(request, role, form)
            return go_to(request, "access:roles")
    return _form_page(
        request, form, {"form": form, "role": role, "members": User.objects.filter(custom_role=role).count()}
    )


@reauthenticated(minutes=10)
def role_archive(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    role = get_object_or_404(CustomRole, public_id=public_id)
    try:
        custom_roles.archive_role(htmx.command_of(request), role=role)
    except Refusal as refusal:
        messages.error(request, str(refusal))
        return go_to(request, "access:roles") if role.is_archived else go_to(request, "access:role-edit", public_id)
    messages.success(request, _("Role archived: %(name)s.") % {"name": role})
    return go_to(request, "access:roles")


def role_preview(request: HttpRequest) -> HttpResponse:
    """Render what the chosen permissions open, while they are chosen."""
    return render(request, "access/_role_preview.html", {"preview": preview_of(request.GET.getlist("permissions"))})


def _edit_form(role: CustomRole, request: HttpRequest | None = None) -> CustomRoleForm:
    facts = {"name": role.name, "description": role.description, "permissions": custom_roles.stored_codes(role)}
    return CustomRoleForm(request.POST or None if request else None, initial=facts)


def _permissions_of(start: str) -> list[str]:
    """Return the permissions of the role that a new one starts from. Raises `Http404` for one that is unknown."""
    if not start or start in Role.values:
        return sorted(permissions_of(start))
    key = uuid_or_none(start)
    return list(get_object_or_404(CustomRole, public_id=key, is_archived=False).permissions) if key else _unknown()


def _unknown() -> list[str]:
    raise Http404


def _say_saved(request: HttpRequest, role: CustomRole, form: CustomRoleForm) -> None:
    """Say what was saved, and what was added because chosen permissions include it."""
    words = [_("Role saved: %(name)s.") % {"name": role}]
    chosen = set(request.POST.getlist("permissions")) | {"view"}
    if added := names_of(set(form.cleaned_data["permissions"]) - chosen):
        names = ", ".join(added)
        words.append(
            ngettext(
                "Also added, because another permission includes it: %(names)s.",
                "Also added, because other permissions include them: %(names)s.",
                len(added),
            )
            % {"names": names}
        )
    messages.success(request, " ".join(words))


def _form_page(request: HttpRequest, form: CustomRoleForm, context: dict[str, object]) -> HttpResponse:
    chosen = form["permissions"].value() or ()
    status = status_of(form)
    return render(request, "access/role.html", context | {"preview": preview_of(chosen)}, status=status)
