from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from portal.access import links, mail
from portal.access.models import User
from portal.access.sso.queries import needs_sso


@shared_task(name="access.mail_reset_link")
def mail_reset_link(user_id: int, **_: object) -> None:
    """Mail a link for a new password. The ID 0 is of a stranger, to whom nothing is sent."""
    person = User.objects.filter(pk=user_id, is_active=True).first()
    if person and needs_sso(person):
        mail.send_sso_only(person=person)
    elif person:
        link = links.make_link(person=person, lasts=links.FORGOT, now=timezone.now(), request=None)
        mail.send_reset(person=person, link=link)
