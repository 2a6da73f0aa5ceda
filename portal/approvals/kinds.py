"""Kinds of changes that may need approval, and the permission that requesting and approving each needs."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import models
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from portal.access.permissions import Permission


class ApprovalKind(models.TextChoices):
    DELETE = "delete", _("Delete account")
    BULK = "bulk", _("Bulk change")
    LINK = "link_without_proof", _("Link account without proof")
    CREDENTIAL = "credential", _("Replace connection credential")
    ADMIN_ROLE = "admin_role", _("Grant admin access")
    CLOSE = "close_month", _("Close month")
    RULE = "approval_rule", _("Relax approval rule")


@dataclass(frozen=True)
class RuleText:
    """The sentences of a rule: what needs approval while it is on, and what does not need it."""

    when_on: str | Promise
    note: str | Promise = ""


# The rules an admin can switch on, in the order of the page. `ApprovalKind.RULE` has none: it follows from the others.
RULES: dict[ApprovalKind, RuleText] = {
    ApprovalKind.DELETE: RuleText(
        _("Every deletion of an account needs approval."),
    ),
    ApprovalKind.BULK: RuleText(
        _(
            "A team member who changes more accounts than the limit within the time window needs approval. Bulk "
            "changes and single suspensions count together."
        ),
        _("Each account counts once. Bulk changes that were approved don't count."),
    ),
    ApprovalKind.LINK: RuleText(
        _(
            "Linking an existing account to a customer needs approval if nothing at the provider shows that it is "
            "theirs."
        ),
        _("Proof is the same email address, or, for an account without one, the same name and website."),
    ),
    ApprovalKind.CREDENTIAL: RuleText(
        _("Replacing the API key or password of a connection needs approval, also after the provider rejected it."),
        _("The first key of a new connection needs none."),
    ),
    ApprovalKind.CLOSE: RuleText(
        _(
            "Closing a month needs approval if, for any connection, the provider's invoices and the cost by our "
            "figures differ by more than the limit, accepted differences included."
        ),
        _("The limit is in whole units of the invoice's currency."),
    ),
    ApprovalKind.ADMIN_ROLE: RuleText(
        _(
            "Giving someone admin access needs approval: by a role that manages the team or connections, an "
            "invitation, enabling a disabled admin, or resetting an admin's password or second factor."
        ),
        _(
            "Admins can still reset their own password by email. Groups at the identity provider give roles without "
            "approval."
        ),
    ),
}

PERMISSIONS: dict[ApprovalKind, Permission] = {
    ApprovalKind.DELETE: Permission.DELETE_ACCOUNT,
    ApprovalKind.BULK: Permission.CHANGE_IN_BULK,
    ApprovalKind.LINK: Permission.LINK_ACCOUNT,
    ApprovalKind.CREDENTIAL: Permission.MANAGE_CONNECTIONS,
    ApprovalKind.ADMIN_ROLE: Permission.MANAGE_TEAM,
    ApprovalKind.CLOSE: Permission.CLOSE_MONTHS,
    ApprovalKind.RULE: Permission.MANAGE_APPROVAL_RULES,
}


# The permission that the page needs on which a request of the kind is decided.
DECIDED_WITH: dict[ApprovalKind, Permission] = {
    ApprovalKind.DELETE: Permission.CHANGE_IN_BULK,
    ApprovalKind.BULK: Permission.CHANGE_IN_BULK,
}


def permission_to_request(kind: str) -> Permission:
    return PERMISSIONS[ApprovalKind(kind)]


def permissions_to_decide(kind: str) -> tuple[Permission, Permission]:
    """Return what an approver holds: the permission of the change, and that of the page."""
    of = ApprovalKind(kind)
    return PERMISSIONS[of], DECIDED_WITH.get(of, Permission.DECIDE_APPROVAL)
