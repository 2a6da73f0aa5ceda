"""Notices of requests: to those who can approve one, to its requester, and to all overseers of a broken glass."""

from __future__ import annotations

from datetime import datetime

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _

from portal.access.models import User
from portal.access.permissions import Permission
from portal.approvals.approvers import SHOWN, members_with
from portal.approvals.models import Approval
from portal.approvals.settling import lost_access
from portal.audit.models import AuditEvent
from portal.audit.verbs import title_of
from portal.notices import raising as notices
from portal.notices.models import Notice

ASKED, DECIDED = "approval.asked", f"{Notice.EVENT}approval.decided"


def tell_approvers(
    approvers: QuerySet[User], *, about: str, what: str, requester: User, reason: str, path: str, now: datetime
) -> None:
    """Tell everyone who can approve it, at most `SHOWN`, until it is decided."""
    text = _("%(name)s requests your approval: %(what)s.") % {"name": requester, "what": what}
    for each in approvers.order_by("name")[:SHOWN]:
        notices.raised(
            ASKED,
            about=f"{about}:{each.pk}",
            title=_("Approval requested: %(what)s") % {"what": what},
            text="\n".join(filter(None, [text, _("Reason: %(why)s") % {"why": reason} if reason else ""])),
            path=path,
            now=now,
            to=each,
        )


def stop_telling_approvers(*, about: str, now: datetime) -> None:
    """End the notices of a request that no longer waits; mail that was not sent yet is dropped."""
    notices.all_ended(ASKED, prefix=f"{about}:", now=now)


def tell_requester(requester: User, *, about: str, title: str, text: str, path: str, now: datetime) -> None:
    notices.raised(DECIDED, about=about, title=title, text=text, path=path, now=now, to=requester)


def tell_end(row: Approval, *, now: datetime) -> None:
    """Tell the requester how the request ended, and nobody else any longer that it waits."""
    about = str(row.public_id)
    stop_telling_approvers(about=about, now=now)
    said = [
        f"{row.get_kind_display()}: {row.subject_label}",
        _("By: %(who)s") % {"who": row.decided_by} if row.decided_by else "",
        _("Reason: %(why)s") % {"why": row.decision_reason} if row.decision_reason else "",
    ]
    tell_requester(
        row.requested_by,
        about=about,
        title=f"{row.code}: {row.get_state_display()}",
        text="\n".join(filter(None, said)),
        path=row.get_absolute_url(),
        now=now,
    )


def tell_of_broken_glass(event: AuditEvent) -> None:
    """Mail the event to all admins and auditors, and to those who were one of them a day ago. Each has a notice of
    their own, so that nobody can take it away by a change of their access before it is sent."""
    overseers = (Permission.MANAGE_APPROVAL_RULES, Permission.VIEW_AUDIT_LOG)
    told: set[int] = set()
    for each in overseers:
        told.update(members_with(each).values_list("pk", flat=True))
        told |= lost_access(each, now=event.at)
    label = title_of(event.verb)
    for person in User.objects.filter(pk__in=told).order_by("pk"):
        notices.raised(
            Notice.BROKE_GLASS,
            about=f"{event.pk}:{person.pk}",
            title=label,
            text="\n".join(
                [
                    f"{label}: {event.after.get('change', '')}",
                    _("By: %(who)s") % {"who": event.actor_label},
                    _("Reason: %(why)s") % {"why": event.reason},
                    *([_("Address: %(ip)s") % {"ip": event.ip}] if event.ip else []),
                ]
            ),
            path=f"{reverse('audit:list')}?verb={event.verb}",
            now=event.at,
            to=person,
        )
