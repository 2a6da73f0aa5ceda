"""Words of our audit events: permissions, refusals of single sign-on, and the objects with their pages."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from portal.access.permission_labels import LABELS
from portal.access.sso.refusals import EXPLANATIONS
from portal.audit import words
from portal.audit.words import ObjectKind

_NAMES: dict[str, words.Text] = {
    "browser": _("Browser"),
    "factor": _("Second factor"),
    "factors": _("Second factors"),
    "issuer": _("Identity provider"),
    "subject": _("Subject at the identity provider"),
}


def register_access_words() -> None:
    """Register our words; called once, when the models are loaded."""
    permissions = {code: label.name for code, label in LABELS.items()}
    refusals = {code: page.title for code, page in EXPLANATIONS.items()}
    words.add_names(_NAMES)
    words.add_labels({"permissions_added": permissions, "permissions_removed": permissions})
    words.add_reasons({"staff.sso_refused": refusals, "staff.sessions_ended": refusals})
    words.add_objects(
        {
            "access.user": ObjectKind(_("Team member"), "access:staff-member"),
            "access.customrole": ObjectKind(_("Role"), "access:role-edit"),
        }
    )
