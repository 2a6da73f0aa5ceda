"""Custom roles: what they can have, who may build them, and when a change takes effect."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.core import mail
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from portal.access import custom_roles, links, staff
from portal.access import mail as access_mail
from portal.access.models import CustomRole, User
from portal.access.permissions import Permission, choosable, permissions_of, permissions_of_codes, rules
from portal.access.queries import people_who_may
from portal.access.role_history import custom_role_had
from portal.access.roles import Role
from portal.approvals.approvers import others
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.notices.models import Notice
from portal.refusals import Refusal
from tests.support.edits import fields_of
from tests.support.factories import CustomRoleFactory, UserFactory
from tests.support.people import sign_in

USAGE = ["sync_usage", "view"]


def made(admin: User, *permissions: str, name: str = "Usage desk", reason: str = "New hire") -> CustomRole:
    return custom_roles.create_role(Command(admin, reason=reason), name=name, description="", permissions=permissions)


def member_of(role: CustomRole, **facts: Any) -> User:
    return UserFactory(role="custom", custom_role=role, **facts)


def edit(admin: User, role: CustomRole, *permissions: str, reason: str = "Moved") -> CustomRole:
    return custom_roles.edit_role(Command(admin, reason=reason), role=role, facts={"permissions": permissions})


# --- What a role can have ---------------------------------------------------------------------------------------------


def test_a_member_may_what_the_role_has_and_nothing_else(admin: User) -> None:
    person = member_of(made(admin, "sync_usage"))
    assert person.permissions == {Permission.ANYONE, Permission.VIEW, Permission.SYNC_USAGE}
    client = sign_in(Client(), person)
    assert client.get("/usage/").status_code == 200
    assert client.get("/staff/").status_code == 403
    person.is_active = False
    assert not person.may(Permission.VIEW)


def test_included_permissions_are_stored_with_the_others(admin: User) -> None:
    assert made(admin, "manage_connections").permissions == ["manage_connections", "view", "view_connections"]
    assert made(admin, name="Empty").permissions == ["view"]


def test_built_in_roles_have_what_theirs_include() -> None:
    for role in Role.values:
        granted = permissions_of(role)
        for each in granted:
            assert rules().includes[each] <= granted, f"{role}: {each}"


@pytest.mark.parametrize("code", ["manage_team", "anyone", "root", ""])
def test_reserved_and_unknown_permissions_are_refused(admin: User, as_admin: Client, code: str) -> None:
    why = "Only admins can have this permission" if code == "manage_team" else "Unknown permission"
    with pytest.raises(Refusal, match=why):
        made(admin, code)
    with pytest.raises(Refusal, match=why):
        edit(admin, CustomRoleFactory(), code)
    typed = {"name": "Boss", "permissions": [code], "reason": "x"}
    assert as_admin.post("/staff/roles/new/", typed).status_code == 422
    assert not AuditEvent.objects.filter(verb__startswith="role.").exists()


def test_a_reserved_code_in_the_database_gives_nothing(admin: User) -> None:
    role = made(admin)
    CustomRole.objects.filter(pk=role.pk).update(permissions=["manage_team", "no_longer_known", "view_cost"])
    person = member_of(CustomRole.objects.get())
    assert person.permissions == {Permission.ANYONE, Permission.VIEW, Permission.VIEW_COST}
    assert sign_in(Client(), person).get("/staff/roles/new/").status_code == 403
    assert permissions_of_codes(["manage_team"]) == permissions_of("")


@pytest.mark.parametrize(("permission", "code"), [(each, each.value) for each in choosable()])
def test_each_permission_reaches_the_service_layer(admin: User, permission: Permission, code: str) -> None:
    person = member_of(made(admin, code))
    expected = {Permission.ANYONE, Permission.VIEW, permission} | rules().includes[permission]
    assert {each for each in Permission if person.may(each)} == expected


def test_the_column_and_the_role_go_together(admin: User) -> None:
    role = made(admin)
    for facts in ({"role": "custom"}, {"role": "admin", "custom_role": role}, {"role": "root"}):
        with pytest.raises(IntegrityError), transaction.atomic():
            UserFactory(**facts)


# --- Who may build roles ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["customer_success", "finance", "auditor"])
def test_only_admins_build_and_assign(admin: User, role: str) -> None:
    row, person = made(admin), UserFactory(role=role)
    for act in (
        lambda: made(person, name="Mine"),
        lambda: edit(person, row, "view_cost"),
        lambda: custom_roles.archive_role(Command(person), role=row),
        lambda: staff.change_role(Command(person), person=UserFactory(), role=str(row.public_id)),
    ):
        with pytest.raises(Refusal, match="no longer an admin"):
            act()


def test_nobody_touches_the_role_they_have(admin: User) -> None:
    """Also if a slip elsewhere gave a custom role to an admin."""
    row = made(admin)
    admin.custom_role = row
    for act in (
        lambda: edit(admin, row, "view_cost"),
        lambda: custom_roles.archive_role(Command(admin), role=row),
        lambda: staff.change_role(Command(admin), person=UserFactory(), role=str(row.public_id)),
    ):
        with pytest.raises(Refusal, match="the role you have"):
            act()


def test_a_member_can_not_raise_their_own_rights(admin: User) -> None:
    row = made(admin, "view_team")
    client = sign_in(Client(), member_of(row))
    assert client.get("/staff/roles/").status_code == 200
    for url in ("/staff/roles/new/", f"/staff/roles/{row.public_id}/", f"/staff/roles/{row.public_id}/archive/"):
        assert client.post(url, {"name": "x", "permissions": ["view_cost"], "reason": "x"}).status_code == 403
    row.refresh_from_db()
    assert row.permissions == ["view", "view_team"]


def test_added_rights_need_a_reason(admin: User) -> None:
    with pytest.raises(Refusal, match="Enter a reason"):
        made(admin, "view_cost", reason=" ")
    row = made(admin, *USAGE)
    with pytest.raises(Refusal, match="Enter a reason"):
        edit(admin, row, *USAGE, "view_cost", reason="")
    row = edit(admin, row, "view", reason="")
    assert row.permissions == ["view"]


@pytest.mark.parametrize(
    "name", ["Admin", "customer_success", "Customer Success", "CUSTOM", "custom role", "usage DESK"]
)
def test_a_name_is_taken_once(admin: User, name: str) -> None:
    made(admin)
    other = made(admin, name="Other")
    with pytest.raises(Refusal) as refused:
        made(admin, name=name)
    assert refused.value.field == "name"
    with pytest.raises(Refusal):
        custom_roles.edit_role(Command(admin), role=other, facts={"name": name})


def test_a_role_in_use_is_not_archived(admin: User, as_admin: Client) -> None:
    row = made(admin)
    person = member_of(row, is_active=False)
    with pytest.raises(Refusal, match="1 team member has this role"):
        custom_roles.archive_role(Command(admin), role=row)
    staff.change_role(Command(admin), person=person, role="auditor")
    assert as_admin.post(f"/staff/roles/{row.public_id}/archive/").status_code == 303
    with pytest.raises(Refusal, match="archived"):
        staff.change_role(Command(admin), person=person, role=str(row.public_id))
    with pytest.raises(Refusal, match="archived"):
        edit(admin, row, "view_cost")
    assert as_admin.get(f"/staff/roles/{row.public_id}/").status_code == 404
    assert made(admin).name == row.name, "the name is free again"


# --- When it takes effect ---------------------------------------------------------------------------------------------


def test_added_permissions_apply_with_the_next_request(admin: User) -> None:
    row = made(admin, "view")
    client = sign_in(Client(), member_of(row))
    assert client.get("/audit/").status_code == 403
    edit(admin, row, "view_audit_log")
    assert client.get("/audit/").status_code == 200


def test_removed_permissions_end_the_sessions_of_members(admin: User, other: User) -> None:
    row = made(admin, "view_audit_log")
    member, colleague = sign_in(Client(), member_of(row)), sign_in(Client(), other)
    edit(admin, row, "view")
    assert member.get("/audit/").status_code == 302
    assert colleague.get("/me/").status_code == 200
    fresh = sign_in(Client(), User.objects.get(custom_role=row))
    custom_roles.edit_role(Command(admin), role=row, facts={"description": "Reads"})
    assert fresh.get("/me/").status_code == 200, "a new description ends nothing"


@pytest.mark.parametrize("to", ["auditor", "custom"])
def test_another_role_ends_sessions(admin: User, to: str) -> None:
    person = member_of(made(admin))
    client = sign_in(Client(), person)
    code = str(made(admin, name="Next").public_id) if to == "custom" else to
    staff.change_role(Command(admin), person=person, role=code)
    assert client.get("/me/").status_code == 302
    person.refresh_from_db()
    assert person.role == to


def test_the_hash_of_a_session_tells_custom_roles_apart(admin: User) -> None:
    """Also without a new epoch, as when somebody writes the row by hand."""
    person, second = member_of(made(admin)), made(admin, name="Second")
    client = sign_in(Client(), person)
    User.objects.filter(pk=person.pk).update(custom_role=second)
    assert client.get("/me/").status_code == 302


def test_a_page_asks_nothing_more_for_a_custom_role(admin: User) -> None:
    def queries(person: User) -> int:
        client = sign_in(Client(), person)
        client.get("/help/")
        with CaptureQueriesContext(connection) as captured:
            client.get("/help/")
        return len(captured)

    assert queries(member_of(made(admin))) == queries(UserFactory(role="finance"))


# --- Where a role is named, and who is found --------------------------------------------------------------------------


def test_the_name_is_shown_everywhere(admin: User, as_admin: Client) -> None:
    row = made(admin, "refresh_account", "view_team")
    person = member_of(row, name="Cy Vane")
    assert "Usage desk" in sign_in(Client(), person).get("/me/").content.decode()
    for url in ("/staff/", f"/staff/{person.public_id}/", "/staff/invite/", "/staff/roles/"):
        assert "Usage desk" in as_admin.get(url).content.decode(), url
    listed = as_admin.get(f"/staff/?role={row.public_id}")
    assert [each.name for each in listed.context["page"]] == ["Cy Vane"]
    assert as_admin.get(f"/staff/?role={uuid.uuid4()}").status_code == 400
    staff.edit_profile(person=person, facts={"name": "Cy"})
    sign_in(Client(), person).post("/sign-out/")
    event = Command(person).record(verb="customer.edited", obj=person)
    assert event.actor_role == "Usage desk"
    page = as_admin.get("/audit/").content.decode()
    assert ">Usage desk</span>" in page
    link = links.make_link(person=person, lasts=links.BY_ADMIN, now=timezone.now(), request=None)
    access_mail.send_invitation(person=person, link=link)
    assert "Your role: Usage desk." in mail.outbox[0].body


def test_a_role_change_names_both_roles(admin: User, as_admin: Client, other: User) -> None:
    row = made(admin)
    seen = fields_of(as_admin.get(f"/staff/{other.public_id}/").content.decode())
    typed = seen | {"role": str(row.public_id)}
    assert as_admin.post(f"/staff/{other.public_id}/role/", typed).status_code == 303
    event = AuditEvent.objects.get(verb="staff.role_changed")
    assert (event.before, event.after) == ({"role": "finance"}, {"role": "Usage desk"})


def test_people_are_found_by_permission(admin: User, other: User) -> None:
    row = made(admin, "suspend_account", "change_in_bulk")
    desk, gone = member_of(row), member_of(row, is_active=False)
    success = UserFactory(role="customer_success")
    assert set(people_who_may(Permission.SUSPEND_ACCOUNT)) == {admin, success, desk}
    assert set(people_who_may(Permission.MANAGE_TEAM)) == {admin}
    assert set(people_who_may(Permission.ACCEPT_USAGE)) == {admin, other}
    assert set(others(admin, Permission.SUSPEND_ACCOUNT, now=timezone.now())) == {success, desk}
    custom_roles.edit_role(Command(admin, reason="More"), role=row, facts={"permissions": [*row.permissions, *USAGE]})
    approvers = set(others(admin, Permission.SUSPEND_ACCOUNT, now=timezone.now()))
    assert approvers == {success}, "who has a role that an admin changed today decides tomorrow"
    assert gone not in people_who_may(Permission.VIEW)


def test_the_log_says_what_was_added_and_removed_in_words(admin: User, as_admin: Client) -> None:
    row = made(admin, *USAGE)
    edit(admin, row, "view_cost")
    event = AuditEvent.objects.get(verb="role.permissions_changed")
    assert (event.before, event.reason) == ({}, "Moved")
    assert event.after == {"permissions_added": ["view_cost"], "permissions_removed": ["sync_usage"]}
    page = " ".join(as_admin.get("/audit/").content.decode().split())
    assert "Permissions added" in page
    assert "View cost" in page
    assert "Sync usage" in page
    edit(admin, row, "view_cost")
    assert AuditEvent.objects.filter(verb="role.permissions_changed").count() == 1, "nothing changed, nothing said"
    assert Notice.objects.filter(kind__contains="role.").count() == 2, "admins are told of rights"


def test_the_log_knows_what_a_role_had_then(admin: User) -> None:
    row = made(admin, "suspend_account")
    first = Command(admin).record(verb="customer.edited", obj=admin)
    custom_roles.edit_role(Command(admin), role=row, facts={"name": "Abuse desk", "permissions": ["view"]})
    second = Command(admin).record(verb="customer.edited", obj=admin)
    assert custom_role_had("Usage desk", Permission.SUSPEND_ACCOUNT, event_id=first.pk)
    assert not custom_role_had("Usage desk", Permission.VIEW_COST, event_id=first.pk)
    assert not custom_role_had("Abuse desk", Permission.SUSPEND_ACCOUNT, event_id=second.pk)
    assert not custom_role_had("Nobody", Permission.VIEW, event_id=second.pk)
