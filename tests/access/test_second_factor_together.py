"""A code, a set-up and a removal at the same moment in several processes: each counts once."""

from __future__ import annotations

from contextlib import suppress

import pytest
from allauth.mfa.models import Authenticator
from django.core.cache import cache
from django.test import Client, RequestFactory

from portal.access import second_factor, throttling
from portal.access.models import User
from portal.refusals import Refusal
from tests.access.test_second_factor import code_of, codes_on, next_code, secret_on
from tests.support.factories import UserFactory
from tests.support.people import sign_in
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]


def enrolled() -> tuple[User, str, list[str]]:
    person = UserFactory(role="admin")
    client = sign_in(Client(), person)
    secret = secret_on(client.get("/me/security/app/"))
    codes = codes_on(client.post("/me/security/app/", {"code": code_of(secret)}))
    person.refresh_from_db()
    return person, secret, codes


@pytest.mark.parametrize("kind", ["app", "recovery"])
def test_a_code_lets_one_of_many_in(kind: str) -> None:
    for _ in rounds():
        person, secret, codes = enrolled()
        code = next_code(secret) if kind == "app" else codes[0]
        found = together(lambda _n, who=person, what=code: bool(second_factor.check_code(who, what)), 6)
        assert sorted(found) == [False] * 5 + [True]


def test_ten_attempts_of_fifty_are_counted() -> None:
    for n in rounds():
        cache.clear()
        email = f"p{n}@postkeeper.example"

        def work(k: int, email: str = email) -> int:
            admitted = 0
            for m in range(10):
                request = RequestFactory().post("/", REMOTE_ADDR=f"198.51.{k}.{m}")
                with suppress(throttling.NoAttemptLeft):
                    throttling.attempt(request, throttling.PASSWORD, email)
                    admitted += 1
            return admitted

        assert 0 < sum(together(work, 5)) <= 10


def test_the_last_factor_is_not_removed_by_two_at_once() -> None:
    """Each of two factors is removed while the other one still exists."""
    for _ in rounds():
        person, _secret, _codes = enrolled()
        first = Authenticator.objects.get(user=person, type="totp")
        second = Authenticator.objects.create(user=person, type="webauthn", data={"name": "Key", "credential": {}})

        def work(n: int, person: User = person, ids: tuple[int, int] = (first.pk, second.pk)) -> str:
            request = sign_in(Client(), person).get("/me/security/").wsgi_request
            try:
                second_factor.remove_own(request, user=person, authenticator_id=ids[n])
            except Refusal:
                return "refused"
            return "removed"

        assert sorted(together(work, 2)) == ["refused", "removed"]
        assert second_factor.has_one(person)
