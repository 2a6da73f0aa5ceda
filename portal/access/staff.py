"""Commands on staff users. Each is one transaction with its audit event, and ends sessions where required.

An admin never changes their own access and must still be an active admin when the transaction runs: so whatever admins
do to each other concurrently, one of them remains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.hashers import make_password
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.http import HttpRequest
from django.utils.translation import gettext as _

from portal import audit
from portal.access.models import User
from portal.access.roles import Role
from portal.commands import Command
from portal.edits import refuse_stale
from portal.refusals import Refusal


def invite(command: Command, *, email: str, name: str, role: str) -> User:
    """Create a user without a password; a link (portal/access/links.py) lets them set one."""
    try:
        with transaction.atomic():
            person = User.objects.create_user(email, name=name, role=role, invited_at=command.now)
            command.record(verb="staff.invited", obj=person, after={"email": person.email, "role": person.role})
    except IntegrityError:
        raise Refusal(_("A team member with this email already exists."), field="email") from None
    return person


def change_role(command: Command, *, person: User, role: str, seen: Mapping[str, Any] | None = None) -> None:
    """Change the role. `seen`: the role that the form was opened with. Raises `EditConflict` if another admin changed
    it since."""
    with _held(command.person, person) as fresh:
        refuse_stale(fresh, {"role": role}, seen)
        if fresh.role == role:
            return
        _write(fresh, role=role)
        command.record(verb="staff.role_changed", obj=fresh, before={"role": fresh.role}, after={"role": role})


def disable(command: Command, *, person: User) -> None:
    """Disable the user, whose next request is refused. Their name stays in all records."""
    with _held(command.person, person) as fresh:
        if fresh.is_active:
            _write(fresh, is_active=False)
            command.record(verb="staff.disabled", obj=fresh)


def enable(command: Command, *, person: User) -> None:
    with _held(command.person, person) as fresh:
        if not fresh.is_active:
            _write(fresh, is_active=True)
            command.record(verb="staff.enabled", obj=fresh)


def reset_password(command: Command, *, person: User) -> User:
    """Invalidate the password, all sessions and all older links. Return the updated user, for a new link."""
    with _held(command.person, person) as fresh:
        if not fresh.is_active:
            raise Refusal(_("This team member is disabled. Enable them first."))
        _write(fresh, password=make_password(None))
        command.record(verb="staff.reset_link_made", obj=fresh)
    fresh.refresh_from_db()
    return fresh


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
    return bool(changed)


def change_own_password(*, person: User, password: str, request: HttpRequest) -> None:
    """Change the password and end every other session; this one gets a new ID. Raises `Refusal`."""
    if not save_password(person=person, password=password, request=request):
        raise Refusal(_("Your access has changed. Nothing was saved. Sign in again."))
    person.refresh_from_db()
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
    with transaction.atomic():
        admins = Q(role=Role.ADMIN, is_active=True)
        # PostgreSQL: the rows stay locked until the end. SQLite: the transaction holds the one write lock anyway.
        rows = User.objects.select_for_update().filter(admins | Q(pk=person.pk)).order_by("pk")
        held = {row.pk: row for row in rows}
        me = held.get(actor.pk)
        if me is None or me.role != Role.ADMIN or not me.is_active:
            raise Refusal(_("You're no longer an admin."))
        yield held[person.pk]


def _write(person: User, **facts: Any) -> None:
    """Update the user, and end their sessions and links."""
    User.objects.filter(pk=person.pk).update(session_epoch=F("session_epoch") + 1, **facts)
