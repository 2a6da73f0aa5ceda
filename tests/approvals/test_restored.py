"""Requests that waited at a backup may have been decided since: after its restore they are requested again."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from django.utils import timezone

from customers.bulk import commands as bulk_commands
from customers.models import ChangeSet
from customers.recovery import hold
from portal.access import staff
from portal.access.models import User
from portal.approvals import commands
from portal.approvals.gate import ApprovalRequired
from portal.approvals.models import Approval
from portal.audit.models import AuditEvent
from portal.clock import database_now
from portal.commands import Command
from portal.installation import epochs
from portal.installation.models import Epoch
from portal.notices.models import Notice
from portal.refusals import Refusal
from tests.approvals.conftest import approve
from tests.support.approvals import switch_on
from tests.support.factories import AccountFactory

pytestmark = pytest.mark.django_db
RESTORED = "restored from a backup since this was requested.* Reject it, and ask Ada"


@pytest.fixture(autouse=True)
def _epochs_of_this_test(db: None) -> Iterator[None]:
    epochs.forget_epoch()
    yield
    epochs.forget_epoch()


def restore() -> None:
    hold.hold_everything("restored in a test", backup_at=database_now())


def requested(ada: User, member: User) -> Approval:
    command = Command(ada, timezone.now(), token=uuid4().hex)
    with pytest.raises(ApprovalRequired) as needed:
        staff.change_role(command, person=member, role="admin")
    return commands.request_approval(command, needed.value.change)


def submitted(ada: User) -> ChangeSet:
    made = bulk_commands.plan_bulk_change(
        Command(ada, timezone.now(), reason="They left", token=uuid4().hex),
        kind="delete",
        wanted={"without_reading": False},
        account_ids=[AccountFactory().pk],
    )
    return bulk_commands.submit_bulk_change(Command(ada, timezone.now()), change_set=made)


def approve_bulk(person: User, change_set: ChangeSet) -> None:
    bulk_commands.approve_bulk_change(
        Command(person, timezone.now()), change_set=change_set, plan_hash=change_set.plan_hash
    )


def test_a_request_from_before_it_expires(ada: User, bo: User, member: User) -> None:
    switch_on("admin_role")
    old = requested(ada, member)
    restore()
    with pytest.raises(Refusal, match=RESTORED):
        approve(bo, old)
    assert commands.expire_due(now=timezone.now()) == 1
    old.refresh_from_db()
    assert (old.state, old.secret_sealed) == ("expired", "")
    assert AuditEvent.objects.filter(verb="approval.expired", object_id=old.public_id).exists()
    assert not Notice.objects.filter(kind="approval.asked", ended_at=None).exists()
    assert User.objects.get(pk=member.pk).role == "finance"
    again = requested(ada, member)
    assert commands.expire_due(now=timezone.now()) == 0
    approve(bo, again)
    assert User.objects.get(pk=member.pk).role == "admin"


def test_a_bulk_change_from_before_it_is_rejected(ada: User, bo: User) -> None:
    switch_on("delete", "bulk")
    old, of_0_1_0 = submitted(ada), submitted(ada)
    ChangeSet.objects.filter(pk=of_0_1_0.pk).update(submitted_at=None)
    of_0_1_0.refresh_from_db()
    restore()
    for each in (old, of_0_1_0):
        with pytest.raises(Refusal, match=RESTORED):
            approve_bulk(bo, each)
        bulk_commands.reject_bulk_change(Command(bo, timezone.now(), reason="Restored"), change_set=each)
        each.refresh_from_db()
        assert each.state == ChangeSet.State.REFUSED
    again = submitted(ada)
    approve_bulk(bo, again)
    again.refresh_from_db()
    assert again.state == ChangeSet.State.RUNNING


def test_the_first_epoch_is_no_restore(ada: User, bo: User) -> None:
    switch_on("delete", "bulk")
    made = submitted(ada)
    Epoch.objects.create(number=epochs.FIRST, began_at=database_now())
    approve_bulk(bo, made)
    made.refresh_from_db()
    assert made.state == ChangeSet.State.RUNNING
