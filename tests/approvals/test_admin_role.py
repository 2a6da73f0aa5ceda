"""Giving someone admin access: requested, seen, decided by another admin, and carried out as without approval."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone

from customers.monitoring.operation_invariants import approved_by_who_asked
from portal.access import staff
from portal.access.models import User
from portal.access.permissions import Permission
from portal.approvals import commands, gate
from portal.approvals.approvers import Lookup, others
from portal.approvals.models import Approval, ApprovalRule
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.notices import delivery
from portal.notices.models import Notice
from portal.refusals import Refusal
from tests.approvals.conftest import approve, client_of
from tests.customers.page_helpers import hidden, prose_of
from tests.support.approvals import switch_on
from tests.support.edits import seen_at
from tests.support.factories import UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _on(db: None) -> None:
    switch_on("admin_role")


def make_admin(person: User, member: User, **more: Any) -> Any:
    client = client_of(person)
    seen = seen_at(client, f"/staff/{member.public_id}/")
    return client.post(f"/staff/{member.public_id}/role/", {"role": "admin"} | seen | more)


def requested(ada: User, member: User) -> Approval:
    make_admin(ada, member)
    return Approval.objects.get()


def decide(person: User, approval: Approval, do: str, **said: str) -> Any:
    url = reverse("approvals:decide", args=[approval.public_id])
    return client_of(person).post(url, {"do": do, "plan": approval.payload_hash} | said)


def test_from_the_request_to_the_new_admin(ada: User, bo: User, member: User) -> None:
    assert "Giving someone admin access needs approval by Bo." in prose_of(
        client_of(ada).get(f"/staff/{member.public_id}/")
    )
    answer = make_admin(ada, member)
    approval = Approval.objects.get()
    assert (answer.status_code, answer["Location"]) == (303, approval.get_absolute_url())
    assert User.objects.get(pk=member.pk).role == "finance"
    mine = prose_of(client_of(ada).get(approval.get_absolute_url()))
    assert "Waiting for approval by Bo" in mine
    assert "Cancel request" in mine
    assert "Approve and apply" not in mine
    theirs = client_of(bo).get(approval.get_absolute_url())
    assert "Role Finance Admin" in prose_of(theirs)
    assert "Waiting for your approval" in prose_of(client_of(bo).get(reverse("home")))
    delivery.deliver(now=timezone.now())
    assert [each.to for each in mail.outbox] == [[bo.email]]
    client_of(bo).post(
        reverse("approvals:decide", args=[approval.public_id]), {"do": "approve", "plan": hidden(theirs, "plan")}
    )
    approval.refresh_from_db()
    assert (approval.state, approval.decided_by) == ("applied", bo)
    assert User.objects.get(pk=member.pk).role == "admin"
    event = AuditEvent.objects.get(verb="staff.role_changed")
    assert (event.actor, event.after) == (
        ada,
        {"role": "admin", "approval": approval.code, "approved_by": "Bo"},
    )
    assert AuditEvent.objects.get(verb="approval.approved").actor == bo
    assert not Notice.objects.filter(kind="approval.asked", ended_at=None).exists()
    assert Notice.objects.get(kind="event.approval.decided").to == ada
    assert list(approved_by_who_asked(timezone.now())) == []


def test_other_roles_need_nobody(ada: User, bo: User, member: User) -> None:
    client = client_of(ada)
    seen = seen_at(client, f"/staff/{member.public_id}/")
    client.post(f"/staff/{member.public_id}/role/", {"role": "auditor"} | seen)
    assert User.objects.get(pk=member.pk).role == "auditor"
    assert not Approval.objects.exists()


def test_an_invited_admin_gets_the_link_alone(ada: User, bo: User) -> None:
    said = {"name": "New", "email": "new@postkeeper.example", "role": "admin"}
    answer = client_of(ada).post(reverse("access:staff-invite"), said)
    approval = Approval.objects.get()
    assert answer["Location"] == approval.get_absolute_url()
    assert not User.objects.filter(email=said["email"]).exists()
    page = decide(bo, approval, "approve")
    assert page.status_code == 303
    assert User.objects.get(email=said["email"]).role == "admin"
    [sent] = mail.outbox
    assert sent.to == [said["email"]]
    assert "/invitation/" in sent.body
    assert "/invitation/" not in client_of(bo).get(approval.get_absolute_url()).content.decode()


@pytest.mark.parametrize("act", ["enable", "reset-password"])
def test_other_ways_to_an_admins_access_wait_too(ada: User, bo: User, act: str) -> None:
    admin = UserFactory(role="admin", is_active=act != "enable")
    client_of(ada).post(f"/staff/{admin.public_id}/{act}/")
    approval = Approval.objects.get()
    fresh = User.objects.get(pk=admin.pk)
    assert (fresh.is_active, fresh.password) == (admin.is_active, admin.password)
    assert decide(bo, approval, "approve").status_code == 303
    fresh.refresh_from_db()
    assert fresh.is_active
    assert fresh.has_usable_password() is (act == "enable")


def test_a_requester_decides_nothing_by_another_session(ada: User, bo: User, member: User) -> None:
    approval = requested(ada, member)
    for do in ("approve", "refuse"):
        assert decide(ada, approval, do, reason="Mine").status_code == 422
    with pytest.raises(Refusal, match="You can't approve your own request"):
        approve(ada, approval)
    for facts in (
        {"decided_by": ada, "state": "applied", "approved_hash": approval.payload_hash},
        {"state": "applied"},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            Approval.objects.filter(pk=approval.pk).update(finished_at=timezone.now(), **facts)
    assert User.objects.get(pk=member.pk).role == "finance"


def test_an_approver_who_lost_the_role_is_refused(ada: User, bo: User, member: User) -> None:
    approval = requested(ada, member)
    User.objects.filter(pk=bo.pk).update(role="auditor")
    bo.refresh_from_db()
    assert decide(bo, approval, "approve").status_code == 403
    with pytest.raises(Refusal, match="Your role"):
        approve(bo, approval)
    stale = User.objects.get(pk=bo.pk)
    stale.role = "admin"  # as read before
    with pytest.raises(Refusal, match="can't decide this request"):
        approve(stale, approval)
    assert User.objects.get(pk=member.pk).role == "finance"


def test_a_requester_who_lost_the_role_gets_nothing(ada: User, bo: User, member: User) -> None:
    approval = requested(ada, member)
    User.objects.filter(pk=ada.pk).update(role="auditor")
    with pytest.raises(Refusal, match="Ada no longer has permission"):
        approve(bo, approval)


def test_only_what_was_seen_is_approved(ada: User, bo: User, member: User) -> None:
    approval = requested(ada, member)
    with pytest.raises(Refusal, match="changed since you reviewed it"):
        approve(bo, approval, seen="0" * 64)
    for facts in ({"payload": {"act": "role"}}, {"reason": "Other"}, {"payload_hash": "0" * 64}, {"kind": "bulk"}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Approval.objects.filter(pk=approval.pk).update(**facts)
    with pytest.raises(IntegrityError), transaction.atomic():
        approval.delete()


def test_an_approval_is_for_this_change_alone(ada: User, bo: User, member: User) -> None:
    approval, other = requested(ada, member), UserFactory(role="finance")
    given = gate.Given(approval, bo, approval.payload_hash)
    with pytest.raises(Refusal, match="changed since it was requested"):
        staff.change_role(Command(ada, approval=given), person=other, role="admin")
    assert User.objects.get(pk=other.pk).role == "finance"


def test_a_subject_that_changed_is_refused(ada: User, bo: User, member: User) -> None:
    approval = requested(ada, member)
    staff.change_role(Command(bo), person=member, role="auditor")
    page = decide(bo, approval, "approve")
    assert page.status_code == 422
    assert "Reject it, and ask Ada to request it again." in prose_of(page)
    assert Approval.objects.get().is_waiting


def test_rejected_with_a_reason(ada: User, bo: User, member: User) -> None:
    approval = requested(ada, member)
    assert "Enter a reason" in prose_of(decide(bo, approval, "refuse", reason=" "))
    decide(bo, approval, "refuse", reason="Not yet")
    approval.refresh_from_db()
    assert (approval.state, approval.decision_reason) == ("rejected", "Not yet")
    assert "Not yet" in prose_of(client_of(ada).get(reverse("home")))
    late = decide(bo, approval, "approve")
    assert late.status_code == 409
    assert "You already did this: Request rejected" in prose_of(late)
    assert User.objects.get(pk=member.pk).role == "finance"


@pytest.mark.parametrize("by", ["Ada", "Bo"])
def test_canceled_by_its_requester_or_an_admin(by: str, ada: User, bo: User, member: User) -> None:
    approval = requested(ada, member)
    url = reverse("approvals:cancel", args=[approval.public_id])
    assert client_of(UserFactory(role="auditor")).post(url).status_code == 422
    assert client_of(User.objects.get(name=by)).post(url).status_code == 303
    assert Approval.objects.get().state == "canceled"
    with pytest.raises(Refusal, match="no longer waiting"):
        approve(bo, approval)


def test_a_request_ends_after_seven_days(ada: User, bo: User, member: User) -> None:
    approval = requested(ada, member)
    with pytest.raises(Refusal, match="expired"):
        commands.approve(
            Command(bo, timezone.now() + timedelta(days=7, seconds=1)), approval=approval, seen=approval.payload_hash
        )
    assert commands.expire_due(now=approval.expires_at - timedelta(seconds=1)) == 0
    assert commands.expire_due(now=approval.expires_at) == 1
    assert Approval.objects.get().state == "expired"


def test_one_form_sent_twice_is_one_request(ada: User, bo: User, member: User) -> None:
    answers = [make_admin(ada, member, client_token="a" * 32) for _ in range(2)]
    assert {each["Location"] for each in answers} == {Approval.objects.get().get_absolute_url()}


def test_others_do_not_see_it(ada: User, bo: User, member: User) -> None:
    approval = requested(ada, member)
    for role, status in (("finance", 404), ("customer_success", 404), ("auditor", 200)):
        reader = client_of(UserFactory(role=role))
        assert reader.get(approval.get_absolute_url()).status_code == status
        assert (approval.code in prose_of(reader.get(reverse("approvals:list")))) is (status == 200)


def test_new_access_approves_nothing_for_a_day(ada: User, bo: User, member: User) -> None:
    """One admin can't make the second person, nor become it."""
    staff.change_role(Command(ada), person=member, role="customer_success")
    puppet = User.objects.get(pk=member.pk)
    switch_on("delete")

    def may(requester: User, later: timedelta = timedelta()) -> set[str]:
        now = timezone.now() + later
        found = {each.name for each in others(requester, Permission.DELETE_ACCOUNT, now=now)}
        assert found == {each.name for each in Lookup(now=now).others(requester, Permission.DELETE_ACCOUNT)}
        return found

    assert may(ada) == {"Bo"}
    assert may(puppet) == {"Bo"}
    assert may(bo) == {"Ada"}
    assert may(ada, timedelta(hours=25)) == {"Bo", "Finn"}
    assert may(puppet, timedelta(hours=25)) == {"Ada", "Bo"}


def test_the_invariant_finds_a_grant_past_the_gate(ada: User, bo: User, member: User) -> None:
    ApprovalRule.objects.update(is_on=False)
    before = timezone.now()
    staff.change_role(Command(ada), person=member, role="admin")
    staff.reset_second_factor(Command(ada), person=bo)
    switch_on("admin_role", on_since=before)
    assert list(approved_by_who_asked(timezone.now())) == [
        "staff.role_changed of Finn was made without approval",
        "staff.second_factor_reset of Bo was made without approval",
    ]
