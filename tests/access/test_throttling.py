"""An attack on one account, on an office and on the portal: what is evaluated, and who still gets in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import time_machine
from django.core.cache import cache
from django.core.signing import dumps
from django.db import connections
from django.http import HttpResponse
from django.test import Client, RequestFactory
from pytest_django.fixtures import Settings

from portal.access import throttling
from portal.access.backends import StaffBackend
from portal.access.checks import undeclared
from portal.access.models import User
from portal.notices.models import Notice
from tests.support.factories import PASSWORD, UserFactory

URL = "/sign-in/"


@pytest.fixture
def person(db: None) -> User:
    """Somebody whose role needs no second factor, so that the password alone signs in."""
    return UserFactory(role="customer_success", email="cleo@postkeeper.example")


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The emails whose password was compared."""
    seen: list[str] = []
    original = StaffBackend.authenticate

    def counting(self: StaffBackend, request: object, email: str = "", **rest: str) -> User | None:
        seen.append(email)
        return original(self, request, email=email, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(StaffBackend, "authenticate", counting)
    return seen


def attempt(client: Client, email: str, password: str = "wrong", **headers: str) -> HttpResponse:
    return client.post(URL, {"login": email, "password": password}, **headers)  # type: ignore[return-value, arg-type]


def signs_in(client: Client, email: str, **headers: str) -> bool:
    return attempt(client, email, PASSWORD, **headers).status_code == 302


def known_device(person: User, address: str) -> Client:
    """A browser in which the person signed in, and out again."""
    client = Client(REMOTE_ADDR=address)
    assert signs_in(client, person.email)
    client.post("/sign-out/")
    assert "device" in client.cookies
    return client


@pytest.mark.long
def test_of_a_thousand_attempts_ten_are_evaluated(person: User, evaluated: list[str], settings: Settings) -> None:
    """From a thousand addresses, real and claimed; and the owner gets in meanwhile, on a device of theirs."""
    settings.TRUSTED_PROXIES = 1
    owner = known_device(person, "192.0.2.1")
    evaluated.clear()
    for n in range(1000):
        claimed = f"203.0.113.{n % 250}, 198.51.{n // 250}.{n % 250}"
        answer = attempt(Client(), person.email.upper() if n % 2 else person.email, HTTP_X_FORWARDED_FOR=claimed)
        assert answer.status_code == 422
        if n == 500:
            assert signs_in(owner, person.email)
    assert len(evaluated) == 10 + 1


def test_the_owner_gets_in_during_an_attack(person: User, evaluated: list[str]) -> None:
    owner, stranger = known_device(person, "192.0.2.1"), Client(REMOTE_ADDR="192.0.2.2")
    evaluated.clear()
    for n in range(15):
        attempt(Client(REMOTE_ADDR=f"198.51.100.{n}"), person.email)
    assert len(evaluated) == 10
    assert not signs_in(stranger, person.email), "on a new device the owner waits, or uses a passkey"
    assert signs_in(owner, person.email)


def test_an_attack_from_the_office_locks_out_no_colleague(person: User) -> None:
    colleague = known_device(person, "192.0.2.1")
    for n in range(80):
        attempt(Client(REMOTE_ADDR="192.0.2.1"), f"p{n}@postkeeper.example")
    assert attempt(Client(REMOTE_ADDR="192.0.2.1"), person.email, PASSWORD).status_code == 429
    assert signs_in(colleague, person.email)


def test_an_attack_on_the_portal_spares_known_devices(
    person: User, monkeypatch: pytest.MonkeyPatch, evaluated: list[str]
) -> None:
    monkeypatch.setattr(throttling, "_OF_PORTAL", "20/15m/key")
    owner = known_device(person, "192.0.2.1")
    evaluated.clear()
    for n in range(30):
        attempt(Client(REMOTE_ADDR=f"198.51.100.{n}"), f"p{n}@postkeeper.example")
    assert len(evaluated) == 20
    assert not signs_in(Client(REMOTE_ADDR="203.0.113.9"), person.email)
    assert signs_in(owner, person.email)
    assert Notice.objects.get().kind == "event.staff.sign_in_attacked", "once"


def test_a_device_guesses_no_more_than_a_stranger(person: User, evaluated: list[str]) -> None:
    thief = known_device(person, "192.0.2.1")
    evaluated.clear()
    for _ in range(20):
        attempt(thief, person.email)
    assert len(evaluated) == 10
    assert signs_in(Client(REMOTE_ADDR="192.0.2.1"), person.email), "and uses up nothing of others"


def test_a_device_counts_for_its_person_alone(person: User, evaluated: list[str]) -> None:
    other = UserFactory(role="auditor", email="dana@postkeeper.example")
    device = known_device(other, "192.0.2.1")
    for n in range(10):
        attempt(Client(REMOTE_ADDR=f"198.51.100.{n}"), person.email)
    evaluated.clear()
    assert not signs_in(device, person.email)
    assert evaluated == []


@pytest.mark.parametrize("salt", [None, "django.core.signing", "portal.access.links"])
def test_a_forged_device_is_none(person: User, evaluated: list[str], salt: str | None) -> None:
    for n in range(10):
        attempt(Client(REMOTE_ADDR=f"198.51.100.{n}"), person.email)
    evaluated.clear()
    client = Client()
    client.cookies["device"] = dumps({"x": "y"}, salt=salt) if salt else "nonsense"
    assert not signs_in(client, person.email)
    assert evaluated == []


def test_a_right_password_uses_up_nothing(person: User) -> None:
    for _ in range(15):
        assert signs_in(Client(), person.email)


def test_the_cookie_is_of_this_site_and_no_script(person: User) -> None:
    cookie = known_device(person, "192.0.2.1").cookies["device"]
    assert (cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (True, "Lax", 90 * 24 * 3600)
    assert person.email not in cookie.value


@pytest.mark.django_db(transaction=True)
@pytest.mark.long
def test_fifty_at_the_same_moment_evaluate_ten_at_most(person: User, evaluated: list[str]) -> None:
    def once(n: int) -> int:
        try:
            return attempt(Client(REMOTE_ADDR=f"198.51.100.{n}"), person.email).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(once, range(50))) <= {422, 429}
    assert 0 < len(evaluated) <= 10


def test_what_an_address_is_refused_burns_no_account(person: User, evaluated: list[str]) -> None:
    attacker = Client(REMOTE_ADDR="198.51.100.1")
    for n in range(4):
        for _ in range(12):
            attempt(attacker, f"p{n}@postkeeper.example")
    assert len(evaluated) == 30
    evaluated.clear()
    attempt(Client(REMOTE_ADDR="203.0.113.1"), "p3@postkeeper.example")
    assert evaluated == ["p3@postkeeper.example"], "the fourth account was not used up by refused attempts"


def test_a_busy_counter_alarms_nobody(person: User) -> None:
    key = throttling.ratelimit.get_cache_key(
        RequestFactory().get("/"), app="portal.access", action="portal", key="all",
        rate=throttling.ratelimit.parse_rate(throttling._OF_PORTAL),
    )  # fmt: skip
    cache.add(f"{key}:lock", 1, timeout=10)
    attempt(Client(), person.email)
    assert not Notice.objects.exists()


def test_asking_for_a_passkey_is_limited(db: None) -> None:
    statuses = [Client().get("/sign-in/passkey/", HTTP_ACCEPT="application/json").status_code for _ in range(302)]
    assert statuses == [200] * 300 + [429] * 2
    assert Client().head("/sign-in/").status_code == 200, "reading a page is not"


def test_who_is_asked_for_passkeys_may_still_sign_out(person: User) -> None:
    client = known_device(person, "192.0.2.1")
    assert signs_in(client, person.email)
    for _ in range(80):
        Client(REMOTE_ADDR="192.0.2.1").post(URL, {"login": "x@y.example", "password": "x"})
    assert Client(REMOTE_ADDR="192.0.2.1").post("/sign-out/").status_code == 302


def test_a_route_for_anyone_without_a_limit_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(throttling.ROUTES, "account_login")
    (problem,) = undeclared()
    assert problem.id == "access.E004"
    assert 'Anyone may send to "account_login"' in problem.msg


def test_the_limits_end(person: User, evaluated: list[str]) -> None:
    with time_machine.travel(datetime.now(UTC), tick=False) as clock:
        for _ in range(12):
            attempt(Client(), person.email)
        clock.shift(14 * 60)
        assert not signs_in(Client(), person.email)
        clock.shift(61)
        assert signs_in(Client(), person.email)


def test_a_device_is_known_for_ninety_days(person: User, evaluated: list[str]) -> None:
    with time_machine.travel(datetime.now(UTC), tick=False) as clock:
        device = known_device(person, "192.0.2.1")
        clock.shift(91 * 24 * 3600)
        for n in range(10):
            attempt(Client(REMOTE_ADDR=f"198.51.100.{n}"), person.email)
        assert not signs_in(device, person.email)
