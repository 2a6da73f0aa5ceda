"""Sessions of a person: the list of allauth.usersessions, kept in step with Django's sessions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog
from allauth.usersessions.models import UserSession
from django.contrib import auth
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Exists, F, OuterRef
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from portal import audit
from portal.access.models import User
from portal.commands import Command
from portal.refusals import Refusal

log = structlog.get_logger(__name__)
UNKNOWN_ADDRESS = "::"


@dataclass(frozen=True)
class SessionRow:
    """A session as the pages show it."""

    id: int
    browser: str
    address: str
    began_at: datetime
    seen_at: datetime
    is_this: bool


@contextmanager
def moved(request: HttpRequest) -> Iterator[None]:
    """Give the session a new ID inside the block, and keep its row in the list."""
    before = request.session.session_key
    yield
    if before and request.session.session_key != before:
        UserSession.objects.filter(session_key=before).update(session_key=request.session.session_key)


def rotate(request: HttpRequest) -> None:
    """Replace the session's ID after a confirmation: whoever knew the old one is signed out."""
    with moved(request):
        request.session.cycle_key()
    log.info("identity confirmed")


def begin(request: HttpRequest) -> None:
    """Add the session to the list, or what changed about it."""
    UserSession.objects.create_from_request(request)


def note_activity(request: HttpRequest) -> None:
    """Note that the session is in use. One that isn't listed, from before there was a list or with an ID that Django
    replaced, is added."""
    listed = UserSession.objects.filter(session_key=request.session.session_key or "")
    if not listed.update(last_seen_at=timezone.now()) and request.session.session_key:
        begin(request)


def sessions_of(person: User, request: HttpRequest | None = None) -> list[SessionRow]:
    """Return the person's open sessions, the present one first. One that was ended otherwise (another role, an expiry)
    leaves the list."""
    this = request.session.session_key if request else None
    rows = list(UserSession.objects.filter(user=person))
    kept = Session.objects.filter(session_key__in=[row.session_key for row in rows], expire_date__gt=timezone.now())
    hashes = {person.get_session_auth_hash(), *person.get_session_auth_fallback_hash()}
    open_ones = {each.session_key for each in kept if _is_of(each, person, hashes)}
    UserSession.objects.filter(pk__in=[row.pk for row in rows if row.session_key not in open_ones]).delete()
    rows = [row for row in rows if row.session_key in open_ones]
    rows.sort(key=lambda row: (row.session_key != this, -row.last_seen_at.timestamp()))
    return [
        SessionRow(
            row.pk,
            browser_of(row.user_agent),
            _shown(row.ip),
            row.created_at,
            row.last_seen_at,
            row.session_key == this,
        )
        for row in rows
    ]


def _is_of(session: Session, person: User, hashes: set[str]) -> bool:
    """Return whether the session is still signed in as this person, as Django will find at its next request."""
    held = session.get_decoded()
    return held.get(auth.SESSION_KEY) == str(person.pk) and held.get(auth.HASH_SESSION_KEY) in hashes


def _shown(ip: str) -> str:
    return "" if ip == UNKNOWN_ADDRESS else ip


def end_one(command: Command, *, person: User, session_id: int) -> bool:
    """End one session of a person; False if it has ended already."""
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=person.pk)
        row = UserSession.objects.select_for_update().filter(pk=session_id, user=person).first()
        if row is None:
            return False
        told = {"browser": browser_of(row.user_agent), "address": _shown(row.ip)}
        row.end()
        command.record(verb="staff.session_ended", obj=person, before=told)
    return True


def end_others(request: HttpRequest, *, person: User) -> int:
    """End every session of the person but this one, listed or not. Return how many were listed. Raises `Refusal` if an
    admin ended them meanwhile."""
    with transaction.atomic():
        renewed(request, user=person)
        rows = UserSession.objects.filter(user=person).exclude(session_key=request.session.session_key)
        ended = len(rows)
        Session.objects.filter(session_key__in=[row.session_key for row in rows]).delete()
        rows.delete()
        after = {"sessions": ended}
        audit.record(actor=person, verb="staff.other_sessions_ended", obj=person, after=after, request=request)
    return ended


def locked(user: User) -> User:
    """Lock the person's row until the transaction ends, and return it. Raises `Refusal` if their access changed since
    `user` was read: a session that was ended must not do anything more, nor be renewed."""
    fresh = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if not fresh.is_active or fresh.get_session_auth_hash() != user.get_session_auth_hash():
        raise Refusal(_("Your access has changed. Nothing was saved. Sign in again."))
    return fresh


def renewed(request: HttpRequest, *, user: User) -> None:
    """End every other session and link of the person, and give this one a new ID. Raises `Refusal`; see `locked`."""
    locked(user)
    User.objects.filter(pk=user.pk).update(session_epoch=F("session_epoch") + 1)
    user.refresh_from_db(fields=["session_epoch"])
    with moved(request):
        auth.update_session_auth_hash(request, user)


def forget_ended() -> None:
    """Delete rows of sessions that are no more."""
    kept = Session.objects.filter(session_key=OuterRef("session_key"))
    UserSession.objects.filter(~Exists(kept)).delete()


# The first name that occurs is the browser's: others follow for compatibility.
_BROWSERS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Safari", "Safari"))
_SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"), ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"), ("Linux", "Linux"),
)  # fmt: skip


def browser_family(user_agent: str) -> str:
    """Return "Firefox", or "" for an unknown browser."""
    return next((name for word, name in _BROWSERS if f"{word}/" in user_agent), "")


def browser_of(user_agent: str) -> str:
    """Return "Firefox on Windows", as far as the browser says it."""
    browser = browser_family(user_agent)
    system = next((name for word, name in _SYSTEMS if word in user_agent), "")
    if browser and system:
        return _("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    return browser or system or _("Unknown browser")
