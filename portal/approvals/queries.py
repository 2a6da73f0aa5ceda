"""Queries of the approval pages. Apps above this one add the requests they keep in tables of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db.models import Q
from django.utils.translation import gettext as _

from portal.access.models import User
from portal.access.permissions import Permission
from portal.approvals import approvers, commands, rules
from portal.approvals.actions import Row, action_of
from portal.approvals.kinds import RULES, ApprovalKind, RuleText, permission_to_request, permissions_to_decide
from portal.approvals.models import Approval, ApprovalRule
from portal.formats import number_text

if TYPE_CHECKING:
    from django.db.models import QuerySet

SHOWN = 50
DECIDED_SHOWN = 50
# So long a request that was rejected, or expired, is shown to its requester at home.
ENDED_FOR = timedelta(days=7)


@dataclass(frozen=True)
class WaitingRow:
    """A request that waits. `names`: who can decide it now, in words; "" if nobody can."""

    code: str
    what: str
    url: str
    requested_by: User
    requested_at: datetime
    reason: str
    names: str
    is_mine: bool
    may_decide: bool


Source = Callable[[User, approvers.Lookup], list[WaitingRow]]
_SOURCES: list[Source] = []


def also_waiting(source: Source) -> None:
    """Have requests of another table in the list of those that wait."""
    if source not in _SOURCES:
        _SOURCES.append(source)


def may_see(person: User, approval: Approval) -> bool:
    """Return whether the user may read the request: its requester, who could approve such changes, and auditors."""
    return approval.requested_by_id == person.pk or approval.kind in _kinds_seen(person)


def _kinds_seen(person: User) -> list[ApprovalKind]:
    reads_all = person.may(Permission.VIEW_AUDIT_LOG)
    return [kind for kind in ApprovalKind if reads_all or person.may(permission_to_request(kind))]


def _seen_by(person: User) -> Q:
    return Q(kind__in=_kinds_seen(person)) | Q(requested_by=person)


def waiting_rows(person: User, *, now: datetime) -> list[WaitingRow]:
    """Return every request that waits and that the user may read, oldest first."""
    lookup = approvers.Lookup(now=now)
    rows = _own_rows(person, lookup)
    for source in _SOURCES:
        rows += source(person, lookup)
    return sorted(rows, key=lambda each: each.requested_at)


def _own_rows(person: User, lookup: approvers.Lookup) -> list[WaitingRow]:
    found = Approval.objects.filter(_seen_by(person), state=Approval.State.WAITING).order_by("pk")
    rows = found.select_related("requested_by__custom_role")
    return [_waiting_row(each, person, lookup) for each in rows[:SHOWN]]


def _waiting_row(each: Approval, person: User, lookup: approvers.Lookup) -> WaitingRow:
    possible = lookup.others(each.requested_by, *permissions_to_decide(each.kind))
    return WaitingRow(
        code=each.code,
        what=f"{each.get_kind_display()}: {each.subject_label}",
        url=each.get_absolute_url(),
        requested_by=each.requested_by,
        requested_at=each.requested_at,
        reason=each.reason,
        names=approvers.names(possible),
        is_mine=each.requested_by_id == person.pk,
        may_decide=person in possible,
    )


def decided_requests(person: User) -> list[Approval]:
    """Return the last requests that ended and that the user may read."""
    found: QuerySet[Approval] = Approval.objects.exclude(state=Approval.State.WAITING)
    found = found.filter(_seen_by(person))
    return list(found.select_related("requested_by", "decided_by").order_by("-finished_at", "-pk")[:DECIDED_SHOWN])


def own_requests(person: User, *, now: datetime) -> list[Approval]:
    """Return the user's own requests that wait, and those that ended otherwise than approved in the last week."""
    ended = Q(state__in=(Approval.State.REJECTED, Approval.State.EXPIRED), finished_at__gte=now - ENDED_FOR)
    mine = Approval.objects.filter(Q(state=Approval.State.WAITING) | ended, requested_by=person)
    return list(mine.order_by("-pk")[:20])


@dataclass(frozen=True)
class RequestPage:
    approval: Approval
    rows: list[Row]
    names: str
    may_cancel: bool
    may_decide: bool


def request_page(approval: Approval, person: User, *, now: datetime) -> RequestPage:
    row = _waiting_row(approval, person, approvers.Lookup(now=now))
    return RequestPage(
        approval, action_of(approval).rows(approval), row.names, commands.may_cancel(person, approval), row.may_decide
    )


@dataclass(frozen=True)
class RuleRow:
    rule: ApprovalRule
    text: RuleText
    names: str
    eligible: int
    limit: str

    @property
    def too_few(self) -> bool:
        return self.eligible < 2


def rule_rows(*, now: datetime) -> list[RuleRow]:
    return [rule_row(rule, now=now) for rule in rules.all_rules()]


def rule_row(rule: ApprovalRule, *, now: datetime) -> RuleRow:
    kind = ApprovalKind(rule.kind)
    possible = approvers.eligible(*permissions_to_decide(kind), now=now)
    limit = ""
    if kind == ApprovalKind.BULK:
        limit = _("More than %(n)d accounts in %(hours)d hours.") % {"n": rule.threshold, "hours": rule.window_hours}
    elif kind == ApprovalKind.CLOSE:
        limit = _("A difference of more than %(n)s.") % {"n": number_text(rule.threshold)}
    return RuleRow(rule, RULES[kind], approvers.names(possible), possible.count(), limit)


def recommends_rules(person: User, *, now: datetime) -> bool:
    """Return whether the home page suggests switching approvals on: all are off, and two people could use them."""
    if not person.may(Permission.MANAGE_APPROVAL_RULES) or ApprovalRule.objects.filter(is_on=True).exists():
        return False
    return approvers.eligible(*permissions_to_decide(ApprovalKind.DELETE), now=now).count() >= 2
