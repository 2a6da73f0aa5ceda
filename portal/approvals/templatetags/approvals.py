"""``{% load approvals %}{% approval_notice "credential" %}``: says on a form that the change needs approval, and by
whom."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils import timezone

from portal.approvals import approvers, gate
from portal.approvals.kinds import ApprovalKind, permissions_to_decide

register = template.Library()


@register.inclusion_tag("approvals/_notice.html", takes_context=True)
def approval_notice(context: template.Context, kind: str, what: str = "") -> dict[str, Any]:
    """`what` begins the sentence, where only a part of the form needs approval. Nothing is shown while the rule is
    off."""
    of = ApprovalKind(kind)
    if not gate.rule_applies(of):
        return {"needed": False}
    person = context["request"].user
    possible = approvers.others(person, *permissions_to_decide(of), now=timezone.now())
    return {"needed": True, "names": approvers.names(possible), "what": what}
