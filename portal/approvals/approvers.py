"""Team members who may approve.

An approver is active, has joined, and holds the permission of the change and the one of the page that decides it. It
has to be a person other than the requester in fact, so access that was given without approval in the last `SETTLING`
does not count yet: not for who got it, and not between them and the admin who gave it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import QuerySet
from django.utils.functional import cached_property
from django.utils.text import get_text_list
from django.utils.translation import gettext as _

from portal.access.models import User
from portal.access.permissions import Permission
from portal.access.queries import has_joined_condition, people_who_may
from portal.approvals.settling import Settling

SHOWN = 20


def members_with(*permissions: Permission) -> QuerySet[User]:
    """Return the active users who have joined and hold all these permissions."""
    found = User.objects.filter(has_joined_condition())
    for each in permissions:
        found = found.filter(pk__in=people_who_may(each).order_by().values("pk"))
    return found


def eligible(*permissions: Permission, now: datetime) -> QuerySet[User]:
    """Return who may approve requests of others."""
    return _settled(permissions, Settling.at(now))


def others(requester: User, *permissions: Permission, now: datetime) -> QuerySet[User]:
    """Return who may approve a request of this user."""
    settling = Settling.at(now)
    return _settled(permissions, settling).exclude(pk__in={requester.pk, *settling.givers(requester)})


def _settled(permissions: Iterable[Permission], settling: Settling) -> QuerySet[User]:
    members = members_with(*permissions).exclude(public_id__in=settling.people)
    return members.exclude(custom_role__public_id__in=settling.roles)


def may_approve(person: User, requester: User, *permissions: Permission, now: datetime) -> bool:
    return others(requester, *permissions, now=now).filter(pk=person.pk).exists()


def too_recent_text() -> str:
    """Return why a person with the permission can't decide a request of another."""
    return _(
        "You can't decide this request: your access was changed, or you changed the requester's, less than 24 hours "
        "ago. Someone else has to decide it, or you can later."
    )


def names(people: Iterable[User]) -> str:
    """Return "Ada or Bo", of at most `SHOWN` users in order of their names; "" if there is none."""
    found = sorted(map(str, people))
    if len(found) > SHOWN:
        found[SHOWN:] = [_("others")]
    return str(get_text_list(found, _("or")))


class Lookup:
    """Approvers of many requests at one moment, with a query for each kind of permissions instead of each request."""

    def __init__(self, *, now: datetime) -> None:
        self._now = now
        self._settled: dict[tuple[Permission, ...], list[User]] = {}

    @cached_property
    def _settling(self) -> Settling:
        """Read with the first request: most pages that could list some have none."""
        return Settling.at(self._now)

    def others(self, requester: User, *permissions: Permission) -> list[User]:
        """Return the same as the function `others`."""
        if permissions not in self._settled:
            self._settled[permissions] = list(_settled(permissions, self._settling))
        besides = {requester.pk, *self._settling.givers(requester)}
        return [each for each in self._settled[permissions] if each.pk not in besides]
