"""The run of a bulk change: each account is requested as by a click, in one transaction with its row.

One worker holds a run at a time; one that dies leaves rows that are still to be changed, and the next one continues
there. Only so many operations of a run are open at once, so that single requests do not wait behind thousands.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext as _

from customers.bulk.commands import RUN, hash_of, route_of
from customers.bulk.plan import OF_OFFERINGS, OF_TAGS, base_of
from customers.directory.commands import UnableToChange, change_tag
from customers.models import Account, ChangeSet, ChangeSetItem, Operation
from customers.models.account import as_offerings
from customers.operations.commands import (
    StaleVersion,
    UnableToAsk,
    request_delete,
    request_offerings,
    request_settings,
    request_suspend,
    request_unsuspend,
)
from customers.schedules import holds
from portal import audit
from portal.access.models import User
from portal.access.permissions import allowed
from portal.clock import database_now

__all__ = ["RUN", "due_change_sets", "run_bulk_change"]

LEASE = timedelta(seconds=60)
CHUNK_SECONDS = 10.0
OPEN_AT_ONCE = 40
LOOK_AGAIN = timedelta(seconds=5)
AT_ONCE = 20


class Moved(Exception):
    """The account changed since it was planned."""


def due_change_sets(*, now: datetime) -> list[int]:
    return list(_due(now).order_by("pk").values_list("pk", flat=True)[:AT_ONCE])


def _due(now: datetime) -> QuerySet[ChangeSet]:
    free = Q(lease_until=None) | Q(lease_until__lte=now)
    return ChangeSet.objects.filter(free, state=ChangeSet.State.RUNNING, not_before__lte=now)


def run_bulk_change(
    change_set_id: int, *, clock: Callable[[], datetime] = database_now, seconds: float = CHUNK_SECONDS
) -> None:
    """Request changes until the time is up. Safe to call at any time, twice, by two at once."""
    change_set = _claim(change_set_id, clock())
    if change_set is None:
        return
    mine = ChangeSet.objects.filter(pk=change_set.pk, fence=change_set.fence)
    if why := _not_any_more(change_set):
        mine.filter(state=ChangeSet.State.RUNNING).update(state=ChangeSet.State.PAUSED, message=why[:1000])
    until = monotonic() + seconds
    while monotonic() < until:
        if Operation.objects.open().filter(change_set_item__change_set=change_set).count() >= OPEN_AT_ONCE:
            mine.update(not_before=clock() + LOOK_AGAIN)
            break
        if not _next(change_set, mine, clock()):
            break
    mine.update(lease_until=None)


def _claim(change_set_id: int, now: datetime) -> ChangeSet | None:
    free = _due(now).filter(pk=change_set_id)
    change_set = free.select_related("requested_by", "approved_by").first()
    if change_set is None:
        return None
    if free.filter(fence=change_set.fence).update(fence=F("fence") + 1, lease_until=now + LEASE) != 1:
        return None
    change_set.fence += 1
    return change_set


def _not_any_more(change_set: ChangeSet) -> str:
    """Return why the run as a whole stops; "" when it does not. Users and plan are checked again for every chunk."""
    people: list[User] = [each for each in (change_set.requested_by, change_set.approved_by) if each]
    for person in people:
        if not person.is_active or not allowed(person.role, route_of(change_set.kind), "POST"):
            return _("%(name)s may not do this any more.") % {"name": person}
    if change_set.second_person and not change_set.approved_hash == change_set.plan_hash == hash_of(change_set):
        return _("The plan is another than the one that was approved. Cancel it and plan again.")
    return ""


def _next(change_set: ChangeSet, mine: QuerySet[ChangeSet], now: datetime) -> bool:
    """Change one account, or end the run. The bulk change's row is written first and so locked until the end: a pause,
    a cancel or another worker's claim comes before this account or after it, never between."""
    with transaction.atomic():
        if not mine.filter(state=ChangeSet.State.RUNNING).update(lease_until=now + LEASE):
            return False
        item = change_set.items.filter(state=ChangeSetItem.State.READY).first()
        if item is None:
            mine.update(state=ChangeSet.State.ENDED, finished_at=now)
            audit.record(actor=None, verb="bulk.ended", obj=change_set, reason=change_set.reason)
            return False
        facts: dict[str, Any] = {"state": ChangeSetItem.State.ASKED, "note": ""}
        try:
            if change_set.kind in OF_TAGS:
                facts["note"] = _change_tag(change_set, item, now)
            else:
                facts["operation"] = _ask(change_set, item, now)
        except (Moved, StaleVersion):
            facts |= {"state": ChangeSetItem.State.MOVED, "note": _("It changed since the plan was made.")}
        except (UnableToAsk, UnableToChange) as refusal:
            facts |= {"state": ChangeSetItem.State.FAILED, "note": str(refusal)[:500]}
        ChangeSetItem.objects.filter(pk=item.pk, state=ChangeSetItem.State.READY).update(**facts)
    return True


def _change_tag(change_set: ChangeSet, item: ChangeSetItem, now: datetime) -> str:
    """Add or remove this one tag, and return what differs from the plan. Other tags that were added since stay, so that
    the plan need not be made again for them."""
    account = Account.objects.select_related("customer").get(pk=item.account_id)
    if item.before.get("customer", account.customer_id) != account.customer_id:
        raise Moved
    tags, changed = change_tag(
        actor=change_set.requested_by, customer=account.customer, tag=change_set.wanted["tag"],
        add=change_set.kind == ChangeSet.Kind.TAG_ADD, now=now,
    )  # fmt: skip
    if not changed:
        return _("No change needed.")
    if tags == item.after["tags"]:
        return ""
    return (_("Tags now: %(tags)s.") % {"tags": ", ".join(tags) or _("none")})[:500]


def _ask(change_set: ChangeSet, item: ChangeSetItem, now: datetime) -> Operation:
    account = (
        Account.objects.select_for_update(of=("self",)).select_related("customer", "connection").get(pk=item.account_id)
    )
    kind, actor = ChangeSet.Kind(change_set.kind), change_set.requested_by
    if account.version != item.version or base_of(account, kind) != item.before:
        raise Moved
    common: dict[str, Any] = {
        "actor": actor, "account": account, "reason": change_set.reason, "now": now,
        "client_token": f"bulk:{change_set.public_id.hex}:{account.pk}",
    }  # fmt: skip
    if kind in OF_OFFERINGS:
        return request_offerings(
            base=as_offerings(item.before["offerings"]), offerings=as_offerings(item.after["offerings"]),
            version=item.version, **common,
        )  # fmt: skip
    if kind == ChangeSet.Kind.CAP:
        return request_settings(base=item.before["settings"], changes=item.after, version=item.version, **common)
    if kind == ChangeSet.Kind.DELETE:
        return request_delete(without_reading=bool(change_set.wanted.get("without_reading")), **common)
    if kind == ChangeSet.Kind.SUSPEND and (hold := holds.held([account.pk], now=now).get(account.pk)):
        raise UnableToAsk(hold.text)
    return (request_suspend if kind == ChangeSet.Kind.SUSPEND else request_unsuspend)(**common)
