"""Rules: switched on by one admin, relaxed only by two, and never off by themselves; and how the glass is broken."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.core import mail
from django.urls import reverse
from django.utils import timezone

from customers.monitoring.operation_invariants import approved_by_who_asked
from portal.access.models import User
from portal.approvals import rules
from portal.approvals.gate import ApprovalRequired, NobodyLeft
from portal.approvals.kinds import ApprovalKind
from portal.approvals.models import Approval, ApprovalRule
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.notices import delivery
from tests.approvals.conftest import approve, client_of
from tests.customers.page_helpers import fields, prose_of
from tests.support.approvals import switch_on
from tests.support.edits import fields_of
from tests.support.factories import UserFactory

pytestmark = pytest.mark.django_db
REASON = "The provider ends this key tonight"


def save(person: User, kind: str, *, drop: str = "", **typed: str) -> Any:
    client, url = client_of(person), reverse("approvals:rule", args=[kind])
    said = fields_of(client.get(url).content.decode()) | {"is_on": "on"} | typed
    said.pop(drop, None)
    return client.post(url, said)


def test_switched_on_by_one_admin(ada: User, bo: User) -> None:
    assert "Approvals are off." in prose_of(client_of(ada).get(reverse("home")))
    assert save(ada, "delete").status_code == 303
    rule = ApprovalRule.objects.get(kind="delete")
    assert (rule.is_on, rule.changed_by) == (True, ada)
    assert rule.on_since
    event = AuditEvent.objects.get(verb="approval.rule_changed")
    assert (event.before, event.after) == ({"is_on": False}, {"is_on": True})
    assert "Approvals are off." not in prose_of(client_of(ada).get(reverse("home")))


def test_switched_off_by_two(ada: User, bo: User) -> None:
    switch_on("delete", "bulk")
    save(ada, "delete", drop="is_on")
    approval = Approval.objects.get()
    assert ApprovalRule.objects.get(kind="delete").is_on
    assert "Needs approval Yes No" in prose_of(client_of(bo).get(approval.get_absolute_url()))
    approve(bo, approval)
    rule = ApprovalRule.objects.get(kind="delete")
    assert (rule.is_on, rule.changed_by) == (False, ada)
    assert AuditEvent.objects.get(verb="approval.rule_changed").after["approved_by"] == "Bo"


@pytest.mark.parametrize(
    ("facts", "relaxed"),
    [
        ({"threshold": 11}, True),
        ({"window_hours": 23}, True),
        ({"threshold": 9, "window_hours": 12}, True),
        ({"threshold": 9}, False),
        ({"window_hours": 48}, False),
        ({"is_on": False, "threshold": 1}, True),
    ],
)
def test_what_relaxes_a_rule_needs_another_admin(ada: User, bo: User, facts: dict[str, Any], relaxed: bool) -> None:
    switch_on("bulk", threshold=10, window_hours=24)
    if relaxed:
        with pytest.raises(ApprovalRequired, match="approval by Bo"):
            rules.change_rule(Command(ada), kind=ApprovalKind.BULK, facts=facts)
    else:
        rules.change_rule(Command(ada), kind=ApprovalKind.BULK, facts=facts)
    rule = ApprovalRule.objects.get()
    assert (rule.version == 1) is relaxed


def test_a_rule_that_changed_is_not_relaxed_by_an_old_request(ada: User, bo: User) -> None:
    switch_on("bulk", threshold=10)
    save(ada, "bulk", threshold="50")
    approval = Approval.objects.get()
    rules.change_rule(Command(bo), kind=ApprovalKind.BULK, facts={"threshold": 5})
    with pytest.raises(Exception, match="changed since it was requested"):
        approve(bo, approval)
    assert ApprovalRule.objects.get().threshold == 5


def test_a_rule_stays_on_with_one_person_left(ada: User) -> None:
    switch_on("delete")
    with pytest.raises(NobodyLeft):
        rules.change_rule(Command(ada), kind=ApprovalKind.DELETE, facts={"is_on": False})
    assert ApprovalRule.objects.get().is_on
    page = prose_of(client_of(ada).get(reverse("approvals:rules")))
    assert "Fewer than two people can approve: requests are refused." in page


def test_auditors_read_rules_and_others_do_not(ada: User) -> None:
    for role, seen, edited in (("auditor", 200, 403), ("customer_success", 403, 403), ("finance", 403, 403)):
        client = client_of(UserFactory(role=role))
        assert client.get(reverse("approvals:rules")).status_code == seen
        assert client.get(reverse("approvals:rule", args=["bulk"])).status_code == edited


class TestBreakGlass:
    """On the form that was refused, by an admin, with a reason and a confirmation; everyone is told."""

    def refused(self, person: User) -> Any:
        switch_on("delete")
        return save(person, "delete", drop="is_on")

    def again(self, person: User, page: Any, **said: str) -> Any:
        client = client_of(person)
        return client.post(reverse("approvals:rule", args=["delete"]), fields(page) | said)

    def test_refused_first_and_told_how(self, ada: User) -> None:
        page = self.refused(ada)
        assert page.status_code == 422
        said = prose_of(page)
        assert "nobody else can approve it now. Nothing was changed." in said
        assert "All admins and auditors are told by email" in said
        assert ApprovalRule.objects.get().is_on

    def test_broken_with_a_reason_and_everyone_is_told(self, ada: User) -> None:
        auditor, invited = UserFactory(role="auditor"), UserFactory(role="finance")
        page = self.refused(ada)
        again = self.again(ada, page, **{"glass-reason": REASON, "glass-confirmed": "1"})
        assert again.status_code == 303
        assert not ApprovalRule.objects.get().is_on
        event = AuditEvent.objects.get(verb="approval.broke_glass")
        assert (event.actor, event.reason) == (ada, REASON)
        assert AuditEvent.objects.get(verb="approval.rule_changed").after["broke_glass"] is True
        delivery.deliver(now=timezone.now())
        assert sorted(address for each in mail.outbox for address in each.to) == sorted([ada.email, auditor.email])
        assert all(REASON in each.body for each in mail.outbox)
        assert invited.email not in str([each.to for each in mail.outbox])

    @pytest.mark.parametrize(
        "said",
        [
            {"glass-reason": REASON},
            {"glass-confirmed": "1"},
            {"glass-reason": "too short a reason", "glass-confirmed": "1"},
            {"glass-reason": " " * 40, "glass-confirmed": "1"},
        ],
    )
    def test_not_without_a_reason_and_a_confirmation(self, ada: User, said: dict[str, str]) -> None:
        again = self.again(ada, self.refused(ada), **said)
        assert again.status_code == 422
        assert ("Select the checkbox to confirm." in again.content.decode()) == ("glass-confirmed" not in said)
        assert ApprovalRule.objects.get().is_on
        assert not AuditEvent.objects.filter(verb="approval.broke_glass").exists()

    def test_not_while_somebody_else_can_approve(self, ada: User) -> None:
        page = self.refused(ada)
        UserFactory(role="admin", name="Bo")
        again = self.again(ada, page, **{"glass-reason": REASON, "glass-confirmed": "1"})
        assert again["Location"] == Approval.objects.get().get_absolute_url()
        assert ApprovalRule.objects.get().is_on

    def test_not_with_a_password_entered_long_ago(self, ada: User) -> None:
        page = self.refused(ada)
        client = client_of(ada, minutes_ago=11)
        said = fields(page) | {"glass-reason": REASON, "glass-confirmed": "1"}
        asked = client.post(reverse("approvals:rule", args=["delete"]), said)
        assert "Confirm it's you" in prose_of(asked)
        assert ApprovalRule.objects.get().is_on


@pytest.mark.parametrize(
    ("variable", "people", "on"),
    [(None, 2, True), ("1", 2, True), ("0", 2, False), ("off", 2, False), (None, 1, False), (None, 0, False)],
)
def test_an_upgrade_keeps_what_the_variable_said(
    variable: str | None, people: int, on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SECOND_PERSON", raising=False)
    if variable is not None:
        monkeypatch.setenv("SECOND_PERSON", variable)
    for _ in range(people):
        UserFactory(role="customer_success")
    UserFactory(role="admin", is_active=False)
    User.objects.create_user("invited@postkeeper.example", name="Invited", role="admin")
    import_module("portal.approvals.migrations.0003_second_person").switch_on(apps, None)
    assert set(ApprovalRule.objects.values_list("kind", "is_on")) == (
        {("delete", True), ("bulk", True)} if on else set()
    )
    assert list(approved_by_who_asked(timezone.now())) == []
