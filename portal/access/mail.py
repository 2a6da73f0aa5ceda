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
        "Hello %(name)s,\n\nyou are invited to Postkeeper, the staff portal. Your role: %(role)s.\n"
        "Set your password here, then sign in:\n\n%(url)s\n\nThe link works once, until %(until)s UTC.\n"
    )
    facts = {"name": person.name, "role": person.get_role_display(), "url": link.url, "until": _until(link)}
    return _send(person.email, _("You are invited to Postkeeper"), text % facts)


def send_reset(*, person: User, link: Link) -> bool:
    text = _(
        "Hello %(name)s,\n\nwith this link you set a new password for Postkeeper:\n\n%(url)s\n\n"
        "It works once, until %(until)s UTC. If you did not ask for it, delete this mail and tell an admin.\n"
    )
    facts = {"name": person.name, "url": link.url, "until": _until(link)}
    return _send(person.email, _("Set a new password for Postkeeper"), text % facts)


def send_unknown_address(*, email: str) -> bool:
    """Send mail to an address without an account, so that both responses take the same time and its owner learns of
    it."""
    text = _(
        "Hello,\n\nsomeone asked for a new password for Postkeeper with this address. It belongs to no active member "
        "of staff, so there is nothing to set.\nIf it was you, ask an admin to invite you. If not, delete this mail.\n"
    )
    return _send(email, _("Someone asked for a password at Postkeeper"), text)


def _until(link: Link) -> str:
    return link.expires_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def _send(to: str, subject: str, body: str) -> bool:
    try:
        return bool(send_mail(subject, body, None, [to]))
    except (OSError, smtplib.SMTPException) as error:
        log.warning("mail not sent", error=type(error).__name__)
        return False
