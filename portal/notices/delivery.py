"""Delivery of notices by mail to all admins, or to one person. A mail server that does not answer delays a notice but
never loses it."""

from __future__ import annotations

import smtplib
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.db.models import F
from django.utils.translation import gettext as _

from portal.access.models import User
from portal.access.permissions import Permission
from portal.access.queries import people_who_may
from portal.notices.models import Notice

log = structlog.get_logger(__name__)

TRIES = 8
AT_ONCE = 20


def deliver(*, now: datetime) -> int:
    """Send due notices; return how many were sent.

    Two concurrent workers send none twice: an attempt is claimed by an update of exactly one row. If a worker dies
    after the mail server's answer, the notice is sent again.
    """
    waiting = Notice.objects.filter(mailed_at=None, ended_at=None, not_before__lte=now, tries__lt=TRIES)
    sent = 0
    for notice in waiting.order_by("raised_at")[:AT_ONCE]:
        mine = Notice.objects.filter(pk=notice.pk, tries=notice.tries, mailed_at=None)
        if mine.update(tries=F("tries") + 1, not_before=now + timedelta(minutes=2**notice.tries)) != 1:
            continue
        if to := _mail(notice):
            over = {"ended_at": now} if notice.is_of_event else {}
            Notice.objects.filter(pk=notice.pk).update(mailed_at=now, mailed_to=to, **over)
            sent += 1
    return sent


def _mail(notice: Notice) -> int:
    """Return the number of recipients; 0 if it was not sent."""
    if notice.to_id:
        people = User.objects.filter(pk=notice.to_id)
        people = people if notice.kind == Notice.BROKE_GLASS else people.filter(is_active=True)
    else:
        people = people_who_may(Permission.MANAGE_TEAM)
    addresses = list(people.order_by("pk").values_list("email", flat=True))
    if not addresses:
        return 0
    body = _("%(text)s\n\n%(url)s\n\nYou get this email only once. Check the page for the current status.\n") % {
        "text": notice.text,
        "url": settings.PORTAL_URL + notice.path,
    }
    try:
        send_mail(f"Postkeeper: {notice.title}", body, None, addresses)
    except (OSError, smtplib.SMTPException) as error:
        log.warning("notice not sent", notice=notice.pk, error=type(error).__name__)
        return 0
    return len(addresses)
