"""Commands on bulk changes: plan, submit, approve or reject, pause, cancel, plan again.

Whether one needs approval is decided in `customers.bulk.approval`. The approver approves the plan they saw, by its
hash. The run itself is in `customers.bulk.run`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils.html import format_html
from django.utils.translation import gettext as _

from customers.bulk import approval, keys
from customers.bulk.plan import OF_KEYS, Planner, hash_of, permission_of, permissions_of_change
from customers.models import Account, ChangeSet, ChangeSetItem, Operation
from customers.operations.commands import cancel_operation, request_delete, request_suspend
from customers.operations.submissions import submit_once
from portal.access.models import User
from portal.access.permissions import require
from portal.approvals import approvers, notifications, restored
from portal.commands import Command
from portal.formats import at_text
from portal.queue import enqueue_on_commit
from portal.refusals import Refusal

RUN = "customers.run_change_set"
# So many accounts one plan may have.
MOST = 5000
# So long a rejected request is shown to its requester.
REJECTED_FOR = timedelta(days=7)
# The states that a step is made from, and the one it leads to, by what is recorded.
STEPS = {
    "bulk.submitted": ((ChangeSet.State.PLANNED,), ChangeSet.State.WAITING),
    "bulk.started": ((ChangeSet.State.PLANNED,), ChangeSet.State.RUNNING),
    "bulk.approved": ((ChangeSet.State.WAITING,), ChangeSet.State.RUNNING),
    "bulk.refused": ((ChangeSet.State.WAITING,), ChangeSet.State.REFUSED),
    "bulk.paused": ((ChangeSet.State.RUNNING,), ChangeSet.State.PAUSED),
    "bulk.resumed": ((ChangeSet.State.PAUSED,), ChangeSet.State.RUNNING),
    "bulk.checked": ((ChangeSet.State.ENDED,), ChangeSet.State.RUNNING),
    "bulk.cancelled": (
        (
            ChangeSet.State.LISTING,
            ChangeSet.State.PLANNED,
            ChangeSet.State.WAITING,
            ChangeSet.State.RUNNING,
            ChangeSet.State.PAUSED,
            ChangeSet.State.ENDED,
        ),
        ChangeSet.State.CANCELLED,
    ),
}


# --- Planning ---------------------------------------------------------------------------------------------------------


def plan_bulk_change(
    command: Command,
    *,
    kind: str,
    wanted: dict[str, Any],
    account_ids: Iterable[int],
    named_keys: Iterable[tuple[int, str]] = (),
) -> ChangeSet:
    """Make one row for each account with the effect on it. No approval is requested yet. The same form again returns
    the same bulk change. Of keys, all of the accounts' are meant and the named ones; a worker lists them first. Raises
    `Refusal`."""
    for permission in permissions_of_change(kind):
        require(command.person, permission)
    if not command.reason.strip():
        raise Refusal(_("Enter a reason. It's recorded in the audit log."), field="reason")
    chosen, named = set(account_ids), set(named_keys)
    if kind in OF_KEYS and not 0 < len(chosen) + len(named) <= MOST:
        raise Refusal(_("Select between 1 and %(most)d accounts or keys.") % {"most": MOST})
    if kind not in OF_KEYS and not 0 < len(chosen) <= MOST:
        raise Refusal(_("Select between 1 and %(most)d accounts.") % {"most": MOST})
    if kind == ChangeSet.Kind.DELETE and len(chosen) > 1:
        raise Refusal(_("Accounts can only be deleted one at a time."))

    def make() -> ChangeSet:
        made = ChangeSet.objects.create(
            kind=kind,
            wanted=wanted,
            reason=command.reason.strip(),
            requested_by=command.person,
            client_token=command.token,
            created_at=command.now,
            not_before=command.now,
            state=ChangeSet.State.LISTING if kind in OF_KEYS else ChangeSet.State.PLANNED,
        )
        told = {"what": kind, **wanted}
        if kind in OF_KEYS:
            keys.write_unlisted_rows(made, chosen, named)
            told |= {"accounts": len(chosen), "keys": len(named)}
            enqueue_on_commit(RUN, made.pk)
        else:
            _write_rows(made, chosen, command.now)
            ready = made.items.filter(state=ChangeSetItem.State.READY).count()
            told |= {"accounts": ready, "left": len(chosen) - ready}
        command.record(verb="bulk.planned", obj=made, after=told, reason=made.reason)
        return made

    return submit_once(
        command,
        ChangeSet,
        kind=f"bulk.{kind}",
        target=[sorted(chosen), sorted(named)] if kind in OF_KEYS else sorted(chosen),
        content={"wanted": wanted},
        make=make,
    )


def _write_rows(made: ChangeSet, account_ids: Iterable[int], now: datetime) -> None:
    rows = Planner(made.kind, made.wanted, made.reason, now=now).rows(account_ids)
    items = [
        ChangeSetItem(
            change_set=made,
            account=row.account,
            version=row.account.version,
            before=row.before,
            after=row.after,
            was=row.was,
            becomes="" if row.note else row.becomes,
            warnings=[] if row.note else row.warnings,
            note=row.note,
            state=ChangeSetItem.State.ASIDE if row.note else ChangeSetItem.State.READY,
        )
        for row in rows
    ]
    ChangeSetItem.objects.bulk_create(items, batch_size=500)
    made.plan_hash = hash_of(made)
    made.save(update_fields=["plan_hash"])


def plan_again(command: Command, *, change_set: ChangeSet) -> ChangeSet:
    """Plan again for the accounts that changed since; the old plan's approval does not apply to the new one."""
    moved = list(
        change_set.items.filter(state__in=(ChangeSetItem.State.MOVED, ChangeSetItem.State.FAILED)).values_list(
            "account_id", "key_id"
        )
    )
    return plan_bulk_change(
        replace(command, reason=change_set.reason),
        kind=change_set.kind,
        wanted=change_set.wanted,
        account_ids=[account_id for account_id, key_id in moved if not key_id],
        named_keys=[each for each in moved if each[1]],
    )


def plan_old_keys(command: Command, *, change_set: ChangeSet) -> ChangeSet:
    """Plan to delete the old keys that a rotation left, after whoever used them has the new ones."""
    return plan_bulk_change(
        replace(command, reason=change_set.reason),
        kind=ChangeSet.Kind.KEY_DELETE,
        wanted={},
        account_ids=(),
        named_keys=keys.rotated_keys(change_set),
    )


def check_keys_again(command: Command, *, change_set: ChangeSet) -> None:
    """List the keys of a completed bulk change again, to tell what is still alive."""
    require(command.person, permission_of(change_set.kind))
    if change_set.kind in OF_KEYS:
        _move(command, change_set, "bulk.checked", checked_from=command.now, not_before=command.now)


# --- Submitting and approving ----------------------------------------------------------------------------------------


def submit_bulk_change(command: Command, *, change_set: ChangeSet) -> ChangeSet:
    """Apply the plan, or have it wait for approval. Raises `Refusal`."""
    require(command.person, permission_of(change_set.kind))
    if command.person.pk != change_set.requested_by_id:
        raise Refusal(_("Only the team member who created this bulk change can apply it."))
    with transaction.atomic():
        ready = change_set.items.filter(state=ChangeSetItem.State.READY).count()
        if not ready:
            raise Refusal(_("None of the accounts in this bulk change can be changed."))
        approval.lock_rule_of(change_set.kind)  # before any account
        if account := _deleted_account(change_set):
            _refuse_second_delete(account, besides=change_set)
        if ChangeSet.objects.select_for_update().get(pk=change_set.pk).state != ChangeSet.State.PLANNED:
            change_set.refresh_from_db()
            return change_set  # a double click
        second, facts = approval.decide(command, change_set)
        told: dict[str, Any] = {"accounts": ready, "plan": change_set.plan_hash[:12]} | facts
        verb = "bulk.submitted" if second else "bulk.started"
        times: dict[str, Any] = {"not_before": command.now, "submitted_at": command.now}
        if _move(command, change_set, verb, told, second_person=second, **times) and second:
            approval.tell_bulk_approvers(change_set, now=command.now)
    return change_set


def approve_bulk_change(command: Command, *, change_set: ChangeSet, plan_hash: str) -> None:
    """Start what another user planned. `plan_hash` is of the plan they saw. Raises `Refusal`."""
    for permission in permissions_of_change(change_set.kind):
        require(command.person, permission)
    if command.person.pk == change_set.requested_by_id:
        raise Refusal(_("You can't approve your own request. Another team member has to approve it."))
    with transaction.atomic():
        _refuse_decider(command, change_set)
        if not plan_hash == change_set.plan_hash == hash_of(change_set):
            raise Refusal(_("The plan changed since you reviewed it. Review it again."))
        facts: dict[str, Any] = {"approved_by": command.person, "approved_hash": plan_hash, "not_before": command.now}
        if not _move(command, change_set, "bulk.approved", {"plan": plan_hash[:12]}, **facts):
            raise Refusal(_("This bulk change is no longer waiting for approval."))
        approval.tell_decision(change_set, now=command.now)


def _refuse_decider(command: Command, change_set: ChangeSet) -> None:
    permissions = approval.deciding_permissions(change_set.kind)
    if not approvers.may_approve(command.person, change_set.requested_by, *permissions, now=command.now):
        raise Refusal(approvers.too_recent_text())
    # 0.1.0 stored no time of submission.
    asked_at = change_set.submitted_at or change_set.created_at
    restored.refuse_from_before(change_set.requested_by, requested_at=asked_at)


def reject_bulk_change(command: Command, *, change_set: ChangeSet) -> None:
    require(command.person, permission_of(change_set.kind))
    if not command.reason.strip():
        raise Refusal(_("Enter a reason. The requester will see it."), field="reason")
    why = command.reason.strip()
    message = _("Rejected by %(name)s: %(why)s") % {"name": command.person, "why": why}
    with transaction.atomic():
        facts: dict[str, Any] = {"message": message[:1000], "finished_at": command.now}
        if not _move(command, change_set, "bulk.refused", reason=why, **facts):
            raise Refusal(_("This bulk change is no longer waiting for approval."))
        change_set.items.filter(state=ChangeSetItem.State.READY).update(state=ChangeSetItem.State.CANCELLED)
        approval.tell_decision(change_set, now=command.now)


def requests_of(person: User, *, now: datetime) -> list[ChangeSet]:
    """Return what this user requested and is not over: waiting, running or paused, and rejected in the last week."""
    rejected = Q(state=ChangeSet.State.REFUSED, finished_at__gte=now - REJECTED_FOR)
    open_ones = Q(state__in=(ChangeSet.State.WAITING, ChangeSet.State.RUNNING, ChangeSet.State.PAUSED))
    mine = ChangeSet.objects.filter(open_ones | rejected, requested_by=person)
    return list(mine.order_by("-pk")[:20])


# --- Pause, resume, cancel --------------------------------------------------------------------------------------------


def pause_bulk_change(command: Command, *, change_set: ChangeSet) -> None:
    """Request nothing more for now. Operations that exist continue."""
    require(command.person, permission_of(change_set.kind))
    _move(command, change_set, "bulk.paused", message="")


def resume_bulk_change(command: Command, *, change_set: ChangeSet) -> None:
    """Continue. Raises `Refusal` where it would need approval if it was submitted now."""
    require(command.person, permission_of(change_set.kind))
    with transaction.atomic():
        approval.refuse_resume(command, change_set)
        _move(command, change_set, "bulk.resumed", message="", not_before=command.now)


def cancel_request(command: Command, *, change_set: ChangeSet) -> None:
    """Cancel the person's own request that waits for approval, whatever their role is by now. Raises `Refusal`."""
    if command.person.pk != change_set.requested_by_id:
        raise Refusal(_("Only the team member who requested this can cancel it."))
    with transaction.atomic():
        if not ChangeSet.objects.select_for_update().filter(pk=change_set.pk, state=ChangeSet.State.WAITING).exists():
            raise Refusal(_("This bulk change is no longer waiting for approval."))
        _cancel(command, change_set)


def cancel_bulk_change(command: Command, *, change_set: ChangeSet) -> tuple[int, int]:
    """Request nothing more, and cancel what is still queued. Returns how many operations were canceled and how many go
    on because they were begun."""
    require(command.person, permission_of(change_set.kind))
    with transaction.atomic():
        ChangeSet.objects.select_for_update().get(pk=change_set.pk)  # no row begins meanwhile
        _cancel(command, change_set)
    taken_back = begun = 0
    for operation in Operation.objects.open().filter(change_set_item__change_set=change_set).order_by("pk"):
        try:
            cancel_operation(command, operation=operation)
            taken_back += 1
        except Refusal:
            begun += 1
    return taken_back, begun


def _cancel(command: Command, change_set: ChangeSet) -> None:
    ready = change_set.items.filter(state=ChangeSetItem.State.READY)
    told = {"not_asked": ready.count()}
    if _move(command, change_set, "bulk.cancelled", told, message="", finished_at=command.now):
        ready.update(state=ChangeSetItem.State.CANCELLED)
        notifications.stop_telling_approvers(about=str(change_set.public_id), now=command.now)


def _move(
    command: Command,
    change_set: ChangeSet,
    verb: str,
    told: dict[str, Any] | None = None,
    reason: str = "",
    **facts: Any,
) -> bool:
    """Make a step of a bulk change, record it (with the bulk change's reason where the step has none of its own), and
    enqueue the run where it is to run. Every step uses this, so that of two at once one loses. Returns whether it
    was made."""
    before, state = STEPS[verb]
    with transaction.atomic():
        moved = ChangeSet.objects.filter(pk=change_set.pk, state__in=before).update(state=state, **facts)
        change_set.refresh_from_db()
        if moved:
            deleted = _deleted_account(change_set)
            command.record(verb=verb, obj=change_set, account=deleted, after=told, reason=reason or change_set.reason)
        if moved and state == ChangeSet.State.RUNNING:
            enqueue_on_commit(RUN, change_set.pk)
    return bool(moved)


def _deleted_account(change_set: ChangeSet) -> Account | None:
    """Return the account that a delete is about, for its timeline; a change to many accounts is in none."""
    if change_set.kind != ChangeSet.Kind.DELETE:
        return None
    return Account.objects.select_related("customer").get(pk=change_set.items.get().account_id)


def waiting_delete(account: Account) -> ChangeSet | None:
    """Return the delete of this account that waits for approval."""
    waiting = ChangeSet.objects.filter(
        kind=ChangeSet.Kind.DELETE, state=ChangeSet.State.WAITING, items__account=account
    )
    return waiting.select_related("requested_by").order_by("pk").first()


def why_delete_waits(waiting: ChangeSet) -> str:
    """Return why a further delete is refused, with a link to the one that waits."""
    text = _(
        "{name} already requested this deletion {when} ({request}), and it is waiting for approval. Nothing new was "
        "requested. Have that request approved, or cancel it first."
    )
    link = format_html('<a href="{}">{}</a>', waiting.get_absolute_url(), waiting.code)
    return format_html(text, name=waiting.requested_by, when=at_text(waiting.created_at), request=link)


def _refuse_second_delete(account: Account, besides: ChangeSet | None = None) -> None:
    """Refuse a delete while another one than `besides` waits for approval. Locks the account until the transaction
    ends, so that of two at once one is refused."""
    Account.objects.select_for_update(no_key=True).get(pk=account.pk)
    waiting = waiting_delete(account)
    if waiting and waiting != besides:
        raise Refusal(why_delete_waits(waiting))


def request_account_delete(
    command: Command, *, account: Account, without_reading: bool = False
) -> Operation | ChangeSet:
    """Request a delete: a bulk change of one that waits for approval where the rule is on, else the operation. Raises
    `Refusal`, and what `approval.decide` raises."""
    with transaction.atomic():
        if not approval.waits(command, ChangeSet.Kind.DELETE, [account.pk]):
            _refuse_second_delete(account)
            return request_delete(command, account=account, without_reading=without_reading)
        wanted = {"without_reading": without_reading}
        return _plan_and_submit(command, ChangeSet.Kind.DELETE, account, wanted)


def request_account_suspend(command: Command, *, account: Account, **more: Any) -> Operation | ChangeSet:
    """Request a suspend: a bulk change of one that waits for approval where the person's suspends exceed the limit of
    the rule, else the operation. Raises `Refusal`, and what `approval.decide` raises."""
    with transaction.atomic():
        if not approval.waits(command, ChangeSet.Kind.SUSPEND, [account.pk]):
            return request_suspend(command, account=account, within_limit=True, **more)
        return _plan_and_submit(command, ChangeSet.Kind.SUSPEND, account, more.get("payload") or {})


def _plan_and_submit(command: Command, kind: str, account: Account, wanted: dict[str, Any]) -> ChangeSet:
    made = plan_bulk_change(command, kind=kind, account_ids=[account.pk], wanted=wanted)
    if made.state != ChangeSet.State.PLANNED:
        return made
    if item := made.items.filter(state=ChangeSetItem.State.ASIDE).first():
        raise Refusal(item.note)
    return submit_bulk_change(command, change_set=made)
