"""Queries of single sign-on: the link of a team member, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.db.models import Exists, OuterRef, QuerySet

from portal.access.links import LinkKind, OpenedLink
from portal.access.models import FormerSsoLink, User
from portal.access.roles import Role

AWAITS_FACTOR = "awaits_second_factor"  # in `SocialAccount.extra_data`


def is_configured() -> bool:
    return bool(settings.OIDC_ISSUER)


def link_of(person: User) -> SocialAccount | None:
    """Return the link to a subject of the present issuer. Those to an earlier one mean nothing."""
    if not is_configured():
        return None
    return SocialAccount.objects.filter(user=person, provider=settings.OIDC_ISSUER).first()


def needs_sso(person: User) -> bool:
    """Return whether the person gets in by single sign-on alone: with OIDC_ONLY, who is linked, or was until an admin
    reset their sign-in."""
    if not (is_configured() and settings.OIDC_ONLY):
        return False
    return link_of(person) is not None or (not person.has_usable_password() and bool(_former_links(user=person)))


def former_owner(subject: str) -> User | None:
    """Return who was linked to the subject last; None if nobody was."""
    former = _former_links(subject=subject).select_related("user").order_by("-pk").first()
    return former.user if former else None


def _former_links(**facts: object) -> QuerySet[FormerSsoLink]:
    return FormerSsoLink.objects.filter(issuer=settings.OIDC_ISSUER, **facts)


def has_never_joined(person: User) -> bool:
    """Return whether the person has an invitation and nothing else. A reset makes nobody an invited person again."""
    return not person.has_joined and person.last_login is None


def link_kind(person: User) -> LinkKind:
    """Return the kind of the link that an admin sends the person."""
    if needs_sso(person):
        return LinkKind.RECONNECT
    return LinkKind.INVITE if has_never_joined(person) else LinkKind.RESET


def connects(opened: OpenedLink) -> bool:
    """Return whether a one-time link may be used to connect single sign-on."""
    if opened.kind == LinkKind.RECONNECT:
        return needs_sso(opened.person) and link_of(opened.person) is None
    return is_configured() and opened.kind == LinkKind.INVITE and has_never_joined(opened.person)


def awaits_second_factor(person: User) -> bool:
    """Return whether the link was made with a one-time link alone by somebody with a second factor, who has to use it
    once before the provider's counts."""
    link = link_of(person)
    return link is not None and AWAITS_FACTOR in link.extra_data


def role_is_managed(person: User) -> bool:
    """Return whether groups at the provider decide the person's role."""
    return is_configured() and bool(settings.OIDC_ROLES) and link_of(person) is not None


def local_admins() -> QuerySet[User]:
    """Return the admins with a password who are not linked."""
    admins = User.objects.filter(role=Role.ADMIN, is_active=True).exclude(password__startswith=UNUSABLE_PASSWORD_PREFIX)
    return admins.exclude(socialaccount__provider=settings.OIDC_ISSUER)


def break_glass_admins() -> QuerySet[User]:
    """Return the admins who can sign in while the provider can't be reached: local ones with a second factor, as
    whoever reads the password first could otherwise set up one of their own."""
    factors = Authenticator.objects.filter(user=OuterRef("pk")).exclude(type=Authenticator.Type.RECOVERY_CODES)
    return local_admins().filter(Exists(factors))


@dataclass(frozen=True)
class SsoStatus:
    """A person's single sign-on, for the pages. `name` is that of the provider, "" if there is none."""

    name: str = ""
    link: SocialAccount | None = None
    is_required: bool = False
    role_is_managed: bool = False
    can_disconnect: bool = False
    is_only_way_to_confirm: bool = False  # of somebody without a second factor


def sso_status(person: User) -> SsoStatus:
    if not is_configured():
        return SsoStatus()
    link = link_of(person)
    linked, only, has_password = link is not None, bool(settings.OIDC_ONLY), person.has_usable_password()
    return SsoStatus(
        name=settings.OIDC_NAME,
        link=link,
        is_required=linked and only,
        role_is_managed=linked and bool(settings.OIDC_ROLES),
        can_disconnect=linked and not only and has_password,
        is_only_way_to_confirm=linked and (only or not has_password),
    )
