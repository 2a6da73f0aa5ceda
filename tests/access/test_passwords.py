"""Which new passwords are refused, everywhere one is set."""

from __future__ import annotations

import string
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django import Settings

from portal.access import breached, links
from portal.access.models import User
from portal.access.passwords import GuessablePasswordValidator
from tests.support.factories import PASSWORD, UserFactory
from tests.support.people import sign_in

WORDS = "easy to guess"
GUESSABLE = [
    "123456789012", "aaaaaaaaaaaa", "Postkeeper2026!", "PostkeeperPostkeeper", "P0stk33per2026!", "postkeeper-admin",
    "qwertyuiop12", "zaq12wsxcde3", "abcabcabcabc", "Password2026!!", "letmeinletmein", "summer2026summer",
    "111111222222", "SendGrid2026!", "AdaLovelace2026", "ada.lovelace.1", "Northwind2026!!", "28.11.2026 xx",
]  # fmt: skip
GOOD = [
    "kq8#vZ1!mTn4", "harbour-lantern-orchard-2731", "a long test password", "Fahrrad Wolke Tinte Brot",
    "водопад-лампа-рысь", "x" + string.ascii_letters[::3] * 9 + "7#",
]  # fmt: skip


@pytest.mark.parametrize("password", GUESSABLE)
def test_what_is_guessed_soon_is_refused(password: str, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["mail.northwind.example"]
    user = User(name="Ada Lovelace", email="ada@postkeeper.example")
    with pytest.raises(ValidationError) as refusal:
        validate_password(password, user)
    assert any(WORDS in message for message in refusal.value.messages)


# Leaked ones that zxcvbn takes for hard to guess.
LEAKED = ["mailcreated5240", "sojdlg123aljg", "ghhh47hj7649", "SojdLG123aljg"]


@pytest.mark.parametrize("password", LEAKED)
def test_what_was_leaked_is_refused(password: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        validate_password(password, User(name="Ada Lovelace", email="ada@postkeeper.example"))
    assert "password_breached" in {error.code for error in refusal.value.error_list}


def test_the_list_has_many_passwords_that_the_rules_allow() -> None:
    """3,000 at least, all as long as a password must be: shorter ones are refused anyway."""
    held = breached.FILE.read_bytes()
    hashes = [held[at : at + breached.BYTES] for at in range(0, len(held), breached.BYTES)]
    assert len(hashes) == 43_940
    assert hashes == sorted(set(hashes))


@pytest.mark.parametrize("password", GOOD)
def test_what_is_not_is_taken(password: str) -> None:
    validate_password(password, User(name="Ada Lovelace", email="ada@postkeeper.example"))


def test_the_longest_password_is_judged_in_time() -> None:
    begun = time.monotonic()
    validate_password("e3a4i1o0s5x8-" * 19 + "Qw7#", User(name="Ada", email="ada@postkeeper.example"))
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("start", ["{9<[0+%@8$1(|3745!62", "{[|$+@0123456789", "{[|$+@%0123456789", "\u0130a1!"])
def test_no_password_keeps_the_process_busy(start: str) -> None:
    """zxcvbn reads every symbol as every letter it may stand for: ten seconds and more, with all of them in it."""
    begun = time.thread_time()
    with suppress(ValidationError):
        GuessablePasswordValidator().validate(
            (start * 10_000)[:10_000], User(name="Ada", email="ada@northwind.example")
        )
    assert time.thread_time() - begun < 2


@pytest.mark.parametrize("password", ["!@#$%^&*()_+", "P@$$w0rd2026!!"])
def test_what_is_built_of_symbols_is_judged_as_well(password: str) -> None:
    with pytest.raises(ValidationError):
        GuessablePasswordValidator().validate(password)


def test_two_people_at_once_are_judged_by_their_own_names() -> None:
    def refused(name: str) -> bool:
        try:
            validate_password("Wolkenstein2026", User(name=name, email="someone@postkeeper.example"))
        except ValidationError:
            return True
        return False

    names = ["Wolkenstein", "Other"] * 20
    alone = {name: refused(name) for name in set(names)}
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(refused, names)) == [alone[name] for name in names]
    assert alone == {"Wolkenstein": True, "Other": False}


@pytest.mark.django_db
@pytest.mark.parametrize("password", ["123456789012", "aaaaaaaaaaaa", "Postkeeper2026!"])
class TestEveryPlace:
    def test_a_link(self, password: str) -> None:
        person = User.objects.create_user("cleo@larkfield.example", name="Cleo", role="admin")
        asked = RequestFactory().get("/")
        link = links.make_link(person=person, lasts=links.FORGOT, now=timezone.now(), request=asked)
        answer = Client().post(urlsplit(link.url).path, {"password": password, "again": password})
        assert answer.status_code == 422
        assert WORDS in answer.content.decode()
        person.refresh_from_db()
        assert not person.has_joined

    def test_a_change(self, password: str) -> None:
        person = UserFactory()
        client = sign_in(Client(), person)
        sent = {"current": PASSWORD, "password": password, "again": password}
        answer = client.post("/me/password/", sent)
        assert answer.status_code == 422
        assert WORDS in answer.content.decode()
        person.refresh_from_db()
        assert person.check_password(PASSWORD)
