"""Requests about custom roles: the approved role is the one that was requested; texts of a reason; integrity checks."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from customers.monitoring.operation_invariants import approved_by_who_asked
from portal.access import custom_roles, staff
from portal.access.models import User
from portal.access.permissions import Permission
from portal.approvals import commands, queries
from portal.approvals.gate import ApprovalRequired
from portal.approvals.models import Approval, ApprovalRule
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal
from tests.approvals.conftest import approve, client_of
from tests.customers.page_helpers import prose_of
from tests.support.approvals import switch_on
from tests.support.edits import seen_at
from tests.support.factories import CustomRoleFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db


def command(person: User) -> Command:
    return Command(person, timezone.now(), token=uuid4().hex, reason="Needed")


def requested(person: User, change: Any) -> Approval:
    with pytest.raises(ApprovalRequired) as needed:
        change()
    return commands.request_approval(command(person), needed.value.change)


def test_an_edited_role_is_not_the_requested_one(ada: User, bo: User, member: User) -> None:
    switch_on("admin_role")
    codes = ["manage_connections"]
    role = custom_roles.create_role(command(ada), name="Ops", description="", permissions=codes)
    wanted = str(role.public_id)
    approval = requested(ada, lambda: staff.change_role(command(ada), person=member, role=wanted))
    assert "Permissions of the role" in prose_of(client_of(bo).get(approval.get_absolute_url()))
    assert "Manage connections" in prose_of(client_of(bo).get(approval.get_absolute_url()))
    custom_roles.edit_role(command(ada), role=role, facts={"permissions": ["delete_account", *codes]})
    with pytest.raises(Refusal, match="changed since it was requested"):
        approve(bo, approval)
    assert User.objects.get(pk=member.pk).role == "finance"


def test_a_role_that_reaches_no_connection_needs_nobody(ada: User, bo: User, member: User) -> None:
    switch_on("admin_role")
    role = custom_roles.create_role(command(ada), name="Desk", description="", permissions=["suspend_account"])
    staff.change_role(command(ada), person=member, role=str(role.public_id))
    assert list(approved_by_who_asked(timezone.now())) == []


@pytest.mark.parametrize("stored", [["reveal_key", "view"], ["from_a_later_version", "view"]])
def test_an_edit_of_the_description_alone_changes_no_permission(stored: list[str], ada: User) -> None:
    role = CustomRoleFactory(permissions=stored, name="Old")
    url = reverse("access:role-edit", args=[role.public_id])
    client = client_of(ada)
    shown = custom_roles.stored_codes(role)
    said = {"name": "Old", "description": "New text", "permissions": shown, **seen_at(client, url)}
    assert client.post(url, said).status_code == 303
    role.refresh_from_db()
    assert (role.description, role.permissions) == ("New text", stored)
    assert [each.verb for each in AuditEvent.objects.filter(object_id=role.public_id)] == ["role.edited"]


def test_a_permission_is_added_to_a_role_of_an_earlier_version(ada: User) -> None:
    role = CustomRoleFactory(permissions=["reveal_key", "view"], name="Old")
    url = reverse("access:role-edit", args=[role.public_id])
    client = client_of(ada)
    shown = [*custom_roles.stored_codes(role), "refresh_account"]
    said = {"name": "Old", "permissions": shown, "reason": "Needed", **seen_at(client, url)}
    assert client.post(url, said).status_code == 303
    role.refresh_from_db()
    assert "refresh_account" in role.permissions


def test_unknown_permissions_stay_when_others_change(ada: User) -> None:
    role = CustomRoleFactory(permissions=["from_a_later_version", "view"])
    custom_roles.edit_role(command(ada), role=role, facts={"permissions": ["refresh_account"]})
    role.refresh_from_db()
    assert {"from_a_later_version", "refresh_account"} <= set(role.permissions)


def test_a_requester_who_lost_the_role_while_it_is_applied(
    ada: User, bo: User, member: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The permission is read again in the transaction, behind the lock."""
    switch_on("credential")
    approval = requested(ada, lambda: _replace_key(ada))
    monkeypatch.setattr(commands.gate, "refuse_lost_permission", _second_time(approval, commands.gate))
    with pytest.raises(Refusal, match="Ada no longer has permission"):
        approve(bo, approval)


def _replace_key(person: User) -> None:
    from customers.connections import commands as connection_commands  # noqa: PLC0415  only here
    from tests.support.factories import ConnectionFactory  # noqa: PLC0415

    connection = ConnectionFactory()
    connection_commands.replace_key(command(person), connection=connection, api_key="SG.new-key-of-a-test-123")


def _second_time(approval: Approval, gate: Any) -> Any:
    """Return the check, after whose first call the requester is demoted."""
    check = gate.refuse_lost_permission

    def checked(requester: User, row: Approval) -> None:
        check(requester, row)
        User.objects.filter(pk=requester.pk).update(role="finance")

    return checked


@pytest.mark.parametrize("typed", ["a\x00b", "x" * 5000])
def test_any_reason_is_stored(typed: str, ada: User, bo: User, member: User) -> None:
    switch_on("admin_role")
    client = sign_in(Client(), ada)
    url = f"/staff/{member.public_id}/"
    said = {"role": "admin", "reason": typed, **seen_at(client, url)}
    assert client.post(f"{url}role/", said).status_code == 303
    assert Approval.objects.get().reason == typed.replace("\x00", " ")[:1000]


@pytest.mark.parametrize("typed", ["a\x00" + "b" * 30, "y" * 5000])
def test_any_reason_breaks_the_glass(typed: str, ada: User, member: User) -> None:
    switch_on("admin_role")
    client = sign_in(Client(), ada)
    url = f"/staff/{member.public_id}/"
    glass = {"glass-reason": typed, "glass-confirmed": "1"}
    assert client.post(f"{url}role/", {"role": "admin", **glass, **seen_at(client, url)}).status_code == 303
    assert "\x00" not in AuditEvent.objects.get(verb="approval.broke_glass").reason


def test_requests_of_others_do_not_hide_ones_own(ada: User, bo: User) -> None:
    switch_on("admin_role")
    reader = UserFactory(role="customer_success")
    old = Approval(kind="admin_role", subject_label="Old", payload={}, requested_by=ada, requested_at=timezone.now())
    for n in range(queries.SHOWN + 1):
        old.pk, old.public_id, old.client_token = None, uuid4(), f"token-{n}"
        old.expires_at = timezone.now()
        old.save(force_insert=True)
    mine = Approval(kind="link_without_proof", subject_label="Mine", payload={}, requested_by=bo)
    mine.requested_at = mine.expires_at = timezone.now()
    mine.client_token = "token-mine"
    mine.save()
    assert mine.code in {each.code for each in queries.waiting_rows(reader, now=timezone.now())}


class TestIntegrity:
    def test_what_passed_no_gate(self, ada: User, bo: User, member: User) -> None:
        codes = ["manage_connections"]
        before = timezone.now()
        role = custom_roles.create_role(command(ada), name="Ops", description="", permissions=codes)
        staff.change_role(command(ada), person=member, role=str(role.public_id))
        staff.reset_second_factor(command(ada), person=bo)
        switch_on("admin_role", on_since=before)
        assert set(approved_by_who_asked(timezone.now())) == {
            "staff.role_changed of Finn was made without approval",
            "staff.second_factor_reset of Bo was made without approval",
        }

    @pytest.mark.parametrize(
        ("before", "after", "found"),
        [
            ({"is_on": True}, {"is_on": False}, True),
            ({"is_on": True}, {"is_on": False, "approval": "APP-1"}, False),
            ({"is_on": False}, {"is_on": True}, False),
            ({"threshold": 10}, {"threshold": 50}, True),
            ({"threshold": 50}, {"threshold": 10}, False),
            ({"window_hours": 24}, {"window_hours": 1}, True),
        ],
    )
    def test_relaxed_rules(self, before: dict[str, Any], after: dict[str, Any], found: bool, ada: User) -> None:
        switch_on("bulk")
        rule = ApprovalRule.objects.get()
        command(ada).record(verb="approval.rule_changed", obj=rule, before=before, after=after)
        said = [f"approval.rule_changed of {rule} was made without approval"] if found else []
        assert list(approved_by_who_asked(timezone.now())) == said


def test_the_requester_without_the_page_cancels(ada: User, bo: User) -> None:
    switch_on("credential")
    role = CustomRoleFactory(permissions=["view", "manage_connections", "view_connections"])
    person = UserFactory(role="custom", custom_role=role)
    assert not person.may(Permission.DECIDE_APPROVAL)
    approval = requested(person, lambda: _replace_key(person))
    assert "Cancel request" in prose_of(client_of(person).get(approval.get_absolute_url()))
    assert client_of(person).post(reverse("approvals:cancel", args=[approval.public_id])).status_code == 303
    assert Approval.objects.get().state == "canceled"


def test_who_is_no_longer_an_admin_invites_nobody(ada: User) -> None:
    """The permission is read behind the lock: `ada` is as she was read before."""
    User.objects.filter(pk=ada.pk).update(role="finance")
    with pytest.raises(Refusal, match="no longer an admin"):
        staff.invite(command(ada), email="new@postkeeper.example", name="New", role="finance")
