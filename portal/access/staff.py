"""Commands on staff users. Each is one transaction with its audit event, and ends sessions where required.

An admin never changes their own access and must still be an active admin when the transaction runs: so whatever admins
do to each other concurrently, one of them remains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.hashers import make_password
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.http import HttpRequest
from django.utils.translation import gettext as _

from portal import audit
from portal.access import mail, second_factor, sessions
from portal.access.grants import Grant, check_grant
from portal.access.models import CustomRole, User
from portal.access.permissions import Permission
from portal.access.roles import CUSTOM, Role
from portal.access.sso.commands import unlink
from portal.access.sso.queries import role_is_managed
from portal.commands import Command
from portal.edits import refuse_stale
from portal.refusals import Refusal


def invite(command: Command, *, email: str, name: str, role: str) -> User:
    """Create a user without a password; a link (portal/access/links.py) lets them set one. `role`: see `role_facts`."""
    try:
        with held_by_admin(command.actor) if command.actor else transaction.atomic():
            facts = role_facts(command.actor, role)
            person = User.objects.create_user(email, name=name, invited_at=command.now, **facts)
            told = check_grant(command, Grant("invite", role, email=email, name=name))
            after = {"email": person.email, "role": person.audited_role} | told
            command.record(verb="staff.invited", obj=person, after=after)
    except IntegrityError:
        raise Refusal(_("A team member with this email already exists."), field="email") from None
    return person


def change_role(command: Command, *, person: User, role: str, seen: Mapping[str, Any] | None = None) -> None:
    """Change the role. `role`: see `role_facts`. `seen`: the role that the form was opened with. Raises `EditConflict`
    if another admin changed it since."""
    with _held(command.person, person) as fresh:
        refuse_stale({"role": fresh.role_code}, {"role": role}, seen)
        if fresh.role_code == role:
            return
        if role_is_managed(fresh):
            raise Refusal(_("Groups at the identity provider decide this role. Change the groups there."))
        facts = role_facts(command.actor, role)
        told = check_grant(command, Grant("role", role, fresh))
        before, after = {"role": fresh.audited_role}, {"role": User(**facts).audited_role}
        _write(fresh, **facts)
        command.record(verb="staff.role_changed", obj=fresh, before=before, after=after | told)


def role_facts(actor: User | None, code: str) -> dict[str, Any]:
    """Return the columns of a user with the role: the code of a built-in one, or the public ID of a custom one, which
    is locked. Raises `Refusal` if it can't be given."""
    if code in Role.values:
        return {"role": code, "custom_role": None}
    # Not archived until the transaction ends.
    found = CustomRole.objects.select_for_update(no_key=True).filter(public_id=code, is_archived=False).first()
    if found is None:
        raise Refusal(_("This role was archived. Choose another one."), field="role")
    if actor and actor.custom_role_id == found.pk:
        raise Refusal(_("You can't give others the role you have. Ask an admin."), field="role")
    return {"role": CUSTOM, "custom_role": found}


def disable(command: Command, *, person: User) -> None:
    """Disable the user, whose next request is refused. Their name stays in all records."""
    with _held(command.person, person) as fresh:
        if fresh.is_active:
            _write(fresh, is_active=False)
            command.record(verb="staff.disabled", obj=fresh)


def enable(command: Command, *, person: User) -> None:
    with _held(command.person, person) as fresh:
        if not fresh.is_active:
            told = check_grant(command, Grant("enable", fresh.role_code, fresh))
            _write(fresh, is_active=True)
            command.record(verb="staff.enabled", obj=fresh, after={"role": fresh.audited_role} | told)


def reset_password(command: Command, *, person: User) -> User:
    """Invalidate the password, the link to single sign-on, all sessions and all older links. Return the updated user,
    for a new link."""
    with _held(command.person, person) as fresh:
        if not fresh.is_active:
            raise Refusal(_("This team member is disabled. Enable them first."))
        told = check_grant(command, Grant("reset", fresh.role_code, fresh))
        unlink(fresh, actor=command.actor, request=command.request)
        _write(fresh, password=make_password(None))
        command.record(verb="staff.reset_link_made", obj=fresh, after={"role": fresh.audited_role} | told)
    fresh.refresh_from_db()
    return fresh


def reset_second_factor(command: Command, *, person: User) -> None:
    """Remove the second factors of someone who lost theirs. Their sessions end."""
    with _held(command.person, person) as fresh:
        told = check_grant(command, Grant("second_factor", fresh.role_code, fresh))
        second_factor.reset(command, person=fresh, told={"role": fresh.audited_role} | told)


def end_session(command: Command, *, person: User, session_id: int) -> None:
    """End one session of a team member. Nothing happens if it has ended already."""
    with _held(command.person, person) as fresh:
        sessions.end_one(command, person=fresh, session_id=session_id)


def end_sessions(command: Command, *, person: User) -> None:
    with _held(command.person, person) as fresh:
        _write(fresh)
        command.record(verb="staff.sessions_ended", obj=fresh)


def save_password(*, person: User, password: str, request: HttpRequest) -> bool:
    """Set the user's own password, which ends their sessions and links. Return False if an admin reset the password,
    ended the sessions or disabled the user since `person` was read, or a link was used."""
    with transaction.atomic():
        as_seen = User.objects.filter(
            pk=person.pk, password=person.password, session_epoch=person.session_epoch, is_active=True
        )
        changed = as_seen.update(password=make_password(password), session_epoch=F("session_epoch") + 1)
        if changed:
            audit.record(actor=person, verb="staff.password_changed", obj=person, request=request)
            what = _("Your password was changed.")
            transaction.on_commit(partial(mail.send_security_change, person=person, what=what), robust=True)
    return bool(changed)


def change_own_password(*, person: User, password: str, request: HttpRequest) -> None:
    """Change the password and end every other session; this one gets a new ID. Raises `Refusal`."""
    if not save_password(person=person, password=password, request=request):
        raise Refusal(_("Your access has changed. Nothing was saved. Sign in again."))
    person.refresh_from_db()
    with sessions.moved(request):
        update_session_auth_hash(request, person)


def edit_profile(*, person: User, facts: Mapping[str, str], seen: Mapping[str, Any] | None = None) -> None:
    """Change the user's own name or time zone. `seen`: the values the form was opened with. Raises `EditConflict` if
    the user changed the same in another window since."""
    with transaction.atomic():
        fresh = User.objects.select_for_update(no_key=True).get(pk=person.pk)
        refuse_stale(fresh, facts, seen)
        if facts:
            User.objects.filter(pk=person.pk).update(**facts)


@contextmanager
def _held(actor: User, person: User) -> Iterator[User]:
    """Lock all admins and `person` in a transaction, and yield `person` as stored now. Raises `Refusal`."""
    if actor.pk == person.pk:
        raise Refusal(_("You can't do this to your own account. Ask another admin."))
    with held_by_admin(actor, Q(pk=person.pk)) as held:
        yield held[person.pk]


@contextmanager
def held_by_admin(actor: User, others: Q | None = None) -> Iterator[dict[int, User]]:
    """Lock all active admins and `others` in a transaction, and yield them by primary key. Everything that admins do to
    users and roles begins here, so it happens one after the other. Raises `Refusal` if the actor isn't an admin now."""
    with transaction.atomic():
        admins = Q(role=Role.ADMIN, is_active=True)
        # PostgreSQL: the rows stay locked until the end. SQLite: the transaction holds the one write lock anyway.
        # Without the key: events that others record refer to these users meanwhile.
        rows = User.objects.select_for_update(no_key=True).filter(admins | others if others else admins).order_by("pk")
        held = {row.pk: row for row in rows}
        me = held.get(actor.pk)
        if me is None or not me.may(Permission.MANAGE_TEAM):
            raise Refusal(_("You're no longer an admin."))
        yield held


def _write(person: User, **facts: Any) -> None:
    """Update the user, and end their sessions and links."""
    User.objects.filter(pk=person.pk).update(session_epoch=F("session_epoch") + 1, **facts)
