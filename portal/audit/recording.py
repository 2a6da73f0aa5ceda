"""Recording of audit events. The model is looked up on call, so that this package can be imported at any time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db.models import Model
from django.dispatch import Signal
from django.http import HttpRequest
from django.utils import timezone

from portal.access.addresses import client_ip
from portal.audit.verbs import VERBS
from portal.logs import mask_secrets

if TYPE_CHECKING:
    from portal.access.models import User
    from portal.audit.models import AuditEvent


# Sent with `event` in the transaction of each event whose verb alerts.
alerting = Signal()


def type_of(obj: Model) -> str:
    """Return the app and table, such as "customers.account": a class may be renamed, signed data may not."""
    label = obj._meta.app_label
    return f"{label}.{obj._meta.db_table.removeprefix(f'{label}_')}"


def _of(obj: Model | None, name: str) -> Any:
    """Return the row `name` that the object is, or belongs to; None where there is none."""
    return obj if obj and obj._meta.model_name == name else getattr(obj, name, None)


def record(
    *,
    actor: User | None,
    verb: str,
    obj: Model | None,
    customer: Model | None = None,
    account: Model | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
    request: HttpRequest | None = None,
) -> AuditEvent:
    """Append one event. Call it inside the transaction of the change.

    `actor` None is the portal itself. `verb` is one of portal/audit/verbs.py ("account.suspend_asked"). `before` and
    `after` hold the changed values by name; values that look like secrets by name or form are masked here as a last
    resort. `customer`, `account` and `obj` are rows with a `public_id`. The account is the one that `obj` is or
    belongs to, and the customer that of the account or of `obj`, where they are not given.
    """
    account = account or _of(obj, "account")
    customer = customer or _of(account or obj, "customer")
    model = apps.get_model("audit", "AuditEvent")
    event = model.objects.create(
        at=timezone.now(),
        actor=actor,
        actor_label=str(actor)[:120] if actor else "",
        actor_role=actor.audited_role if actor else "",
        verb=verb,
        object_type=type_of(obj) if obj else "",
        object_id=getattr(obj, "public_id", None),
        object_label=str(obj)[:200] if obj else "",
        customer_id=getattr(customer, "public_id", None),
        customer_label=str(customer)[:200] if customer else "",
        account_id=getattr(account, "public_id", None),
        before=mask_secrets(None, verb, dict(before or {})),
        after=mask_secrets(None, verb, dict(after or {})),
        reason=reason,
        ip=client_ip(request) if request else None,
        request_id=getattr(request, "request_id", ""),
    )
    if verb in VERBS and VERBS[verb].alerts:
        alerting.send(model, event=event)
    return event
