"""Admins change roles, and people with a role use it, at the same moment in several processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from customers.models import Operation
from customers.operations.kinds.suspend import request_suspend
from portal.access import custom_roles, staff
from portal.access.models import CustomRole, User
from portal.access.permissions import Permission
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.edits import EditConflict
from portal.refusals import Refusal
from tests.support.factories import AccountFactory, CustomRoleFactory, UserFactory
from tests.support.people import sign_in
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]


def told_by(work: Callable[[], Any]) -> str:
    try:
        work()
    except (Refusal, EditConflict) as refusal:
        return str(refusal)
    return "done"


def test_a_role_is_archived_while_it_is_given() -> None:
    for _ in rounds():
        ada, bo, person = UserFactory(role="admin"), UserFactory(role="admin"), UserFactory(role="finance")
        row = CustomRoleFactory(created_by=ada)
        works = [
            lambda row=row, ada=ada: custom_roles.archive_role(Command(ada), role=row),
            lambda row=row, bo=bo, person=person: staff.change_role(
                Command(bo), person=person, role=str(row.public_id)
            ),
        ]
        told = together(lambda n, w=works: told_by(w[n]), 2)
        row.refresh_from_db()
        person.refresh_from_db()
        assert row.is_archived != (person.custom_role_id == row.pk)
        assert told.count("done") == 1
        (other,) = set(told) - {"done"}
        assert "was archived" in other or "has this role" in other


def test_a_role_is_archived_while_somebody_is_invited_with_it() -> None:
    for n in rounds():
        ada, bo = UserFactory(role="admin"), UserFactory(role="admin")
        row = CustomRoleFactory(created_by=ada)
        facts = {"email": f"eve{n}@postkeeper.example", "name": "Eve", "role": str(row.public_id)}
        works = [
            lambda row=row, ada=ada: custom_roles.archive_role(Command(ada), role=row),
            lambda bo=bo, facts=facts: staff.invite(Command(bo), **facts),
        ]
        told = together(lambda n, w=works: told_by(w[n]), 2)
        row.refresh_from_db()
        assert told.count("done") == 1
        assert row.is_archived != User.objects.filter(custom_role=row).exists()


def test_two_admins_save_other_permissions() -> None:
    for _ in rounds():
        admins = [UserFactory(role="admin"), UserFactory(role="admin")]
        row = CustomRoleFactory(permissions=["view"], created_by=admins[0])
        wanted = [["view", "view_cost"], ["sync_usage", "view"]]
        told = together(
            lambda n, row=row, wanted=wanted, admins=admins: told_by(
                lambda: custom_roles.edit_role(
                    Command(admins[n], reason="Needed"),
                    role=row,
                    facts={"permissions": wanted[n]},
                    seen={"permissions": ["view"]},
                )
            ),
            2,
        )
        row.refresh_from_db()
        assert sorted(told) == ["done", "permissions"]
        assert row.permissions in wanted
        assert AuditEvent.objects.filter(object_id=row.public_id).count() == 1


def test_two_roles_get_one_name() -> None:
    admins = [UserFactory(role="admin"), UserFactory(role="admin")]
    for n in rounds():
        told = together(
            lambda i, name=f"Desk {n}": told_by(
                lambda: custom_roles.create_role(
                    Command(admins[i], reason="Needed"),
                    name=name.upper() if i else name,
                    description="",
                    permissions=[],
                )
            ),
            2,
        )
        assert sorted(told) == ["Another role has this name. Enter another one.", "done"]
        assert CustomRole.objects.filter(name__iexact=f"Desk {n}").count() == 1


def test_a_role_loses_a_permission_while_its_member_acts() -> None:
    """Either the member was first, or is refused. Whatever was requested, the next request is not let in."""
    for _ in rounds():
        admin = UserFactory(role="admin")
        row = CustomRoleFactory(permissions=["suspend_account", "view"], created_by=admin)
        person, account = UserFactory(role="custom", custom_role=row), AccountFactory()
        client = sign_in(Client(), person)
        url = f"/accounts/{account.public_id}/suspend/"

        def act(
            n: int, admin: User = admin, row: CustomRole = row, person: User = person, account: Any = account
        ) -> str:
            if n == 0:
                edit = {"permissions": ["view"]}
                return told_by(lambda: custom_roles.edit_role(Command(admin, reason="Left"), role=row, facts=edit))
            fresh = User.objects.get(pk=person.pk)
            return told_by(lambda: request_suspend(Command(fresh, reason="Unpaid", token="t" * 32), account=account))

        told = together(act, 2)
        assert "done" in told
        assert Operation.objects.filter(account=account).count() == told.count("done") - 1
        assert not User.objects.get(pk=person.pk).may(Permission.SUSPEND_ACCOUNT)
        assert client.get(url).status_code == 302, "the session ended"
        assert sign_in(Client(), User.objects.get(pk=person.pk)).get(url).status_code == 403
