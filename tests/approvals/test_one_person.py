"""One person alone neither makes the second one nor makes sure that nobody is left, and everyone is told."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from allauth.socialaccount.models import SocialAccount
from django.core import mail
from django.test import RequestFactory
from django.utils import timezone
from pytest_django import Settings

from portal.access import custom_roles, staff
from portal.access.models import User
from portal.access.permissions import Permission
from portal.access.sso import commands as sso_commands
from portal.access.sso.identity import SsoIdentity
from portal.approvals import rules
from portal.approvals.approvers import Lookup, may_approve, others
from portal.approvals.gate import NobodyLeft
from portal.approvals.kinds import ApprovalKind
from portal.approvals.models import ApprovalRule
from portal.approvals.settling import changed_approvers
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.notices import delivery
from tests.approvals.conftest import client_of
from tests.customers.page_helpers import prose_of
from tests.support.approvals import switch_on
from tests.support.factories import CustomRoleFactory, UserFactory

pytestmark = pytest.mark.django_db
REASON = "The provider ends this key tonight"
SOON = timedelta(minutes=1)


def command(person: User) -> Command:
    return Command(person, timezone.now(), token=uuid4().hex, reason="Needed")


def break_glass(person: User, *, later: timedelta = timedelta()) -> None:
    glass = Command(person, timezone.now() + later, glass_reason=REASON)
    rules.change_rule(glass, kind=ApprovalKind.DELETE, facts={"is_on": False})


def told() -> set[str]:
    delivery.deliver(now=timezone.now() + SOON)
    return {address for each in mail.outbox for address in each.to}


class TestNobodyLeft:
    """The admin who made sure that nobody else can approve does not break the glass."""

    @pytest.mark.parametrize("act", ["disable", "toggle", "password", "second_factor", "demote"])
    def test_not_by_whoever_changed_the_approvers(self, act: str, ada: User, bo: User) -> None:
        switch_on("delete")
        match act:
            case "disable" | "toggle":
                staff.disable(command(ada), person=bo)
            case "password":
                staff.reset_password(command(ada), person=bo)
            case "second_factor":
                staff.reset_second_factor(command(ada), person=bo)
            case _:
                staff.change_role(command(ada), person=bo, role="finance")
        if act == "toggle":
            staff.enable(command(ada), person=bo)
        with pytest.raises(NobodyLeft, match="In the last 24 hours you changed the access") as refused:
            break_glass(ada)
        assert not refused.value.may_break_glass
        assert ApprovalRule.objects.get().is_on

    def test_not_by_an_edit_of_the_approvers_role(self, ada: User) -> None:
        switch_on("link_without_proof")
        role = custom_roles.create_role(command(ada), name="Linkers", description="", permissions=["link_account"])
        facts = {"permissions": ["view"]}
        custom_roles.edit_role(command(ada), role=role, facts=facts)
        needed = (Permission.LINK_ACCOUNT,)
        assert changed_approvers(ada, needed, now=timezone.now())
        assert not changed_approvers(ada, (Permission.MANAGE_TEAM,), now=timezone.now())
        assert not changed_approvers(UserFactory(role="admin"), needed, now=timezone.now())

    def test_by_whoever_changed_others_or_a_day_ago(self, ada: User, bo: User) -> None:
        switch_on("delete")
        staff.disable(command(ada), person=UserFactory(role="finance"))
        staff.disable(command(bo), person=UserFactory(role="auditor"))
        User.objects.filter(pk=bo.pk).update(is_active=False)
        break_glass(ada)
        assert not ApprovalRule.objects.get().is_on

    def test_a_day_later(self, ada: User, bo: User) -> None:
        switch_on("delete")
        staff.disable(command(ada), person=bo)
        break_glass(ada, later=timedelta(hours=24, minutes=1))
        assert not ApprovalRule.objects.get().is_on

    def test_the_page_has_no_form_for_it(self, ada: User, bo: User) -> None:
        switch_on("delete")
        staff.disable(command(ada), person=bo)
        client = client_of(ada)
        page = client.post("/approvals/rules/delete/", {"seen": '{"is_on": true}'})
        assert page.status_code == 422
        assert "you changed the access of someone who could have approved it" in prose_of(page)
        assert "Break the glass" not in prose_of(page)


class TestEveryoneIsTold:
    def test_also_who_was_disabled_or_demoted_before(self, ada: User) -> None:
        switch_on("delete")
        cy, auditor, demoted = UserFactory(role="admin"), UserFactory(role="auditor"), UserFactory(role="auditor")
        staff.disable(command(cy), person=auditor)
        staff.change_role(command(cy), person=demoted, role="finance")
        staff.disable(command(ada), person=UserFactory(role="finance"))
        User.objects.filter(pk=cy.pk).update(is_active=False)
        break_glass(ada)
        assert told() == {ada.email, auditor.email, demoted.email}

    def test_also_who_is_disabled_before_the_delivery(self, ada: User) -> None:
        switch_on("admin_role")  # which an auditor can't approve
        auditor = UserFactory(role="auditor")
        rules.change_rule(
            Command(ada, timezone.now(), glass_reason=REASON), kind=ApprovalKind.ADMIN_ROLE, facts={"is_on": False}
        )
        User.objects.filter(pk=auditor.pk).update(is_active=False)
        assert told() == {ada.email, auditor.email}


class TestSettling:
    @pytest.fixture(autouse=True)
    def _on(self) -> None:
        switch_on()

    def may(self, person: User, requester: User, *, later: timedelta = timedelta()) -> bool:
        now = timezone.now() + later
        found = may_approve(person, requester, Permission.DELETE_ACCOUNT, now=now)
        assert found is (person in Lookup(now=now).others(requester, Permission.DELETE_ACCOUNT))
        return found

    def test_access_by_groups(self, ada: User, bo: User, settings: Settings, rf: RequestFactory) -> None:
        settings.OIDC_ISSUER, settings.OIDC_ROLES = "https://idp.example", [("adm", "admin")]
        settings.OIDC_CREATE = True
        known = UserFactory(role="finance")
        SocialAccount.objects.create(user=known, provider="https://idp.example", uid="s2")
        for subject, email in (("s1", "new@idp.example"), ("s2", known.email)):
            groups = frozenset({"adm"})
            identity = SsoIdentity("https://idp.example", subject, email, True, "New", groups, False, 0.0)
            person = sso_commands.admit(identity, request=rf.get("/"))
            assert person.role == "admin"
            assert not self.may(person, ada)
            assert self.may(person, ada, later=timedelta(hours=25))
        assert self.may(bo, ada)  # an event without an actor excludes nobody else
        assert self.may(ada, person)

    @pytest.mark.parametrize("joins", ["staff.password_changed", "staff.sso_linked"])
    def test_from_the_moment_of_joining(self, joins: str, ada: User, bo: User) -> None:
        member = UserFactory(role="customer_success")
        for verb, actor, hours in (("staff.invited", ada, 30), (joins, member, 2)):
            happened(verb, to=member, by=actor, hours_ago=hours)
        assert not self.may(member, ada)
        assert not self.may(member, bo)
        assert not self.may(ada, member)
        assert self.may(bo, member)
        assert not self.may(member, bo, later=timedelta(hours=21))
        assert self.may(member, bo, later=timedelta(hours=23))

    def test_a_later_password_changes_nothing(self, ada: User) -> None:
        member = UserFactory(role="customer_success")
        events = (("staff.invited", ada, 90), ("staff.password_changed", member, 80))
        for verb, actor, hours in (*events, ("staff.password_changed", member, 2)):
            happened(verb, to=member, by=actor, hours_ago=hours)
        assert self.may(member, ada)

    def test_who_edited_a_role_approves_nothing_of_its_members(self, ada: User, bo: User) -> None:
        role = CustomRoleFactory(permissions=["view"])
        member = UserFactory(role="custom", custom_role=role)
        custom_roles.edit_role(command(ada), role=role, facts={"permissions": ["delete_account"]})
        member = User.objects.get(pk=member.pk)
        assert not self.may(ada, member)
        assert self.may(bo, member)

    def test_approvers_may_open_the_page_that_decides(self, ada: User) -> None:
        for name, permissions in (("Del", ["delete_account"]), ("Both", ["delete_account", "change_in_bulk"])):
            UserFactory(role="custom", name=name, custom_role=CustomRoleFactory(permissions=permissions))
        needed = (Permission.DELETE_ACCOUNT, Permission.CHANGE_IN_BULK)
        found = {str(each) for each in others(ada, *needed, now=timezone.now())}
        assert ("Both" in found, "Del" in found) == (True, False)


def happened(verb: str, *, to: User, by: User, hours_ago: int) -> None:
    at = timezone.now() - timedelta(hours=hours_ago)
    AuditEvent.objects.create(verb=verb, object_id=to.public_id, actor=by, at=at)
