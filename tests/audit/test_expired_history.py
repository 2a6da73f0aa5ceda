"""What reads history from the audit log is right after the oldest events were removed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.models import AccountMove
from billing.pricing.statements.ownership import moves_since, owners_stamp
from customers.models import Account
from customers.monitoring.account_invariants import id_and_create
from portal import audit
from portal.access import custom_roles
from portal.access.permissions import Permission
from portal.access.role_history import custom_role_had
from portal.audit import chain
from portal.audit.expiry import expire
from portal.audit.models import AuditEvent
from portal.commands import Command
from tests.support.audit import write_events
from tests.support.factories import AccountFactory, CustomerFactory, UserFactory

pytestmark = pytest.mark.django_db
LONG_AGO = timedelta(days=400)


@pytest.fixture
def long_ago(time_machine: Any) -> datetime:
    """The time 400 days ago, which it is until `remove` comes back."""
    now = timezone.now()
    time_machine.move_to(now - LONG_AGO, tick=True)
    return now


def remove(time_machine: Any, now: datetime) -> None:
    chain.seal_pending()
    time_machine.move_to(now, tick=True)
    write_events(1)
    chain.seal_pending()
    assert expire(Command(actor=None), before=now - timedelta(days=365), limit=100) > 0


def test_moves_of_accounts_stay_known(time_machine: Any, long_ago: datetime) -> None:
    one, after = AccountFactory(), CustomerFactory()
    before = one.customer
    audit.record(actor=None, verb="account.linked", obj=one)
    audit.record(actor=None, verb="account.moved", obj=one, customer=after, before={"customer": "?"})
    found, stamp = moves_since(long_ago - 2 * LONG_AGO), owners_stamp()
    assert [move.before for move in found[one.pk]] == [before.pk]
    remove(time_machine, long_ago)
    assert not AuditEvent.objects.filter(verb="account.moved").exists()
    assert (moves_since(long_ago - 2 * LONG_AGO), owners_stamp()) == (found, stamp)
    assert moves_since(long_ago - LONG_AGO + timedelta(days=1)) == {}
    audit.record(actor=None, verb="account.moved", obj=one, customer=before, before={"customer": str(after)})
    assert [move.before for move in moves_since(long_ago - 2 * LONG_AGO)[one.pk]] == [before.pk, after.pk]
    assert AccountMove.objects.count() == 1


def test_an_account_that_was_linked_long_ago_is_no_violation(time_machine: Any, long_ago: datetime) -> None:
    one = AccountFactory(provider_id="x1")
    Account.objects.filter(pk=one.pk).update(created_at=timezone.now())
    audit.record(actor=None, verb="account.adopted", obj=one)
    remove(time_machine, long_ago)
    assert list(id_and_create(timezone.now())) == []
    AccountFactory(provider_id="x2")
    assert len(list(id_and_create(timezone.now()))) == 1


def test_permissions_of_a_role_from_long_ago_are_known(time_machine: Any, long_ago: datetime) -> None:
    admin = UserFactory(role="admin")
    command = Command(admin, reason="New hire")
    role = custom_roles.create_role(command, name="Usage desk", description="", permissions=["suspend_account"])
    remove(time_machine, long_ago)
    assert not AuditEvent.objects.filter(object_id=role.public_id).exists()
    first = write_events(1)[0]
    assert custom_role_had("Usage desk", Permission.SUSPEND_ACCOUNT, event_id=first.pk)
    custom_roles.edit_role(command, role=role, facts={"permissions": ["view"]})
    second = write_events(1)[0]
    assert not custom_role_had("Usage desk", Permission.SUSPEND_ACCOUNT, event_id=second.pk)
    assert custom_role_had("Usage desk", Permission.SUSPEND_ACCOUNT, event_id=first.pk)
    assert not custom_role_had("Usage desk", Permission.VIEW_COST, event_id=first.pk)
