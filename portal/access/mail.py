"""Mail to staff, sent outside transactions. A mail that cannot be sent is reported by the return value, not raised."""

from __future__ import annotations

import smtplib
from datetime import UTC

import structlog
from django.core.mail import send_mail
from django.utils.translation import gettext as _

from portal.access.links import Link
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


def send_unknown_address(*, email: str) -> bool:
    """Send mail to an address without an account, so that both responses take the same time and its owner learns of
    it."""
    text = _(
        "Hello,\n\nSomeone requested a new Postkeeper password for this email address. It doesn't belong to an "
        "active team member, so there is no password to reset.\nIf this was you, ask an admin to invite you. "
        "If not, delete this email.\n"
    )
    return _send(email, _("Postkeeper password request"), text)


def _until(link: Link) -> str:
    return link.expires_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def _send(to: str, subject: str, body: str) -> bool:
    try:
        return bool(send_mail(subject, body, None, [to]))
    except (OSError, smtplib.SMTPException) as error:
        log.warning("mail not sent", error=type(error).__name__)
        return False
