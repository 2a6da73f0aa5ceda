"""Commands on bulk changes: plan, submit, approve or reject, pause, cancel, plan again.

A bulk change of more than `ALONE` accounts, or any delete, needs approval once there is another active user whose role
may give it. They approve the plan they saw, by its hash. The run itself is in `customers.bulk.run`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _

from customers.bulk.plan import KIND_OF, Planner
from customers.models import Account, ChangeSet, ChangeSetItem, Operation
from customers.models.operation_states import ROUTE_OF_KIND
from customers.operations.commands import UnableToAsk, cancel_operation
from customers.operations.submissions import submit_once
from portal import audit
from portal.access.models import User
from portal.access.permissions import allowed, roles_of
from portal.queue import enqueue_on_commit

RUN = "customers.run_change_set"
# So many accounts can be changed without approval, and so many one plan may have.
ALONE = 10
MOST = 5000


# --- Permissions ------------------------------------------------------------------------------------------------------


def route_of(kind: str) -> str:
    """Return the permission that a bulk change needs, for requesting and for approving it."""
    wanted = KIND_OF.get(ChangeSet.Kind(kind))
    return ROUTE_OF_KIND[wanted] if wanted else "customers:edit"


def may(person: User, kind: str) -> bool:
    return person.is_active and allowed(person.role, route_of(kind), "POST")


def permit_bulk_change(person: User, kind: str) -> None:
    if not may(person, kind):
        raise UnableToAsk(_("Your role may not do this."))


def other_approvers(person: User, kind: str) -> QuerySet[User]:
    """Return the other users who may approve: active, with a password set, of a role that may do it."""
    may = User.objects.filter(is_active=True, role__in=roles_of(route_of(kind), "POST")).exclude(pk=person.pk)
    return may.exclude(password__startswith=UNUSABLE_PASSWORD_PREFIX)


def exceeds_limit(kind: str, accounts: int) -> bool:
    return kind == ChangeSet.Kind.DELETE or accounts > ALONE


def needs_approval(person: User, kind: str, accounts: int) -> bool:
    return bool(settings.SECOND_PERSON) and exceeds_limit(kind, accounts) and other_approvers(person, kind).exists()


# --- Planning ---------------------------------------------------------------------------------------------------------


def plan_bulk_change(
    *,
    actor: User,
    kind: str,
    wanted: dict[str, Any],
    account_ids: Iterable[int],
    reason: str,
    client_token: str,
    now: datetime,
    request: HttpRequest | None = None,
) -> ChangeSet:
    """Make one row for each account with the effect on it. No approval is requested yet. The same form again returns
    the same bulk change. Raises `UnableToAsk`."""
    permit_bulk_change(actor, kind)
    if not reason.strip():
        raise UnableToAsk(_("Say why. It is kept in the audit log."), field="reason")
    chosen = set(account_ids)
    if not chosen or len(chosen) > MOST:
        raise UnableToAsk(_("Choose between 1 and %(most)d accounts.") % {"most": MOST})
    if kind == ChangeSet.Kind.DELETE and len(chosen) > 1:
        raise UnableToAsk(_("Accounts are deleted one at a time."))

    def make() -> ChangeSet:
        made = ChangeSet.objects.create(
            kind=kind, wanted=wanted, reason=reason.strip(), requested_by=actor, client_token=client_token,
            created_at=now, not_before=now,
        )  # fmt: skip
        _write_rows(made, chosen, now)
        ready = made.items.filter(state=ChangeSetItem.State.READY).count()
        told = {"what": kind, **wanted, "accounts": ready, "left": len(chosen) - ready}
        audit.record(actor=actor, verb="bulk.planned", obj=made, after=told, reason=made.reason, request=request)
        return made

    return submit_once(
        ChangeSet, actor=actor, client_token=client_token, kind=f"bulk.{kind}", target=sorted(chosen),
        content={"wanted": wanted, "reason": reason}, now=now, make=make,
    )  # fmt: skip


def _write_rows(made: ChangeSet, account_ids: Iterable[int], now: datetime) -> None:
    rows = Planner(made.kind, made.wanted, made.reason, now=now).rows(account_ids)
    items = [
        ChangeSetItem(
            change_set=made, account=row.account, version=row.account.version, before=row.before, after=row.after,
            was=row.was, becomes="" if row.note else row.becomes, warnings=[] if row.note else row.warnings,
            note=row.note, state=ChangeSetItem.State.ASIDE if row.note else ChangeSetItem.State.READY,
        )
        for row in rows
    ]  # fmt: skip
    ChangeSetItem.objects.bulk_create(items, batch_size=500)
    made.plan_hash = hash_of(made)
    made.save(update_fields=["plan_hash"])


def hash_of(change_set: ChangeSet) -> str:
    """Return the hash of all that is to be done, by the rows as they are now."""
    rows = change_set.items.exclude(state=ChangeSetItem.State.ASIDE).order_by("account_id")
    said = [change_set.kind, change_set.wanted, change_set.reason]
    facts = rows.values_list("account_id", "version", "before", "after")
    return sha256(json.dumps([said, [list(each) for each in facts]], sort_keys=True).encode()).hexdigest()


def plan_again(
    *, actor: User, change_set: ChangeSet, client_token: str, now: datetime, request: HttpRequest | None = None
) -> ChangeSet:
    """Plan again for the accounts that changed since; the old plan's approval does not apply to the new one."""
    moved = change_set.items.filter(state__in=(ChangeSetItem.State.MOVED, ChangeSetItem.State.FAILED)).values_list(
        "account_id", flat=True
    )
    return plan_bulk_change(
        actor=actor, kind=change_set.kind, wanted=change_set.wanted, account_ids=list(moved),
        reason=change_set.reason, client_token=client_token, now=now, request=request,
    )  # fmt: skip


# --- Submitting and approving ----------------------------------------------------------------------------------------


def submit_bulk_change(
    *, actor: User, change_set: ChangeSet, now: datetime, request: HttpRequest | None = None
) -> ChangeSet:
    """Apply the plan, or have it wait for approval. Raises `UnableToAsk`."""
    permit_bulk_change(actor, change_set.kind)
    if actor.pk != change_set.requested_by_id:
        raise UnableToAsk(_("Only who made the plan can send it off."))
    with transaction.atomic():
        ready = change_set.items.filter(state=ChangeSetItem.State.READY).count()
        if not ready:
            raise UnableToAsk(_("There is nothing in this plan that can be done."))
        second = needs_approval(actor, change_set.kind, ready)
        state = ChangeSet.State.WAITING if second else ChangeSet.State.RUNNING
        if _step(change_set, (ChangeSet.State.PLANNED,), state=state, second_person=second, not_before=now):
            verb = "bulk.submitted" if second else "bulk.started"
            told: dict[str, Any] = {"accounts": ready, "plan": change_set.plan_hash[:12]}
            if not second and exceeds_limit(change_set.kind, ready):
                told["alone"] = True
            _tell(verb, change_set, actor, request, after=told)
            if not second:
                enqueue_on_commit(RUN, change_set.pk)
    change_set.refresh_from_db()
    return change_set


def approve_bulk_change(
    *, actor: User, change_set: ChangeSet, plan_hash: str, now: datetime, request: HttpRequest | None = None
) -> None:
    """Start what another user planned. `plan_hash` is of the plan they saw. Raises `UnableToAsk`."""
    permit_bulk_change(actor, change_set.kind)
    if actor.pk == change_set.requested_by_id:
        raise UnableToAsk(_("Another person has to approve it: you asked for it."))
    with transaction.atomic():
        if not plan_hash == change_set.plan_hash == hash_of(change_set):
            raise UnableToAsk(_("The plan is another than the one you looked at. Look at it again."))
        facts = {"approved_by": actor, "approved_hash": plan_hash, "not_before": now}
        if not _step(change_set, (ChangeSet.State.WAITING,), state=ChangeSet.State.RUNNING, **facts):
            raise UnableToAsk(_("It does not wait for approval any more."))
        _tell("bulk.approved", change_set, actor, request, after={"plan": plan_hash[:12]})
        enqueue_on_commit(RUN, change_set.pk)


def reject_bulk_change(
    *, actor: User, change_set: ChangeSet, reason: str, now: datetime, request: HttpRequest | None = None
) -> None:
    permit_bulk_change(actor, change_set.kind)
    if not reason.strip():
        raise UnableToAsk(_("Say why: whoever asked reads it."), field="reason")
    with transaction.atomic():
        message = _("Refused by %(name)s: %(why)s") % {"name": actor, "why": reason.strip()}
        if not _step(
            change_set,
            (ChangeSet.State.WAITING,),
            state=ChangeSet.State.REFUSED,
            message=message[:1000],
            finished_at=now,
        ):
            raise UnableToAsk(_("It does not wait for approval any more."))
        change_set.items.filter(state=ChangeSetItem.State.READY).update(state=ChangeSetItem.State.CANCELLED)
        _tell("bulk.refused", change_set, actor, request, reason=reason.strip())


def waiting_for(person: User) -> list[ChangeSet]:
    """Return what this user could approve now, oldest first."""
    waiting = (
        ChangeSet.objects.filter(state=ChangeSet.State.WAITING)
        .exclude(requested_by=person)
        .select_related("requested_by")
    )
    return [each for each in waiting.order_by("pk")[:50] if allowed(person.role, route_of(each.kind), "POST")]


# --- Pause, resume, cancel --------------------------------------------------------------------------------------------


def pause_bulk_change(*, actor: User, change_set: ChangeSet, request: HttpRequest | None = None) -> None:
    """Request nothing more for now. Operations that exist go on."""
    permit_bulk_change(actor, change_set.kind)
    with transaction.atomic():
        if _step(change_set, (ChangeSet.State.RUNNING,), state=ChangeSet.State.PAUSED, message=""):
            _tell("bulk.paused", change_set, actor, request)


def resume_bulk_change(
    *, actor: User, change_set: ChangeSet, now: datetime, request: HttpRequest | None = None
) -> None:
    permit_bulk_change(actor, change_set.kind)
    with transaction.atomic():
        if _step(change_set, (ChangeSet.State.PAUSED,), state=ChangeSet.State.RUNNING, message="", not_before=now):
            _tell("bulk.resumed", change_set, actor, request)
            enqueue_on_commit(RUN, change_set.pk)


def cancel_bulk_change(
    *, actor: User, change_set: ChangeSet, now: datetime, request: HttpRequest | None = None
) -> tuple[int, int]:
    """Request nothing more, and cancel what is still queued. Returns how many operations were canceled and how many go
    on because they were begun."""
    permit_bulk_change(actor, change_set.kind)
    with transaction.atomic():
        before = (
            ChangeSet.State.PLANNED,
            ChangeSet.State.WAITING,
            ChangeSet.State.RUNNING,
            ChangeSet.State.PAUSED,
            ChangeSet.State.ENDED,
        )
        if _step(change_set, before, state=ChangeSet.State.CANCELLED, message="", finished_at=now):
            left = change_set.items.filter(state=ChangeSetItem.State.READY).update(state=ChangeSetItem.State.CANCELLED)
            _tell("bulk.cancelled", change_set, actor, request, after={"not_asked": left})
    taken_back = begun = 0
    for operation in Operation.objects.open().filter(change_set_item__change_set=change_set).order_by("pk"):
        try:
            cancel_operation(actor=actor, operation=operation, now=now, request=request)
            taken_back += 1
        except UnableToAsk:
            begun += 1
    return taken_back, begun


def _step(change_set: ChangeSet, before: tuple[str, ...], **facts: Any) -> int:
    """Make a step of a bulk change. Every step uses this, so that of two at once one loses."""
    changed = ChangeSet.objects.filter(pk=change_set.pk, state__in=before).update(**facts)
    change_set.refresh_from_db()
    return changed


def _tell(verb: str, change_set: ChangeSet, actor: User, request: HttpRequest | None, **more: Any) -> None:
    reason = more.pop("reason", change_set.reason)
    audit.record(actor=actor, verb=verb, obj=change_set, reason=reason, request=request, **more)


def request_delete_approval(*, actor: User, account: Account, without_reading: bool = False, **asked: Any) -> ChangeSet:
    """Request a delete that waits for approval: a bulk change of one. Takes reason, client_token, now, request."""
    made = plan_bulk_change(
        actor=actor, kind=ChangeSet.Kind.DELETE, account_ids=[account.pk],
        wanted={"without_reading": without_reading}, **asked,
    )  # fmt: skip
    if made.state != ChangeSet.State.PLANNED:
        return made
    if item := made.items.filter(state=ChangeSetItem.State.ASIDE).first():
        raise UnableToAsk(item.note)
    return submit_bulk_change(actor=actor, change_set=made, now=asked["now"], request=asked.get("request"))
