"""Removal of what belongs to a team member alone, besides the words in other rows."""

from __future__ import annotations

from allauth.usersessions.models import UserSession
from django.contrib import auth
from django.contrib.auth.hashers import make_password
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import F, Q

from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.notices.models import Notice
from portal.personal_data import personal_tables
from portal.privacy.rows import ERASED_NAME, ERASED_WORD, rows_of_user
from portal.privacy.subjects import Subject


def erase_member(subject: Subject, code: str) -> dict[str, int]:
    """Delete the sessions, second factors and links of a team member, and empty the user itself. The row stays under a
    pseudonym, because others name it as requester or owner. Returns how many rows of each table were removed."""
    user = subject.user
    if user is None:
        return {}
    removed = {}
    with transaction.atomic():
        User.objects.filter(pk=user.pk).update(
            email=f"erased-{code.lower()}@erased.invalid",
            name=ERASED_NAME.format(code),
            password=make_password(None),
            timezone="UTC",
            locale="en",
            last_seen_at=None,
            invited_at=None,
            session_epoch=F("session_epoch") + 1,
        )
        removed["sessions.Session"] = _end_sessions(user)
        _erase_from_event_notices(user, code)
        for each in personal_tables():
            if each.removed:
                removed[each.model] = rows_of_user(each, subject).delete()[0]
    return {model: n for model, n in removed.items() if n}


def _end_sessions(user: User) -> int:
    keys = set(UserSession.objects.filter(user=user).values_list("session_key", flat=True))
    for session in Session.objects.iterator():
        if session.get_decoded().get(auth.SESSION_KEY) == str(user.pk):
            keys.add(session.session_key)
    return Session.objects.filter(session_key__in=keys).delete()[0]


def _erase_from_event_notices(user: User, code: str) -> None:
    """Replace IP address and name in mailed notices of what the user did: other columns than the words of a search."""
    notices = {each.about: each for each in Notice.objects.filter(kind__startswith=Notice.EVENT)}
    by_user = Q(actor=user) | Q(actor=None, object_id=user.public_id)
    for event in AuditEvent.objects.filter(by_user, pk__in=[int(about) for about in notices]):
        notice = notices[str(event.pk)]
        for told, written in ((event.ip, ERASED_WORD), (event.actor_label, ERASED_NAME.format(code))):
            notice.text = notice.text.replace(told, written) if told else notice.text
        notice.save(update_fields=["text"])
