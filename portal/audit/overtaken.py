"""A decision that came too late: what another user decided first, and what was typed for this one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.db.models import Model, Q

from portal.audit.models import AuditEvent
from portal.audit.queries import AuditEntry, entry_of


@dataclass(frozen=True)
class OvertakenDecision:
    """For `components/_overtaken.html`. `typed` holds label and text of the form's fields; nothing of it was saved."""

    first: AuditEntry | None
    typed: list[tuple[str, str]]


def last_decision(row: Model) -> str:
    """Return which event of a row, or on an account, a user caused last, for the form of a decision; "" = none."""
    event = _newest(row)
    return str(event.public_id) if event else ""


def _newest(row: Model) -> AuditEvent | None:
    key: Any = row.public_id  # type: ignore[attr-defined]  # what is audited has one
    return AuditEvent.objects.filter(Q(object_id=key) | Q(account_id=key), actor__isnull=False).order_by("-id").first()


def overtaken_decision(form: forms.Form, row: Model, *, seen: str) -> OvertakenDecision:
    """`seen` is the `last_decision` that the form was opened with."""
    texts = [each for each in form.visible_fields() if isinstance(each.field, forms.CharField)]
    typed = [(str(each.label), str(value)) for each in texts if (value := each.value())]
    event = _newest(row)
    return OvertakenDecision(entry_of(event) if event and str(event.public_id) != seen else None, typed)
