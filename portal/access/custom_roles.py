"""Commands on custom roles. Each is one transaction with its audit event, and only an active admin may use it.

An edit applies with the next request of everyone who has the role. If it takes permissions away, their sessions end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from portal.access.grants import FAR_REACHING
from portal.access.models import CustomRole, User
from portal.access.permissions import Permission, choosable, rules, with_included
from portal.access.roles import CUSTOM, ROLE_CHOICES
from portal.access.staff import held_by_admin
from portal.commands import Command
from portal.edits import refuse_stale
from portal.refusals import Refusal


def codes_of(permissions: Iterable[str]) -> list[str]:
    """Return what a role stores for the chosen permissions, with all that they include. Every role has "view". Raises
    `Refusal` for one that is unknown or reserved to admins."""
    chosen = {*permissions, Permission.VIEW.value}
    if reserved := chosen & set(rules().admins_only):
        raise Refusal(
            _("Only admins can have this permission: %(codes)s. Clear it.") % {"codes": ", ".join(sorted(reserved))},
            field="permissions",
        )
    if unknown := chosen.difference(choosable()):
        raise Refusal(
            _("Unknown permission: %(codes)s. Reload the page.") % {"codes": ", ".join(sorted(unknown))[:200]},
            field="permissions",
        )
    return sorted(with_included(map(Permission, chosen)))


def stored_codes(role: CustomRole) -> list[str]:
    """Return the known permissions of a role with all that they include, as the form has them. A role stored by an
    earlier version may lack some of those, and one of a later version has unknown codes."""
    return codes_of(set(role.permissions).intersection(choosable()))


def create_role(command: Command, *, name: str, description: str, permissions: Iterable[str]) -> CustomRole:
    codes = codes_of(permissions)
    _require_reason(command)
    _require_other_name(name)
    with held_by_admin(command.person), _unique_name():
        role = CustomRole.objects.create(
            name=name,
            description=description,
            permissions=codes,
            created_by=command.person,
            created_at=command.now,
        )
        after = {"name": name, "description": description, "permissions_added": codes}
        command.record(verb="role.created", obj=role, after=after)
    return role


def edit_role(
    command: Command, *, role: CustomRole, facts: Mapping[str, Any], seen: Mapping[str, Any] | None = None
) -> CustomRole:
    """Write the changed `facts` (name, description, permissions). `seen`: the values that the form was opened with.
    Raises `EditConflict` if another admin changed the same since."""
    wanted = dict(facts)
    if "permissions" in wanted:
        wanted["permissions"] = codes_of(wanted["permissions"])
    if "name" in wanted:
        _require_other_name(wanted["name"])
    with held_by_admin(command.person), _unique_name():
        fresh = _locked(command, role)
        stored = {name: getattr(fresh, name) for name in ("name", "description")}
        stored["permissions"] = stored_codes(fresh)
        refuse_stale(stored, wanted, seen)
        wanted = {name: value for name, value in wanted.items() if stored[name] != value}
        before = {name: stored[name] for name in wanted}
        if not before:
            return fresh
        after = {name: wanted[name] for name in before}
        removed = set(before.get("permissions", ())) - set(after.get("permissions", ()))
        added = set(after.pop("permissions", ())) - set(before.pop("permissions", ()))
        if added:
            _require_reason(command)
            _refuse_far_reaching(fresh, added)
        if "permissions" in wanted:  # unknown codes stay
            wanted["permissions"] = sorted({*wanted["permissions"], *set(fresh.permissions).difference(choosable())})
        CustomRole.objects.filter(pk=fresh.pk).update(version=F("version") + 1, **wanted)
        if removed:
            # Whoever opened a page with the lost permissions has to sign in again.
            User.objects.filter(custom_role=fresh).update(session_epoch=F("session_epoch") + 1)
        fresh.refresh_from_db()
        told = {"permissions_added": sorted(added), "permissions_removed": sorted(removed)}
        after |= {name: codes for name, codes in told.items() if codes}
        verb = "role.permissions_changed" if added or removed else "role.edited"
        command.record(verb=verb, obj=fresh, before=before, after=after)
    return fresh


def archive_role(command: Command, *, role: CustomRole) -> None:
    """Archive a role that nobody has, also nobody who is disabled: they may be enabled again."""
    with held_by_admin(command.person):
        fresh = _locked(command, role)
        if count := User.objects.filter(role=CUSTOM, custom_role=fresh).count():
            message = ngettext(
                "%(n)d team member has this role. Give them another role first, even if they are disabled.",
                "%(n)d team members have this role. Give them another role first, also those who are disabled.",
                count,
            )
            raise Refusal(message % {"n": count})
        CustomRole.objects.filter(pk=fresh.pk).update(is_archived=True, version=F("version") + 1)
        command.record(verb="role.archived", obj=fresh)


def _locked(command: Command, role: CustomRole) -> CustomRole:
    """Return the role as stored now, locked. Raises `Refusal` if the user has it, or it was archived."""
    if command.person.custom_role_id == role.pk:
        raise Refusal(_("You can't change the role you have. Ask an admin."))
    fresh = CustomRole.objects.select_for_update(no_key=True).get(pk=role.pk)
    if fresh.is_archived:
        raise Refusal(_("This role was archived. Create a new one."))
    return fresh


def _refuse_far_reaching(role: CustomRole, added: set[str]) -> None:
    """Refuse to give the members of a role what reaches far: giving a role with it is a step of its own, which may need
    approval (`portal.access.grants`)."""
    if not added.isdisjoint(FAR_REACHING) and User.objects.filter(custom_role=role).exists():
        raise Refusal(
            _("Team members have this role. To let them manage connections, create another role and give them that."),
            field="permissions",
        )


def _require_reason(command: Command) -> None:
    if not command.reason.strip():
        raise Refusal(_("Enter a reason. It's recorded in the audit log."), field="reason")


def _require_other_name(name: str) -> None:
    """Refuse the code and the name of a built-in role: the audit log keeps a role by its name."""
    taken = {str(word).casefold() for choice in ROLE_CHOICES for word in choice}
    if name.casefold() in taken or name.replace(" ", "_").casefold() in taken:
        raise Refusal(_("This is the name of a built-in role. Enter another one."), field="name")


@contextmanager
def _unique_name() -> Iterator[None]:
    """Refuse a name that another role has, whatever its case."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError:
        raise Refusal(_("Another role has this name. Enter another one."), field="name") from None
