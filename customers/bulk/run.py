"""The run of a bulk change: each account is requested as by a click, in one transaction with its row.

One worker holds a run at a time; one that dies leaves rows that are still to be changed, and the next one continues
there. Only so many operations of a run are open at once, so that single requests do not wait behind thousands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from customers.bulk import keys
from customers.bulk.commands import RUN
from customers.bulk.plan import KIND_OF, OF_KEYS, OF_TAGS, Moved, base_of, hash_of, permissions_of_change
from customers.directory.commands import change_tag
from customers.models import Account, ChangeSet, ChangeSetItem, Hold, Operation
from customers.observed.key_lists import Connect, background_client
from customers.operations.commands import StaleVersion, request_delete, request_planned, request_suspend
from portal import audit
from portal.access.models import User
from portal.clock import database_now
from portal.commands import Command
from portal.leases import AT_ONCE, work_on
from portal.refusals import Refusal

__all__ = ["RUN", "due_change_sets", "run_bulk_change"]

# A chunk holds a worker's process no longer than this: a click may wait for it.
CHUNK_SECONDS = 1.0
OPEN_AT_ONCE = 40
LOOK_AGAIN = timedelta(seconds=2)
ENQUEUED_AT_ONCE = 20


# What a worker does: list the keys of a draft, and the run itself.
AT_WORK = (ChangeSet.State.LISTING, ChangeSet.State.RUNNING)


def due_change_sets(*, now: datetime) -> list[int]:
    due = ChangeSet.objects.filter(state__in=AT_WORK).due(now=now)
    return list(due.order_by("pk").values_list("pk", flat=True)[:ENQUEUED_AT_ONCE])


def run_bulk_change(
    change_set_id: int,
    *,
    clock: Callable[[], datetime] = database_now,
    seconds: float = CHUNK_SECONDS,
    connect: Connect = background_client,
) -> bool:
    """Request changes until the time is up. Return whether more can be requested at once. Safe to call at any time,
    twice, by two at once."""
    running = ChangeSet.objects.filter(state__in=AT_WORK).select_related("requested_by", "approved_by")
    change_set = running.claim(change_set_id, now=clock())
    if change_set is None:
        return False
    if why := _not_any_more(change_set):  # the first step then finds it paused; a draft has nothing to resume
        is_draft = change_set.state == ChangeSet.State.LISTING
        state = ChangeSet.State.CANCELLED if is_draft else ChangeSet.State.PAUSED
        change_set.as_read().update(state=state, message=why[:1000])
    is_open = Operation.objects.open().filter(change_set_item__change_set=change_set)
    chunk = _Chunk(change_set, clock, room=OPEN_AT_ONCE - is_open.count(), connect=connect)
    return work_on(change_set, chunk.step, clock=clock, seconds=seconds)


def _not_any_more(change_set: ChangeSet) -> str:
    """Return why the run as a whole stops; "" when it does not. Users and plan are checked again for every chunk."""
    people: list[User] = [each for each in (change_set.requested_by, change_set.approved_by) if each]
    for person in people:
        if not all(person.may(each) for each in permissions_of_change(change_set.kind)):
            return _("%(name)s no longer has permission to make this change.") % {"name": person}
    if change_set.second_person and not change_set.approved_hash == change_set.plan_hash == hash_of(change_set):
        return _("The plan changed after it was approved. Cancel this bulk change and create a new one.")
    return ""


@dataclass
class _Chunk:
    """One worker's time with a run. `room`: how many operations more may be open; some end meanwhile, which the next
    chunk counts."""

    change_set: ChangeSet
    clock: Callable[[], datetime]
    room: int
    connect: Connect

    def step(self) -> timedelta | None:
        """List or change one account, or end the run."""
        if self.change_set.state == ChangeSet.State.LISTING:
            return keys.list_step(self.change_set, self.clock(), self.connect)
        ready = self.change_set.items.filter(state=ChangeSetItem.State.READY)
        if self.change_set.kind in OF_KEYS and not ready.exists():
            return keys.recount_step(self.change_set, self.clock(), self.connect)
        if self.room <= 0:
            return LOOK_AGAIN
        is_over, operation = _step(self.change_set, self.clock())
        self.room -= operation is not None
        return None if is_over else AT_ONCE


def _step(change_set: ChangeSet, now: datetime) -> tuple[bool, Operation | None]:
    """Change one account, or end the run; return whether it ended, and the operation that was requested. A pause or a
    cancel comes before this account or after it, never between."""
    with transaction.atomic():
        change_set.renew(now=now)
        item = change_set.items.filter(state=ChangeSetItem.State.READY).first()
        if item is None:
            change_set.write(state=ChangeSet.State.ENDED, finished_at=now)
            audit.record(actor=None, verb="bulk.ended", obj=change_set, reason=change_set.reason)
            return True, None
        facts: dict[str, Any] = {"state": ChangeSetItem.State.ASKED, "note": ""}
        try:
            if change_set.kind in OF_TAGS:
                facts["note"] = _change_tag(change_set, item, now)
            elif change_set.kind in OF_KEYS:
                facts["operation"] = keys.request_key_change(change_set, item, now)
            else:
                facts["operation"] = _ask(change_set, item, now)
        except (Moved, StaleVersion):
            facts |= {"state": ChangeSetItem.State.MOVED, "note": _("The account changed after the preview.")}
        except Refusal as refusal:
            facts |= {"state": ChangeSetItem.State.FAILED, "note": str(refusal)[:500]}
        ChangeSetItem.objects.filter(pk=item.pk, state=ChangeSetItem.State.READY).update(**facts)
    return False, facts.get("operation")


def _change_tag(change_set: ChangeSet, item: ChangeSetItem, now: datetime) -> str:
    """Add or remove this one tag, and return what differs from the plan. Other tags that were added since stay, so that
    the plan need not be made again for them."""
    account = Account.objects.select_related("customer").get(pk=item.account_id)
    if item.before.get("customer", account.customer_id) != account.customer_id:
        raise Moved
    tags, changed = change_tag(
        Command(change_set.requested_by, now),
        customer=account.customer,
        tag=change_set.wanted["tag"],
        add=change_set.kind == ChangeSet.Kind.TAG_ADD,
    )
    if not changed:
        return _("No change needed.")
    if tags == item.after["tags"]:
        return ""
    return (_("Tags now: %(tags)s.") % {"tags": ", ".join(tags) or _("none")})[:500]


def _ask(change_set: ChangeSet, item: ChangeSetItem, now: datetime) -> Operation:
    account = (
        Account.objects.select_for_update(of=("self",)).select_related("customer", "connection").get(pk=item.account_id)
    )
    kind = ChangeSet.Kind(change_set.kind)
    if account.version != item.version or base_of(account, kind) != item.before:
        raise Moved
    token = f"bulk:{change_set.public_id.hex}:{account.pk}"
    command = Command(change_set.requested_by, now, reason=change_set.reason, token=token, is_bulk=True)
    if kind == ChangeSet.Kind.DELETE:
        without_reading = bool(change_set.wanted.get("without_reading"))
        return request_delete(command, account=account, without_reading=without_reading)
    if kind == ChangeSet.Kind.SUSPEND:
        hold = Hold.objects.of(account.pk, now=now)
        if hold and change_set.wanted.get("despite_hold") != str(hold.public_id):
            raise Refusal(hold.text)
        # The limit was checked when the bulk change was submitted, or another person approved it.
        return request_suspend(command, account=account, payload=change_set.wanted, within_limit=True)
    before, after = item.before, item.after
    return request_planned(command, KIND_OF[kind], account, version=item.version, before=before, after=after)
