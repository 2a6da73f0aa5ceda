"""Links to subjects, made and removed at the same moment in several processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount
from django.http import HttpRequest
from django.test import RequestFactory
from django.utils import timezone
from pytest_django import Settings

from portal.access import links, staff
from portal.access.models import User
from portal.access.session_store import SessionStore
from portal.access.sso import commands
from portal.access.sso.identity import SsoIdentity
from portal.access.sso.refusals import SsoRefused
from portal.audit.models import AuditEvent
from portal.commands import Command
from tests.support.factories import UserFactory
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]
ISSUER = "https://id.example"


@pytest.fixture(autouse=True)
def request_(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> HttpRequest:
    settings.OIDC_ISSUER, settings.OIDC_ROLES, settings.OIDC_CREATE = ISSUER, [("pk", "finance")], True
    monkeypatch.setattr(commands, "update_session_auth_hash", lambda *_: None)
    request = RequestFactory().post("/")
    request.session = SessionStore()
    return request


def identity(subject: str, email: str = "new@postkeeper.example") -> SsoIdentity:
    return SsoIdentity(ISSUER, subject, email, True, "Nia New", frozenset({"pk"}), False, 0.0)


def told_by(work: Callable[[], Any]) -> str:
    try:
        work()
    except SsoRefused as refused:
        return refused.code
    return "done"


def test_one_subject_is_connected_by_two_people(request_: HttpRequest) -> None:
    for n in rounds():
        pair = [UserFactory(role="finance"), UserFactory(role="finance")]

        def work(i: int, n: int = n, pair: list[User] = pair) -> str:
            return told_by(lambda: commands.connect(identity(f"s{n}"), person=pair[i], request=request_))

        assert sorted(together(work, 2)) == ["done", "linked_to_other"]
        assert SocialAccount.objects.filter(uid=f"s{n}").count() == 1


def test_one_person_is_connected_to_two_subjects(request_: HttpRequest) -> None:
    for n in rounds():
        person = UserFactory(role="finance")

        def work(i: int, n: int = n, person: User = person) -> str:
            return told_by(lambda: commands.connect(identity(f"s{n}-{i}"), person=person, request=request_))

        assert sorted(together(work, 2)) == ["access_changed", "done"]
        assert SocialAccount.objects.filter(user=person).count() == 1


def test_an_invitation_is_accepted_twice(request_: HttpRequest) -> None:
    for n in rounds():
        person = User.objects.create_user(f"new{n}@postkeeper.example", name="New", role="finance")
        token = _token(person)

        def work(i: int, n: int = n, token: str = token) -> str:
            return told_by(lambda: commands.accept_link(token, identity(f"s{n}-{i}"), request=request_))

        assert sorted(together(work, 2)) == ["done", "link_ended"]
        assert SocialAccount.objects.filter(user=person).count() == 1


def test_an_invitation_is_replaced_while_it_is_accepted(request_: HttpRequest) -> None:
    """Whichever comes first, the old link gives nobody access afterwards."""
    admin = UserFactory(role="admin")
    for n in rounds():
        person = User.objects.create_user(f"new{n}@postkeeper.example", name="New", role="finance")
        token = _token(person)
        works = [
            lambda p=person: staff.reset_password(Command(admin), person=p),
            lambda t=token, n=n: commands.accept_link(t, identity(f"s{n}"), request=request_),
        ]
        told = together(lambda i, w=works: told_by(w[i]), 2)
        assert set(told) <= {"done", "link_ended"}
        assert not SocialAccount.objects.filter(user=person).exists(), told


def test_an_unknown_subject_signs_in_twice(request_: HttpRequest) -> None:
    for n in rounds():
        email = f"nia{n}@postkeeper.example"
        told = together(lambda _, n=n, e=email: told_by(
            lambda: commands.admit(identity(f"nia{n}", e), request=request_)), 2)  # fmt: skip
        assert told == ["done", "done"]
        assert User.objects.filter(email=email).count() == 1
        assert AuditEvent.objects.filter(verb="staff.created_by_sso").count() == n + 1


def _token(person: User) -> str:
    link = links.make_link(
        person=person, lasts=links.BY_ADMIN, now=timezone.now(), request=None, kind=links.LinkKind.INVITE
    )
    return link.url.rstrip("/").rpartition("/")[2]
