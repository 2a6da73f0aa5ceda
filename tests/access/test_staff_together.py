"""What admins do to each other, and people to their own access, at the same moment in several processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.utils import timezone

from portal.access import staff
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal
from tests.support.factories import PASSWORD, UserFactory
from tests.support.people import sign_in
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]


@pytest.fixture
def request_() -> HttpRequest:
    request = RequestFactory().post("/")
    request.session = {}  # type: ignore[assignment]  # a plain dict will do
    return request


def told_by(work: Callable[[], Any]) -> str:
    try:
        work()
    except Refusal as refusal:
        return str(refusal)
    return "done"


@pytest.mark.parametrize("act", ["disable", "demote"])
def test_two_admins_at_each_other(act: str) -> None:
    for _ in rounds():
        User.objects.update(is_active=False)
        pair = [UserFactory(role="admin"), UserFactory(role="admin")]

        def work(n: int, pair: list[User] = pair) -> str:
            command, other = Command(pair[n]), pair[1 - n]
            if act == "disable":
                return told_by(lambda: staff.disable(command, person=other))
            return told_by(lambda: staff.change_role(command, person=other, role="auditor"))

        told = together(work, 2)
        assert User.objects.filter(role="admin", is_active=True).count() == 1
        assert sorted(told) == ["You're no longer an admin.", "done"]


def test_one_address_invited_twice() -> None:
    admins = [UserFactory(role="admin"), UserFactory(role="admin")]
    for n in rounds():
        email = f"new{n}@postkeeper.example"
        told = together(
            lambda i, e=email: told_by(
                lambda: staff.invite(
                    Command(admins[i], timezone.now()), email=e if i else e.upper(), name="New", role="finance"
                )
            ),
            2,
        )
        assert sorted(told) == ["A team member with this email already exists.", "done"]
        assert User.objects.filter(email=email).count() == 1


def test_a_password_is_reset_while_its_owner_changes_it(request_: HttpRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has a session that an admin ends can't set a password after that."""
    monkeypatch.setattr(staff, "update_session_auth_hash", lambda *_: None)
    admin, broken = UserFactory(role="admin"), []
    for _ in rounds():
        person = UserFactory(role="finance")
        works = [
            lambda p=person: staff.reset_password(Command(admin), person=p),
            lambda p=person: staff.change_own_password(person=p, password="another long one", request=request_),
        ]
        told = together(lambda n, w=works: told_by(w[n]), 2)
        person.refresh_from_db()
        broken += [told] if person.has_usable_password() else []
        assert not person.check_password(PASSWORD)
    assert not broken, f"{len(broken)} of {len(rounds())}: {broken}"


def test_a_link_is_used_twice(request_: HttpRequest) -> None:
    for _ in rounds():
        person = UserFactory(role="finance")
        told = together(lambda n, p=person: staff.save_password(
            person=p, password=f"a long password {n}", request=request_), 2)  # fmt: skip
        assert sorted(told) == [False, True]
        assert AuditEvent.objects.filter(object_id=person.public_id, verb="staff.password_changed").count() == 1


def test_a_page_does_not_wait_for_a_locked_user(client: Client) -> None:
    """The limit of a lock is three seconds; the note that somebody is there is not worth one of them."""
    person = UserFactory()
    sign_in(client, person)
    holder = connection.copy()
    holder.set_autocommit(False)
    try:
        with holder.cursor() as cursor:
            cursor.execute("SELECT 1 FROM access_user WHERE id = %s FOR UPDATE", [person.pk])
        assert client.get("/me/").status_code == 200
    finally:
        holder.close()
    assert User.objects.get(pk=person.pk).last_seen_at is None
