"""The billing terms: when a month is in review, how statements are numbered, and account codes of the files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from billing.models import BillingTerms, Statement
from portal.access.permissions import Permission, require
from portal.commands import Command
from portal.edits import refuse_stale
from portal.refusals import Refusal

FIELDS = ("grace_days", "number_prefix", "default_account_code", "accrued_account_code")


def edit_billing_terms(command: Command, *, facts: Mapping[str, Any], seen: Mapping[str, Any] | None = None) -> bool:
    """Change the terms; return whether that changed them. Raises `EditConflict` and `Refusal`."""
    require(command.person, Permission.CLOSE_MONTHS)
    with transaction.atomic():
        BillingTerms.objects.get_or_create(pk=1)
        stored = BillingTerms.objects.select_for_update(no_key=True).get(pk=1)
        refuse_stale(stored, facts, seen)
        before = {name: getattr(stored, name) for name in FIELDS}
        changed = [name for name in FIELDS if name in facts and facts[name] != before[name]]
        if not changed:
            return False
        if "number_prefix" in changed and Statement.objects.filter(number__isnull=False).exists():
            text = _("Statements have numbers with this prefix, so it can't change. Enter “%(prefix)s” again.")
            raise Refusal(text % {"prefix": stored.number_prefix}, field="number_prefix")
        for name in changed:
            setattr(stored, name, facts[name])
        stored.edits += 1
        stored.save(update_fields=[*changed, "edits"])
        command.record(
            verb="billing.terms_edited",
            obj=None,
            before={name: before[name] for name in changed},
            after={name: getattr(stored, name) for name in changed},
        )
    return True
