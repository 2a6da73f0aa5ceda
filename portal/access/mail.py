"""Mail to staff, sent outside transactions. A mail that cannot be sent is reported by the return value, not raised."""

from __future__ import annotations

import smtplib
from datetime import UTC

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.utils.translation import gettext as _

from portal.access.links import Link, LinkKind
from portal.access.models import User

log = structlog.get_logger(__name__)


def send_invitation(*, person: User, link: Link) -> bool:
    text = _(
        "Hello %(name)s,\n\nYou've been invited to Postkeeper, the staff portal. Your role: %(role)s.\nSet "
        "your password, then sign in:\n\n%(url)s\n\nThe link works once and expires on %(until)s UTC.\n"
    )
    facts = {"name": person.name, "role": person.get_role_display(), "url": link.url, "until": _until(link)}
    return _send(person.email, _("You're invited to Postkeeper"), text % facts)


def send_reset(*, person: User, link: Link) -> bool:
    text = _(
        "Hello %(name)s,\n\nUse this link to set a new password for Postkeeper:\n\n%(url)s\n\nIt works once "
        "and expires on %(until)s UTC. If you didn't request it, delete this email and tell an admin.\n"
    )
    facts = {"name": person.name, "url": link.url, "until": _until(link)}
    return _send(person.email, _("Reset your Postkeeper password"), text % facts)


def send_reconnect(*, person: User, link: Link) -> bool:
    text = _(
        "Hello %(name)s,\n\nAn admin reset your sign-in to Postkeeper. Use this link to connect %(provider)s again:\n\n"
        "%(url)s\n\nIt works once and expires on %(until)s UTC. If you didn't ask for it, tell an admin.\n"
    )
    facts = {"name": person.name, "provider": settings.OIDC_NAME, "url": link.url, "until": _until(link)}
    return _send(person.email, _("Reconnect your Postkeeper sign-in"), text % facts)


def send_link(*, person: User, link: Link) -> bool:
    """Mail a one-time link, with the words of its kind."""
    send = {LinkKind.INVITE: send_invitation, LinkKind.RECONNECT: send_reconnect}.get(link.kind, send_reset)
    return send(person=person, link=link)


def send_sso_only(*, person: User) -> bool:
    text = _(
        "Hello %(name)s,\n\nSomeone requested a new Postkeeper password for this email address. You sign in with "
        "%(provider)s and have no password here.\nIf you can't sign in there, ask an admin to reset your sign-in. If "
        "you didn't request this, delete this email.\n"
    )
    facts = {"name": person.name, "provider": settings.OIDC_NAME}
    return _send(person.email, _("Postkeeper password request"), text % facts)


def send_security_change(*, person: User, what: str) -> bool:
    """Tell a person that something about their sign-in changed, in case it was not them."""
    text = _("Hello %(name)s,\n\n%(what)s\n\nIf this wasn't you, change your password and tell an admin at once.\n") % {
        "name": person.name,
        "what": what,
    }
    return _send(person.email, _("Your Postkeeper sign-in was changed"), text)


def _until(link: Link) -> str:
    return link.expires_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def _send(to: str, subject: str, body: str) -> bool:
    try:
        return bool(send_mail(subject, body, None, [to]))
    except (OSError, smtplib.SMTPException) as error:
        log.warning("mail not sent", error=type(error).__name__)
        return False
