"""Addresses that people mistype, cut in half or try to break: each page reads its words, and none is a server error."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import QueryDict
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from portal.access.models import User
from portal.query_params import is_storable, moment_or_none, own_path_or_none
from tests.customers.conftest import Desk, desk  # noqa: F401 - a fixture
from tests.house.hostile import World
from tests.support.people import sign_in
from tests.support.samples import is_proof

ODD = ("a\x00b", "9" * 40, "-1", "9999-12-31", "0001-01-01", "\u00b2", "%", "00000000-0000-0000-0000-000000000000")


def _pages(resolver: URLResolver, spaces: tuple[str, ...] = ()) -> Iterator[str]:
    """The names of all addresses without arguments."""
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            yield from _pages(entry, (*spaces, entry.namespace) if entry.namespace else spaces)
        elif isinstance(entry, URLPattern) and not entry.pattern.converters:
            yield ":".join((*spaces, str(entry.name)))


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the words that a view asked its address for."""
    asked: set[str] = set()

    def listening(method: str) -> None:
        plain = getattr(QueryDict, method)

        def listen(self: QueryDict, name: str, *rest: Any) -> Any:
            asked.add(name)
            return plain(self, name, *rest)

        monkeypatch.setattr(QueryDict, method, listen)

    for method in ("get", "getlist", "__getitem__"):
        listening(method)
    return asked


@pytest.mark.long
@pytest.mark.sample(1)
@pytest.mark.parametrize("n", range(len(ODD)))
def test_no_word_of_an_address_is_a_server_error(db: None, words: set[str], n: int) -> None:
    """Each word of each page meets one odd value here, and in `make proof` each of them."""
    client = Client(raise_request_exception=False)
    sign_in(client, User.objects.create_user("ada@postkeeper.example", name="Ada", role="admin"))
    tried, broken, odds = set(), [], itertools.islice(itertools.cycle(ODD), n, None)
    for name in _pages(get_resolver()):
        words.clear()
        if client.get(reverse(name)).status_code != 200:
            continue
        for word in sorted(words - {"csrfmiddlewaretoken"}):
            answer = client.get(reverse(name), {word: (odd := next(odds))})
            if answer.status_code >= 500:
                broken.append((name, word, odd))
            elif answer.streaming:
                b"".join(answer)  # type: ignore[arg-type]
            tried.add((name, word))
    assert not broken
    assert {("customers:list", "q"), ("audit:list", "verb"), ("access:staff", "q")} <= tried, tried


@pytest.mark.long
def test_no_request_is_a_server_error(desk: Desk) -> None:  # noqa: F811 - the fixture
    """Seeded; HOSTILE_REQUESTS=20000 HOSTILE_SEED=7 is a long run of another kind."""
    world = World(desk)
    world.explore()
    rng = random.Random(os.environ.get("HOSTILE_SEED", "1"))
    broken: dict[str, str] = {}
    many = int(os.environ.get("HOSTILE_REQUESTS", "500" if is_proof() else "30"))
    for attempt, _ in zip(world.attempts(rng), range(many), strict=False):
        world.ask(attempt)
        if world.trace:
            broken.setdefault(world.where, f"{attempt}\n{world.trace}")
    if broken:
        pytest.fail("\n\n".join(broken.values()), pytrace=False)


@pytest.mark.parametrize("url", ["http://[::1", "http://testserver[/", "//[", "http://testserver:x/me/", "\u2100"])
def test_a_current_url_that_cannot_be_read_is_none(db: None, url: str) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": url}
    assert Client().get("/", headers=headers)["HX-Redirect"] == "/sign-in/?next=%2F"
    assert Client().post("/me/", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "path", ["1,5", "0", "home", "customers:list", "", "//x", "/\\x", "https://x/", "/\x00", "/\r\nX: y", "/\u00e9"]
)
def test_only_a_path_of_ours_is_led_to(path: str) -> None:
    assert own_path_or_none(path) is None


@pytest.mark.parametrize("path", ["/invitation/%00/", "/accounts/00000000-0000-0000-0000-000000000000/domains/a%00/"])
def test_a_nul_in_a_path_is_found_nowhere(path: str) -> None:
    assert Client().get(path).status_code == 404


def test_a_path_of_ours_is_kept_as_it_is() -> None:
    assert own_path_or_none("/customers/?q=1,5#x") == "/customers/?q=1,5#x"


@pytest.mark.parametrize(
    "text",
    ["0001-01-01", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T00:00:00Z",
     "9999-12-31T23:59:59-14:00", "2026-11-18T12:00:00", "2026-02-30T00:00:00Z", "", "x", "2026-11-18T12:00:00+99:00"],
)  # fmt: skip
def test_a_moment_that_cannot_be_shown_is_none(text: str) -> None:
    assert moment_or_none(text) is None


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12", "Asia/Kathmandu"])
def test_the_first_and_the_last_moment_can_be_shown_everywhere(zone: str) -> None:
    for text in ("0001-01-02T00:00:00Z", "9999-12-30T23:59:59.999999+00:00"):
        moment = moment_or_none(text)
        assert moment is not None
        with timezone.override(zone):
            assert timezone.localtime(moment).tzinfo is not None


def test_storable_texts() -> None:
    assert is_storable("\u0130\U0001f600")
    assert not any(is_storable(value) for value in ("\x00", "a\ud800", "\udfff", None, 1, b"x"))
