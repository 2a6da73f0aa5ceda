"""Commands of single sign-on: who a subject is, and what their groups make of them. One transaction each, with its
audit events.

A subject of an issuer decides who somebody is. Emails link nobody: whoever can set one at the provider would get in.
"""

from __future__ import annotations

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.contrib.auth import update_session_auth_hash
from django.db import IntegrityError, transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from portal import audit
from portal.access import links, second_factor, sessions
from portal.access.forms import InviteForm
from portal.access.models import FormerSsoLink, User
from portal.access.sso.identity import SsoIdentity
from portal.access.sso.queries import AWAITS_FACTOR, connects, former_owner, link_of, sso_status
from portal.access.sso.refusals import SsoRefused
from portal.refusals import Refusal


def admit(identity: SsoIdentity, *, request: HttpRequest) -> User:
    """Return the team member of a subject, with the role of their groups. Raises `SsoRefused`.

    A person without a mapped group is refused and their sessions end.
    """
    with transaction.atomic():
        person = _linked_person(identity) or _create(identity, request)
        if not person.is_active:
            raise SsoRefused("disabled", person=person)
        allowed = _apply_groups(person, identity, request)
    if not allowed:  # after the transaction: what it changed stays
        raise SsoRefused("no_group", person=person)
    person.refresh_from_db()
    return person


def accept_link(token: str, identity: SsoIdentity, *, request: HttpRequest) -> User:
    """Link a subject to the person whose one-time link was opened, and return them. Raises `SsoRefused`."""
    with transaction.atomic():
        meant = person_to_connect(token)
        person = _locked(meant) if meant else None
        if person is None or person_to_connect(token) != person:
            raise SsoRefused("link_ended", person=meant)
        _link(person, identity, request, by_mail=True)
        _apply_groups(person, identity, request)
    person.refresh_from_db()
    return person


def person_to_connect(token: str) -> User | None:
    """Return the user whom the one-time link lets connect; None for any other link, see `connects`."""
    opened = links.open_link(token, now=timezone.now())
    return opened.person if opened and connects(opened) else None


def confirm_link(person: User) -> None:
    """Note that the person completed a sign-in with their link: from now on the provider's second factor counts."""
    link = link_of(person)
    if link and link.extra_data:
        link.extra_data = {}
        link.save(update_fields=["extra_data"])


def connect(identity: SsoIdentity, *, person: User, request: HttpRequest) -> None:
    """Link a subject to the signed-in user, which ends their other sessions and one-time links. Raises `SsoRefused`."""
    with transaction.atomic():
        fresh = _locked(person)
        if not fresh.is_active or fresh.session_epoch != person.session_epoch:
            raise SsoRefused("access_changed", person=person)
        _link(fresh, identity, request)
        _apply_groups(fresh, identity, request)
    person.refresh_from_db()
    with sessions.moved(request):
        update_session_auth_hash(request, person)


def disconnect(*, person: User, request: HttpRequest) -> None:
    """Remove the user's own link, which ends their other sessions. Raises `Refusal`."""
    with transaction.atomic():
        sessions.locked(person)
        status = sso_status(person)
        if status.link is None:
            return
        if status.is_required:
            raise Refusal(_("Single sign-on is required. An admin can reset your sign-in."))
        if not status.can_disconnect:
            raise Refusal(_("You have no password. Ask an admin to reset your sign-in."))
        unlink(person, actor=person, request=request)
        sessions.renewed(request, user=person)


def unlink(person: User, *, actor: User | None, request: HttpRequest | None) -> None:
    """Remove every link of a locked user, also those of an earlier issuer. Their subjects are kept: see `_create`."""
    found = list(SocialAccount.objects.select_for_update().filter(user=person))
    for link in found:
        FormerSsoLink.objects.get_or_create(user=person, issuer=link.provider, subject=link.uid)
    SocialAccount.objects.filter(pk__in=[link.pk for link in found]).delete()
    if found:
        audit.record(actor=actor, verb="staff.sso_unlinked", obj=person, request=request)


def _linked_person(identity: SsoIdentity) -> User | None:
    """Return the user of the subject, locked. The link is read again behind the lock: it may be removed meanwhile."""
    link = SocialAccount.objects.filter(provider=identity.issuer, uid=identity.subject)
    owner = link.values_list("user_id", flat=True).first()
    if owner is None:
        return None
    person = User.objects.select_for_update().get(pk=owner)
    if not link.filter(user=person).exists():
        raise SsoRefused("access_changed", person=person)
    return person


def _create(identity: SsoIdentity, request: HttpRequest) -> User:
    """Create a team member, if the settings allow it, the groups have a role, and the verified email is nobody's.

    Nobody is created for a subject that a team member was linked to: they were disabled, or had a role, as someone
    else.
    """
    if former := former_owner(identity.subject):
        raise SsoRefused("formerly_linked", person=former)
    form = InviteForm({"email": identity.email, "name": identity.name or identity.email, "role": identity.role})
    if not settings.OIDC_CREATE or not identity.email_is_verified or not form.is_valid():
        raise SsoRefused("unknown")
    facts = form.cleaned_data
    try:
        with transaction.atomic():
            person = User.objects.create_user(facts["email"], name=facts["name"], role=facts["role"])
    except IntegrityError:
        if first := _linked_person(identity):  # of two first sign-ins at once
            return first
        raise SsoRefused("unknown") from None
    after = {"email": person.email, "role": person.role}
    audit.record(actor=None, verb="staff.created_by_sso", obj=person, after=after, request=request)
    _link(person, identity, request)
    return _locked(person)


def _apply_groups(person: User, identity: SsoIdentity, request: HttpRequest) -> bool:
    """Write the role of the groups. Return False for a person without a mapped group, whose sessions end."""
    if not settings.OIDC_ROLES:
        return True
    role = identity.role
    if role is None:
        _raise_epoch(person)
        audit.record(actor=None, verb="staff.sessions_ended", obj=person, reason="no_group", request=request)
    elif role != person.role:
        changed = {"role": role, "custom_role": None, "session_epoch": F("session_epoch") + 1}
        User.objects.filter(pk=person.pk).update(**changed)
        before, after = {"role": person.audited_role}, {"role": role}
        audit.record(actor=None, verb="staff.role_from_groups", obj=person, before=before, after=after, request=request)
    return role is not None


def _link(person: User, identity: SsoIdentity, request: HttpRequest, *, by_mail: bool = False) -> None:
    """Link the subject to a locked user, and end the user's sessions and one-time links. `by_mail`: on the word of a
    one-time link alone, which proves no second factor."""
    if settings.OIDC_ROLES and identity.role is None:
        raise SsoRefused("no_group", person=person)
    if link_of(person):
        raise SsoRefused("already_linked", person=person)
    try:
        with transaction.atomic():
            held = {AWAITS_FACTOR: True} if by_mail and second_factor.has_one(person) else {}
            SocialAccount.objects.create(user=person, provider=identity.issuer, uid=identity.subject, extra_data=held)
    except IntegrityError:
        raise SsoRefused("linked_to_other", person=person) from None
    _raise_epoch(person)
    after = {"issuer": identity.issuer, "subject": identity.subject}
    audit.record(actor=person, verb="staff.sso_linked", obj=person, after=after, request=request)


def _locked(person: User) -> User:
    return User.objects.select_for_update().get(pk=person.pk)


def _raise_epoch(person: User) -> None:
    User.objects.filter(pk=person.pk).update(session_epoch=F("session_epoch") + 1)
