"""Retention of the audit log: the oldest events go, and what reads the log finds what it needs or knows that it is
short."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from customers.models import Account
from customers.monitoring import invariants
from portal import audit
from portal.access import custom_roles
from portal.access.permissions import Permission
from portal.access.role_history import custom_role_had
from portal.audit import chain
from portal.audit.expiry import expired_until
from portal.audit.models import AuditCheckpoint, AuditEvent
from portal.commands import Command
from portal.retention import runs
from portal.retention.models import RetentionPeriod, RetentionRun
from portal.retention.rules import find_rule
from tests.retention import rows
from tests.support.approvals import switch_on
from tests.support.factories import AccountFactory, UserFactory

pytestmark = [pytest.mark.django_db, pytest.mark.both]
DAY = timedelta(days=1)
OLD = 900


def ago(time_machine: Any, days: int, write: Any) -> Any:
    """Do something so many days ago, and seal the log then."""
    now = timezone.now()
    time_machine.move_to(now - days * DAY, tick=False)
    made = write()
    chain.seal_pending()
    time_machine.move_to(now, tick=True)
    return made


def note(**facts: Any) -> AuditEvent:
    return audit.record(actor=None, verb="note.added", obj=None, **facts)


def expire(days: int = 730) -> int:
    rule = find_rule("audit_events")
    assert rule is not None
    note()
    chain.seal_pending()
    before = timezone.now() - days * DAY
    due = rule.count(before)
    assert sum(iter(lambda: rule.remove_batch(before), 0)) == due
    return due


def violations(code: str) -> list[str]:
    (found,) = (each for each in invariants.registered() if each.code == code)
    return list(found.violations(timezone.now()))


def test_the_nightly_run_removes_the_oldest_events(time_machine: Any) -> None:
    first = ago(time_machine, OLD, note)
    edge = ago(time_machine, 729, note)
    RetentionPeriod.objects.create(code="audit_events", days=730, changed_at=timezone.now())
    rows.retention_run(timezone.now() - 2 * DAY)
    run = runs.apply_now()
    assert run is not None
    assert run.removed == {"audit_events": 1}
    assert not AuditEvent.objects.filter(pk=first.pk).exists()
    assert AuditEvent.objects.filter(pk=edge.pk).exists()
    assert AuditCheckpoint.objects.count() == 1
    chain.seal_pending()
    assert violations("I16") == []


def test_events_are_kept_by_default(time_machine: Any) -> None:
    ago(time_machine, 4000, note)
    rows.retention_run(timezone.now() - 2 * DAY)
    run = runs.apply_now()
    assert run is not None
    assert run.removed == {}
    assert RetentionRun.objects.count() == 2


def test_linked_accounts_are_not_reported_once_their_event_went(time_machine: Any) -> None:
    account = AccountFactory()
    Account.objects.filter(pk=account.pk).update(created_at=timezone.now() - OLD * DAY)
    event = {"verb": "account.adopted", "obj": account}
    ago(time_machine, OLD, lambda: audit.record(actor=None, **event))
    assert violations("I2") == []
    assert expire() == 1
    assert violations("I2") == []
    young = AccountFactory()
    assert [str(young.provider_id) in each for each in violations("I2")] == [True]


def created_role(time_machine: Any, *codes: str) -> tuple[Command, Any]:
    admin = UserFactory(role="admin")
    facts = {"name": "Abuse desk", "description": "", "permissions": list(codes)}

    def create() -> Any:
        return custom_roles.create_role(Command(admin, reason="A new desk"), **facts)

    return Command(admin, reason="Another desk"), ago(time_machine, OLD, create)


def test_a_role_has_its_permissions_after_its_event_went(time_machine: Any) -> None:
    created_role(time_machine, "suspend_account", "refresh_account")
    assert expire() == 1
    assert expired_until() is not None
    now = note()
    assert custom_role_had("Abuse desk", Permission.SUSPEND_ACCOUNT, event_id=now.pk)
    assert not custom_role_had("Abuse desk", Permission.DELETE_ACCOUNT, event_id=now.pk)
    assert not custom_role_had("Nobody", Permission.VIEW, event_id=now.pk)


def test_a_later_edit_of_a_role_counts_from_then_on(time_machine: Any) -> None:
    command, role = created_role(time_machine, "suspend_account")
    between = ago(time_machine, 500, note)
    custom_roles.edit_role(command, role=role, facts={"permissions": ["refresh_account"]})
    assert expire() == 1
    after = note()
    for event, had in ((between, True), (after, False)):
        assert custom_role_had("Abuse desk", Permission.SUSPEND_ACCOUNT, event_id=event.pk) == had
        assert custom_role_had("Abuse desk", Permission.REFRESH_ACCOUNT, event_id=event.pk) != had


def test_a_break_glass_that_went_is_not_reported(time_machine: Any) -> None:
    switch_on("delete", on_since=timezone.now() - 2000 * DAY)
    at = timezone.now() - OLD * DAY
    change = rows.bulk_change(at, kind="delete", submitted_at=at, items=0)
    assert [each for each in violations("I17") if change.code in each]
    ago(time_machine, OLD - 1, note)
    assert expire() == 1
    assert violations("I17") == []
