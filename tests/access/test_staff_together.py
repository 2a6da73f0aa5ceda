"""What admins do to each other, and people to their own access, at the same moment in several processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpRequest
from django.test import RequestFactory
from django.utils import timezone

from portal.access import links, staff
from portal.access.models import User
from portal.audit.models import AuditEvent
from tests.support.factories import PASSWORD, UserFactory
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
    except staff.UnableToChangeStaff as refusal:
        return str(refusal)
    return "done"


@pytest.mark.parametrize("act", ["disable", "demote"])
def test_two_admins_at_each_other(act: str) -> None:
    for _ in rounds():
        User.objects.update(is_active=False)
        pair = [UserFactory(role="admin"), UserFactory(role="admin")]

        def work(n: int, pair: list[User] = pair) -> str:
            common: dict[str, Any] = {"actor": pair[n], "person": pair[1 - n], "request": None}
            if act == "disable":
                return told_by(lambda: staff.disable(**common))
            return told_by(lambda: staff.change_role(role="auditor", **common))

        told = together(work, 2)
        assert User.objects.filter(role="admin", is_active=True).count() == 1
        assert sorted(told) == ["Your own role changed meanwhile. Nothing was changed.", "done"]


def test_one_address_invited_twice() -> None:
    admins = [UserFactory(role="admin"), UserFactory(role="admin")]
    for n in rounds():
        email = f"new{n}@postkeeper.example"
        told = together(lambda i, e=email: told_by(lambda: staff.invite(
            actor=admins[i], email=e if i else e.upper(), name="New", role="finance", now=timezone.now(), request=None
        )), 2)  # fmt: skip
        assert sorted(told) == ["Someone already has this e-mail.", "done"]
        assert User.objects.filter(email=email).count() == 1


def test_a_password_is_reset_while_its_owner_changes_it(request_: HttpRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has a session that an admin ends can't set a password after that."""
    monkeypatch.setattr(staff, "update_session_auth_hash", lambda *_: None)
    admin, broken = UserFactory(role="admin"), []
    for _ in rounds():
        person = UserFactory(role="finance")
        works = [
            lambda p=person: staff.reset_password(actor=admin, person=p, request=None),
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
        told = together(lambda n, p=person: links.set_password_by_link(
            person=p, password=f"a long password {n}", request=request_), 2)  # fmt: skip
        assert sorted(told) == [False, True]
        assert AuditEvent.objects.filter(object_id=person.public_id, verb="staff.password_changed").count() == 1
